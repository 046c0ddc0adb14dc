package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/gatekeeper-engine/gatekeeper"
)

var _ gatekeeper.Remover = (*Journal)(nil)

// Beside gives the journal kept by the etcd behind client without taking it over: it writes in the
// name of the present owner, who may be at work, and is refused with [gatekeeper.ErrFenced] once
// there is another one. It is for what maintains a store, and not for releases.
func Beside(ctx context.Context, client *clientv3.Client) (*Journal, error) {
	j := &Journal{client: client}
	resp, err := j.txn(ctx, "asking who owns the journal", clientv3.OpGet(ownerKey, clientv3.WithKeysOnly()))
	if err != nil {
		return nil, err
	}
	if owner := resp.Responses[0].GetResponseRange().Kvs; len(owner) == 1 {
		j.epoch = owner[0].ModRevision
	}
	return j, nil
}

// Beside gives the journal in this store to its maintenance, see [Beside]. It works while the store
// is full, too.
func (s *Server) Beside(ctx context.Context) (*Journal, error) {
	j, err := Beside(ctx, s.client)
	if err == nil {
		j.server = s
	}
	return j, err
}

// Beside gives the journal in this store to its maintenance, see [Beside].
func (x *External) Beside(ctx context.Context) (*Journal, error) { return Beside(ctx, x.client) }

// Remove removes closed releases in one transaction, so there is never a half of one.
func (j *Journal) Remove(ctx context.Context, ids ...string) error {
	if len(ids) > gatekeeper.MaxRemoved {
		return gatekeeper.Errorf(gatekeeper.CodeInvalid, "", "at most %d releases are removed at once, not %d", gatekeeper.MaxRemoved, len(ids))
	}
	if len(ids) == 0 {
		return ctx.Err()
	}
	doing := "removing release " + ids[0]
	var ops []clientv3.Op
	for _, id := range ids {
		ops = append(ops, clientv3.OpGet(placeKey(id)), clientv3.OpGet(lastKey(id)))
	}
	resp, err := j.txn(ctx, doing, ops...)
	if err != nil {
		return err
	}
	conds, then := []clientv3.Cmp{j.owned()}, []clientv3.Op(nil)
	for i, id := range ids {
		place, last := resp.Responses[2*i].GetResponseRange().Kvs, resp.Responses[2*i+1].GetResponseRange().Kvs
		if len(place) == 0 || len(last) == 0 {
			continue
		}
		at := string(place[0].Value)
		conds = append(conds,
			clientv3.Compare(clientv3.ModRevision(lastKey(id)), "=", last[0].ModRevision),
			clientv3.Compare(clientv3.CreateRevision(listKey(openRoot, at, id)), "=", 0))
		then = append(then,
			clientv3.OpDelete(factsPrefix(id), clientv3.WithPrefix()), clientv3.OpDelete(lastKey(id)),
			clientv3.OpDelete(placeKey(id)), clientv3.OpDelete(listKey(releaseRoot, at, id)))
	}
	gone, err := j.write(ctx, doing, conds, then)
	if err != nil {
		return err
	}
	if !gone.Succeeded {
		return fmt.Errorf("%s, or one of %d others, which is open: %w", doing, len(ids)-1, gatekeeper.ErrConflict)
	}
	return nil
}

// Sweep removes the files that no release has pinned. Every file goes in a transaction of its own,
// on the condition that no release was opened since it was found to be of no use: an opening
// writes the key newest, and on its part asks for its file.
func (j *Journal) Sweep(ctx context.Context) (int, error) {
	unused, err := j.files(ctx)
	if err != nil || len(unused) == 0 {
		return 0, err
	}
	known, newest := map[string]bool{}, int64(-1)
	swept := 0
	for {
		at, err := j.newest(ctx)
		if err != nil {
			return swept, err
		}
		if at != newest { // releases were opened that are not known yet
			newest = at
			if err := j.spare(ctx, unused, known); err != nil {
				return swept, err
			}
		}
		for hash, revision := range unused {
			gone, err := j.drop(ctx, hash, revision, newest)
			if err != nil {
				return swept, err
			}
			if gone {
				swept++
			} else if at, err = j.newest(ctx); err != nil || at != newest {
				break // a release was opened, perhaps with this file
			}
			delete(unused, hash)
		}
		if len(unused) == 0 {
			return swept, nil
		}
	}
}

// newest gives the revision at which a release was opened last; 0 for none yet.
func (j *Journal) newest(ctx context.Context) (int64, error) {
	resp, err := j.txn(ctx, "looking for the newest release", clientv3.OpGet(newestKey, clientv3.WithKeysOnly()))
	if err != nil {
		return 0, err
	}
	if kvs := resp.Responses[0].GetResponseRange().Kvs; len(kvs) == 1 {
		return kvs[0].ModRevision, nil
	}
	return 0, nil
}

