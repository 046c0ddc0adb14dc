package memory

import (
	"context"

	"github.com/gatekeeper-engine/gatekeeper"
)

// Audit appends an audit record.
func (j *Journal) Audit(ctx context.Context, r gatekeeper.AuditRecord) (gatekeeper.AuditRecord, error) {
	if err := ctx.Err(); err != nil {
		return gatekeeper.AuditRecord{}, err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.fenced(); err != nil {
		return gatekeeper.AuditRecord{}, err
	}
	r.Seq = int64(len(j.audits)) + 1
	data, err := r.Encoded()
	if err != nil {
		return gatekeeper.AuditRecord{}, err
	}
	j.audits = append(j.audits, data)
	return gatekeeper.DecodeAudit(data, r.Seq)
}

// Audits gives audit records, newest first.
func (j *Journal) Audits(ctx context.Context, before int64, limit int) ([]gatekeeper.AuditRecord, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := gatekeeper.CheckAuditPage(before, limit); err != nil {
		return nil, err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	next := int64(len(j.audits))
	if before > 0 {
		next = min(next, before-1)
	}
	var page []gatekeeper.AuditRecord
	for ; next > 0 && len(page) < limit && j.audits[next-1] != nil; next-- {
		r, err := gatekeeper.DecodeAudit(j.audits[next-1], next)
		if err != nil {
			return nil, err
		}
		page = append(page, r)
	}
	return page, nil
}
