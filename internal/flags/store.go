// Package flags is a small-scale feature flag store: for one machine and thousands of flags, not
// a flag product. It lets a release be taken back by a flag where there is nothing better.
//
// Definitions live in etcd, each with a version for compare-and-swap. Evaluation is served from
// memory without locks, also while etcd is down, and follows changes by a watch. Applications ask
// over OpenFeature's remote evaluation protocol, see [Handler].
package flags

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/gatekeeper-engine/gatekeeper"
)

const prefix = "/gatekeeper/v1/flags/"

// Store holds the flags. Its methods may be called concurrently.
type Store struct {
	client  *clientv3.Client
	log     *slog.Logger
	flags   atomic.Pointer[map[string]*definition] // replaced, never changed
	cancel  context.CancelFunc
	stopped chan struct{}

	mu   sync.Mutex       // guards the replacing
	seen map[string]int64 // by key, the revision that memory reflects; also of deleted flags
}

// Open loads the flags and follows their changes until [Store.Close]. The caller goes on owning
// client and closes it after the store.
func Open(ctx context.Context, client *clientv3.Client, log *slog.Logger) (*Store, error) {
	following, cancel := context.WithCancel(context.Background())
	s := &Store{client: client, log: log, cancel: cancel, stopped: make(chan struct{})}
	s.flags.Store(&map[string]*definition{})
	revision, err := s.load(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	go func() {
		defer close(s.stopped)
		s.follow(following, revision)
	}()
	return s, nil
}

// Close stops following changes; evaluation goes on with what is in memory.
func (s *Store) Close() {
	s.cancel()
	<-s.stopped
}

// call does not wait for f longer than ctx lives: an etcd in the same process whose disk failed
// may never answer.
func call[R any](ctx context.Context, doing string, f func() (R, error)) (R, error) {
	type answer struct {
		r   R
		err error
	}
	done := make(chan answer, 1)
	go func() {
		r, err := f()
		done <- answer{r, err}
	}()
	var a answer
	select {
	case a = <-done:
	case <-ctx.Done():
		a.err = context.Cause(ctx)
	}
	if a.err != nil {
		a.err = gatekeeper.Errorf(gatekeeper.CodeUnavailable,
			"See that the store's disk has space and the store answers, then try again.",
			"%s: the store of flags does not answer, flags are still evaluated as they last were: %w", doing, a.err)
	}
	return a.r, a.err
}

// load replaces memory by what etcd holds and gives the revision that it reflects.
func (s *Store) load(ctx context.Context) (int64, error) {
	resp, err := call(ctx, "loading the flags", func() (*clientv3.GetResponse, error) {
		return s.client.Get(ctx, prefix, clientv3.WithPrefix())
	})
	if err != nil {
		return 0, err
	}
	flags, seen := make(map[string]*definition, len(resp.Kvs)), make(map[string]int64, len(resp.Kvs))
	for _, kv := range resp.Kvs {
		key := strings.TrimPrefix(string(kv.Key), prefix)
		f, err := decode(key, kv.Value, kv.ModRevision)
		if err != nil {
			return 0, err
		}
		flags[key], seen[key] = define(f), kv.ModRevision
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, revision := range s.seen { // written here while etcd was asked
		if revision > resp.Header.Revision {
			seen[key] = revision
			delete(flags, key)
			if d, ok := (*s.flags.Load())[key]; ok {
				flags[key] = d
			}
		}
	}
	s.seen = seen
	s.flags.Store(&flags)
	return resp.Header.Revision, nil
}

func decode(key string, value []byte, revision int64) (Flag, error) {
	var f Flag
	err := json.Unmarshal(value, &f)
	if err == nil {
		f.Key, f.Version = key, revision
		f, err = f.complete()
	}
	if err != nil {
		return Flag{}, gatekeeper.Errorf(gatekeeper.CodeInternal, "Put or delete the flag anew, or restore the store from a backup.",
			"the definition of flag %q is corrupted: %w", key, err)
	}
	return f, nil
}

// again is how long follow waits before it tries etcd again.
const again = time.Second

// follow keeps memory as etcd is, until ctx ends. After the watch breaks everything is loaded
// anew, for changes may have been missed.
func (s *Store) follow(ctx context.Context, revision int64) {
	for {
		err := s.watch(ctx, revision)
		for err != nil {
			if ctx.Err() != nil {
				return
			}
			s.log.Warn("flags are served as they last were; trying the store again", "err", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(again):
			}
			limited, cancel := context.WithTimeout(ctx, 10*again)
			revision, err = s.load(limited)
			cancel()
		}
	}
}

func (s *Store) watch(ctx context.Context, after int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for resp := range s.client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(after+1)) {
		if err := resp.Err(); err != nil {
			return err
		}
		for _, ev := range resp.Events {
			key := strings.TrimPrefix(string(ev.Kv.Key), prefix)
			if ev.Type == clientv3.EventTypeDelete {
				s.remember(key, nil, ev.Kv.ModRevision)
				continue
			}
			f, err := decode(key, ev.Kv.Value, ev.Kv.ModRevision)
			if err != nil { // the flag is served as it was
				s.log.Error("a flag's change is not taken", "flag", key, "err", err)
				continue
			}
			s.remember(key, define(f), ev.Kv.ModRevision)
		}
	}
	return errors.New("the watch ended")
}

// remember takes a change into memory, unless it reflects a later one already.
func (s *Store) remember(key string, d *definition, revision int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen[key] >= revision {
		return
	}
	s.seen[key] = revision
	flags := maps.Clone(*s.flags.Load())
	if d == nil {
		delete(flags, key)
	} else {
		flags[key] = d
	}
	s.flags.Store(&flags)
}

// Evaluate answers for one flag, from memory.
func (s *Store) Evaluate(key string, c Context) Evaluation {
	d, ok := (*s.flags.Load())[key]
	if !ok {
		return Evaluation{Key: key, Error: ErrorNotFound, Details: "there is no such flag"}
	}
	return d.evaluate(c)
}

// EvaluateAll answers for every flag, sorted by key, all of one instant.
func (s *Store) EvaluateAll(c Context) []Evaluation {
	flags := *s.flags.Load()
	all := make([]Evaluation, 0, len(flags))
	for _, key := range slices.Sorted(maps.Keys(flags)) {
		all = append(all, flags[key].evaluate(c))
	}
	return all
}

// List gives every flag, sorted by key, from memory.
func (s *Store) List() []Flag {
	flags := *s.flags.Load()
	all := make([]Flag, 0, len(flags))
	for _, key := range slices.Sorted(maps.Keys(flags)) {
		all = append(all, flags[key].flag.clone())
	}
	return all
}

// Get gives a flag as the store has it now, or an error with [gatekeeper.CodeNotFound] or
// [gatekeeper.CodeUnavailable].
func (s *Store) Get(ctx context.Context, key string) (Flag, error) {
	resp, err := call(ctx, "reading flag "+key, func() (*clientv3.GetResponse, error) {
		return s.client.Get(ctx, prefix+key)
	})
	if err != nil {
		return Flag{}, err
	}
	if len(resp.Kvs) == 0 {
		return Flag{}, missing(key)
	}
	f, err := decode(key, resp.Kvs[0].Value, resp.Kvs[0].ModRevision)
	if err != nil {
		return Flag{}, err
	}
	s.remember(key, define(f), f.Version)
	return f.clone(), nil
}

func missing(key string) error {
	return gatekeeper.Errorf(gatekeeper.CodeNotFound, "List the flags to see their keys, or create it.", "there is no flag %q", key)
}

// Put stores a flag if its version still is f.Version, 0 creating it, and gives it back with its
// new version. The change is in this store's memory when Put returns. Another version is an error
// with [gatekeeper.CodeConflict]. [gatekeeper.CodeUnavailable] leaves open whether it was stored.
func (s *Store) Put(ctx context.Context, f Flag) (Flag, error) {
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
	revision, err := s.change(ctx, "storing", f.Key, f.Version, clientv3.OpPut(prefix+f.Key, string(value)))
	if err != nil {
		return Flag{}, err
	}
	f.Version = revision
	s.remember(f.Key, define(f), revision)
	return f.clone(), nil
}

// Delete removes a flag if its version still is version; errors are as with [Store.Put].
func (s *Store) Delete(ctx context.Context, key string, version int64) error {
	if version == 0 {
		return gatekeeper.Errorf(gatekeeper.CodeInvalid, "Read the flag for its version.", "flag %q: to delete it takes its version", key)
	}
	revision, err := s.change(ctx, "deleting", key, version, clientv3.OpDelete(prefix+key))
	if err != nil {
		return err
	}
	s.remember(key, nil, revision)
	return nil
}

// change runs op if the flag's version still is version, and gives the revision of the change.
func (s *Store) change(ctx context.Context, verb, key string, version int64, op clientv3.Op) (int64, error) {
	resp, err := call(ctx, verb+" flag "+key, func() (*clientv3.TxnResponse, error) {
		return s.client.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(prefix+key), "=", version)).
			Then(op).Else(clientv3.OpGet(prefix+key, clientv3.WithKeysOnly())).Commit()
	})
	if err != nil {
		return 0, err
	}
	if resp.Succeeded {
		return resp.Header.Revision, nil
	}
	kvs := resp.Responses[0].GetResponseRange().Kvs
	if len(kvs) == 0 {
		return 0, missing(key)
	}
	return 0, gatekeeper.Errorf(gatekeeper.CodeConflict, "Read the flag again and repeat the change on what it is now.",
		"flag %q has been changed meanwhile: it is at version %d, not %d; nothing was changed", key, kvs[0].ModRevision, version)
}