// files gives every file by its hash, with the revision of its header.
func (j *Journal) files(ctx context.Context) (map[string]int64, error) {
	all := map[string]int64{}
	from := filesRoot
	for {
		resp, err := j.txn(ctx, "listing the pinned files", clientv3.OpGet(from, clientv3.WithRange(clientv3.GetPrefixRangeEnd(filesRoot)),
			clientv3.WithKeysOnly(), clientv3.WithLimit(1000)))
		if err != nil {
			return nil, err
		}
		found := resp.Responses[0].GetResponseRange()
		for _, kv := range found.Kvs {
			all[strings.TrimPrefix(string(kv.Key), filesRoot)] = kv.ModRevision
			from = string(kv.Key) + "\x00"
		}
		if !found.More {
			return all, nil
		}
	}
}

// drop removes a file unless it was stored again, or a release was opened.
func (j *Journal) drop(ctx context.Context, hash string, revision, newest int64) (bool, error) {
	header := fileKey(hash)
	resp, err := j.write(ctx, "removing file "+hash, []clientv3.Cmp{
		j.owned(),
		clientv3.Compare(clientv3.ModRevision(newestKey), "=", newest),
		clientv3.Compare(clientv3.ModRevision(header), "=", revision),
	}, []clientv3.Op{clientv3.OpDelete(header), clientv3.OpDelete(chunksPrefix(hash), clientv3.WithPrefix())})
	return err == nil && resp.Succeeded, err
}

// spare takes those files from unused that releases have pinned which are not known yet. New
// releases are the first of the list, though not in the very order of their commits.
func (j *Journal) spare(ctx context.Context, unused map[string]int64, known map[string]bool) error {
	const batch = 64 // a transaction takes 128 operations
	after := ""
	for first := len(known) == 0; ; {
		ids, err := j.List(ctx, gatekeeper.Listing{Limit: batch, After: after})
		if after != "" && errors.Is(err, gatekeeper.ErrNotFound) { // somebody else prunes, too
			after, first = "", true
			continue
		}
		if err != nil {
			return err
		}
		var fresh []string
		for _, id := range ids {
			if !known[id] {
				known[id] = true
				fresh = append(fresh, id)
			}
		}
		if err := j.spareOf(ctx, unused, fresh); err != nil {
			return err
		}
		if len(ids) < batch || !first && len(fresh) == 0 {
			return nil
		}
		after = ids[len(ids)-1]
	}
}

// spareOf takes the files from unused that these releases have pinned.
func (j *Journal) spareOf(ctx context.Context, unused map[string]int64, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	ops := make([]clientv3.Op, len(ids))
	for i, id := range ids {
		ops[i] = clientv3.OpGet(factsKey(id, 1))
	}
	resp, err := j.txn(ctx, "reading which files are pinned", ops...)
	if err != nil {
		return err
	}
	for i, r := range resp.Responses {
		for _, kv := range r.GetResponseRange().Kvs {
			facts, err := decode(factsKey(ids[i], 1), kv.Value, 1)
			if err != nil {
				return err
			}
			for _, hash := range pins(facts) {
				delete(unused, hash)
			}
		}
	}
	return nil
}

// pins gives the files that facts pin.
func pins(facts []gatekeeper.Fact) (hashes []string) {
	for _, f := range facts {
		if opened, ok := f.Body.(gatekeeper.Opened); ok && opened.File != "" {
			hashes = append(hashes, opened.File)
		}
	}
	return hashes
}

// RemoveAudits removes audit records, a thousand in a transaction.
func (j *Journal) RemoveAudits(ctx context.Context, through int64) (int, error) {
	const doing, batch = "removing old audit records", 1000
	removed := 0
	for {
		resp, err := j.txn(ctx, doing, clientv3.OpGet(auditRoot, clientv3.WithRange(auditKey(through+1)), clientv3.WithKeysOnly(), clientv3.WithLimit(batch)))
		if err != nil {
			return removed, err
		}
		oldest := resp.Responses[0].GetResponseRange().Kvs
		if len(oldest) == 0 {
			return removed, nil
		}
		last := string(oldest[len(oldest)-1].Key)
		_, err = j.write(ctx, doing, []clientv3.Cmp{j.owned()}, []clientv3.Op{clientv3.OpDelete(auditRoot, clientv3.WithRange(last+"\x00"))})
		if err != nil {
			return removed, err
		}
		removed += len(oldest)
	}
}
