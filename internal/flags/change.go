package flags

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/gatekeeper-engine/gatekeeper"
)

// Put stores a flag if its version still is f.Version, 0 creating it, and gives it back with its
// new version. The change is in this store's memory when Put returns. Another version is an error
// with [gatekeeper.CodeConflict]. [gatekeeper.CodeUnavailable] leaves open whether it was stored.
// The change and its audit record are written together or not at all.
func (s *Store) Put(ctx context.Context, f Flag, by gatekeeper.By) (Flag, error) {
	stored, err := s.put(ctx, f, by)
	if err != nil {
		s.refused(ctx, gatekeeper.FlagSet, f.Key, by, err)
	}
	return stored, err
}

func (s *Store) put(ctx context.Context, f Flag, by gatekeeper.By) (Flag, error) {
	f, err := f.complete()
	if err != nil {
		return Flag{}, err
	}
	if f.Version == 0 && len(*s.flags.Load()) >= MaxFlags {
		return Flag{}, gatekeeper.Errorf(gatekeeper.CodeRefused, "Delete flags that nobody asks for, or use a flag product.",
			"the store holds %d flags, and is made for no more", MaxFlags)
	}
	value, err := json.Marshal(f)
	if err != nil {
		return Flag{}, fmt.Errorf("flag %q: %w", f.Key, err)
	}
	r := gatekeeper.AuditRecord{By: by, What: gatekeeper.FlagSet, Subject: f.Key, After: gatekeeper.AuditState(unversioned(f))}
	revision, err := s.change(ctx, r, f.Version, clientv3.OpPut(prefix+f.Key, string(value)))
	if err != nil {
		return Flag{}, err
	}
	f.Version = revision
	s.remember(f.Key, define(f), revision)
	return f.clone(), nil
}

// Delete removes a flag if its version still is version; errors are as with [Store.Put].
func (s *Store) Delete(ctx context.Context, key string, version int64, by gatekeeper.By) error {
	err := s.drop(ctx, key, version, by)
	if err != nil {
		s.refused(ctx, gatekeeper.FlagDeleted, key, by, err)
	}
	return err
}

func (s *Store) drop(ctx context.Context, key string, version int64, by gatekeeper.By) error {
	if version == 0 {
		return gatekeeper.Errorf(gatekeeper.CodeInvalid, "Read the flag for its version.", "flag %q: to delete it takes its version", key)
	}
	r := gatekeeper.AuditRecord{By: by, What: gatekeeper.FlagDeleted, Subject: key}
	revision, err := s.change(ctx, r, version, clientv3.OpDelete(prefix+key))
	if err != nil {
		return err
	}
	s.remember(key, nil, revision)
	return nil
}

// change runs op and writes its record if the flag's version still is version, and gives the
// revision of the change.
func (s *Store) change(ctx context.Context, r gatekeeper.AuditRecord, version int64, op clientv3.Op) (int64, error) {
	key := prefix + r.Subject
	if version != 0 {
		was, err := s.Get(ctx, r.Subject)
		if err != nil {
			return 0, err
		}
		if was.Version != version {
			return 0, overtaken(r.Subject, version, was.Version)
		}
		r.Before = gatekeeper.AuditState(was)
	}
	r.At, r.Outcome = time.Now(), gatekeeper.Accepted
	resp, err := s.journal.AuditChange(ctx, r,
		[]clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(key), "=", version)},
		[]clientv3.Op{op}, []clientv3.Op{clientv3.OpGet(key, clientv3.WithKeysOnly())})
	if err != nil {
		code := gatekeeper.CodeUnavailable
		if errors.Is(err, gatekeeper.ErrFenced) {
			code = gatekeeper.CodeRefused // for certain, and for good
		}
		return 0, gatekeeper.Errorf(code, gatekeeper.HintOf(err), "flag %q and the record of who changes it can't be stored; flags are still evaluated as they last were: %w", r.Subject, err)
	}
	if resp.Succeeded {
		return resp.Header.Revision, nil
	}
	kvs := resp.Responses[0].GetResponseRange().Kvs
	if len(kvs) == 0 {
		return 0, missing(r.Subject)
	}
	return 0, overtaken(r.Subject, version, kvs[0].ModRevision)
}

func overtaken(key string, version, is int64) error {
	return gatekeeper.Errorf(gatekeeper.CodeConflict, "Read the flag again and repeat the change on what it is now.",
		"flag %q has been changed meanwhile: it is at version %d, not %d; nothing was changed", key, is, version)
}

// unversioned is a flag whose version is not known yet.
func unversioned(f Flag) Flag {
	f.Version = 0
	return f
}

// refused records that a change was refused; not where the store does not answer.
func (s *Store) refused(ctx context.Context, what gatekeeper.Deed, key string, by gatekeeper.By, err error) {
	if gatekeeper.CodeOf(err) == gatekeeper.CodeUnavailable || errors.Is(err, gatekeeper.ErrFenced) {
		return
	}
	r := gatekeeper.AuditRecord{At: time.Now(), By: by, What: what, Subject: key}
	if _, lost := s.journal.Audit(ctx, r.Refuse(err)); lost != nil {
		s.log.Error("it can't be recorded that a change of a flag was refused", "flag", key, "actor", by.Actor, "refusal", err, "err", lost)
	}
}
