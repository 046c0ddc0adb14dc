package etcd

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/gatekeeper-engine/gatekeeper"
)

// The keys of the audit records.
//
//	audit/SEQ  one record; older ones may have been removed
//	audited    the position of the last one
const (
	auditRoot  = root + "audit/"
	auditedKey = root + "audited"
)

const auditing = "writing an audit record"

func auditKey(seq int64) string { return fmt.Sprintf("%s%019d", auditRoot, seq) }

// Audit appends an audit record.
func (j *Journal) Audit(ctx context.Context, r gatekeeper.AuditRecord) (gatekeeper.AuditRecord, error) {
	r, _, err := j.audit(ctx, r, nil, nil, nil)
	return r, err
}

// AuditChange appends an audit record and does what it tells of, then, in one transaction, if conds
// hold; else neither is done, the answer says so and holds what otherwise asks for.
func (j *Journal) AuditChange(ctx context.Context, r gatekeeper.AuditRecord, conds []clientv3.Cmp, then, otherwise []clientv3.Op) (*clientv3.TxnResponse, error) {
	_, resp, err := j.audit(ctx, r, conds, then, otherwise)
	return resp, err
}

// audit tries until nobody else was first with a record of its own.
func (j *Journal) audit(ctx context.Context, r gatekeeper.AuditRecord, conds []clientv3.Cmp, then, otherwise []clientv3.Op) (gatekeeper.AuditRecord, *clientv3.TxnResponse, error) {
	for {
		last, is, err := j.audited(ctx)
		if err != nil {
			return gatekeeper.AuditRecord{}, nil, err
		}
		r.Seq = last + 1
		data, err := r.Encoded()
		if err != nil {
			return gatekeeper.AuditRecord{}, nil, err
		}
		key := auditKey(r.Seq)
		resp, err := j.write(ctx, auditing,
			slices.Concat([]clientv3.Cmp{j.owned(), is}, conds),
			slices.Concat([]clientv3.Op{clientv3.OpPut(key, seal(key, data)), clientv3.OpPut(auditedKey, sealNumber(auditedKey, r.Seq))}, then),
			slices.Concat([]clientv3.Op{clientv3.OpGet(auditedKey)}, otherwise)...)
		if err != nil {
			return gatekeeper.AuditRecord{}, nil, err
		}
		if resp.Succeeded {
			resp.Responses = resp.Responses[2:]
			r, err = gatekeeper.DecodeAudit(data, r.Seq)
			return r, resp, err
		}
		now, err := auditedIn(resp.Responses[1].GetResponseRange().Kvs)
		if err != nil {
			return gatekeeper.AuditRecord{}, nil, err
		}
		if now == last {
			resp.Responses = resp.Responses[2:]
			return gatekeeper.AuditRecord{}, resp, nil
		}
	}
}

// audited gives the position of the last audit record, and the condition that it still is.
func (j *Journal) audited(ctx context.Context) (last int64, is clientv3.Cmp, err error) {
	resp, err := j.txn(ctx, "reading the audit records", clientv3.OpGet(auditedKey))
	if err == nil {
		last, err = auditedIn(resp.Responses[0].GetResponseRange().Kvs)
	}
	switch {
	case err != nil:
		return 0, clientv3.Cmp{}, err
	case last == 0:
		return 0, clientv3.Compare(clientv3.CreateRevision(auditedKey), "=", 0), nil
	}
	return last, clientv3.Compare(clientv3.Value(auditedKey), "=", sealNumber(auditedKey, last)), nil
}

// auditedIn reads the position of the last audit record; a store of before there were any has none.
func auditedIn(kvs []*mvccpb.KeyValue) (int64, error) {
	if len(kvs) == 0 {
		return 0, nil
	}
	body, err := unseal(auditedKey, kvs[0].Value)
	if err != nil {
		return 0, err
	}
	last, err := strconv.ParseInt(string(body), 10, 64)
	if err != nil {
		return 0, corrupted(auditedKey, err)
	}
	return last, nil
}

// Audits gives audit records, newest first. A record is missing only where all older ones are, too.
func (j *Journal) Audits(ctx context.Context, before int64, limit int) ([]gatekeeper.AuditRecord, error) {
	if err := gatekeeper.CheckAuditPage(before, limit); err != nil {
		return nil, err
	}
	last, _, err := j.audited(ctx)
	if err != nil {
		return nil, err
	}
	end := last + 1
	if before > 0 {
		end = min(end, before)
	}
	resp, err := j.txn(ctx, "reading the audit records", clientv3.OpGet(auditKey(max(1, end-int64(limit))), clientv3.WithRange(auditKey(end))))
	if err != nil {
		return nil, err
	}
	var page []gatekeeper.AuditRecord
	for _, kv := range slices.Backward(resp.Responses[0].GetResponseRange().Kvs) {
		end--
		key := string(kv.Key)
		if want := auditKey(end); key != want {
			return nil, corrupted(want, fmt.Errorf("the audit record is not there, but older ones are"))
		}
		r, err := decodeAudit(key, kv.Value, end)
		if err != nil {
			return nil, err
		}
		page = append(page, r)
	}
	return page, nil
}

func decodeAudit(key string, value []byte, seq int64) (gatekeeper.AuditRecord, error) {
	body, err := unseal(key, value)
	if err != nil {
		return gatekeeper.AuditRecord{}, err
	}
	r, err := gatekeeper.DecodeAudit(body, seq)
	if err != nil {
		return r, corrupted(key, err)
	}
	return r, nil
}

// auditRecord checks one audit record. Only the oldest may be missing: they were removed.
func (v *verification) auditRecord(key string, value []byte) {
	v.report.Audits++
	seq, err := strconv.ParseInt(strings.TrimPrefix(key, auditRoot), 10, 64)
	if err != nil {
		v.fault(key, "it names no audit record: %v", err)
		return
	}
	if v.audit != 0 && seq != v.audit+1 {
		v.fault(auditKey(v.audit+1), "audit records are missing before %d", seq)
	}
	v.audit = seq
	body, err := bodyOf(key, value)
	if err == nil {
		_, err = gatekeeper.DecodeAudit(body, seq)
	}
	if err != nil {
		v.fault(key, "%v", err)
	}
}

// lastAudit compares what should be the last audit record with the one that is. Its key comes after theirs.
func (v *verification) lastAudit(key string, value []byte) {
	v.audited = true
	body, err := bodyOf(key, value)
	last := int64(0)
	if err == nil {
		last, err = strconv.ParseInt(string(body), 10, 64)
	}
	switch {
	case err != nil:
		v.fault(key, "%v", err)
	case v.audit != 0 && v.audit != last:
		v.fault(key, "the last audit record should be %d, and %d is there", last, v.audit)
	}
}
