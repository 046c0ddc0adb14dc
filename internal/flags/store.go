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

// Journal keeps audit records where the flags are. AuditChange appends one and does what it tells
// of, then, in one transaction, if conds hold; else neither is done, the answer says so and holds
// what otherwise asks for. Audit appends one that goes with no change.
type Journal interface {
	Audit(ctx context.Context, r gatekeeper.AuditRecord) (gatekeeper.AuditRecord, error)
	AuditChange(ctx context.Context, r gatekeeper.AuditRecord, conds []clientv3.Cmp, then, otherwise []clientv3.Op) (*clientv3.TxnResponse, error)
}

// Store holds the flags. Its methods may be called concurrently.
type Store struct {
	client  *clientv3.Client
	journal Journal
	log     *slog.Logger
	flags   atomic.Pointer[map[string]*definition] // replaced, never changed
	cancel  context.CancelFunc
	stopped chan struct{}

	mu   sync.Mutex       // guards the replacing
	seen map[string]int64 // by key, the revision that memory reflects; also of deleted flags
}

// Open loads the flags and follows their changes until [Store.Close]. The caller goes on owning
// client, behind which journal is, too, and closes it after the store.
func Open(ctx context.Context, client *clientv3.Client, journal Journal, log *slog.Logger) (*Store, error) {
	following, cancel := context.WithCancel(context.Background())
	s := &Store{client: client, journal: journal, log: log, cancel: cancel, stopped: make(chan struct{})}
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
