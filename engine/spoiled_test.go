package engine_test

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/engine"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// hooked is a journal whose writes can be spoiled.

type hooked struct {
	gatekeeper.Journal
	mu      sync.Mutex
	spoil   func(kind gatekeeper.Kind) (write bool, err error) // of an entry's last fact; nil: nothing is spoiled
	putting func()
}

func (j *hooked) set(spoil func(gatekeeper.Kind) (bool, error)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.spoil = spoil
}

func (j *hooked) Commit(ctx context.Context, entries ...gatekeeper.Entry) error {
	j.mu.Lock()
	spoil := j.spoil
	j.mu.Unlock()
	if spoil != nil {
		facts := entries[len(entries)-1].Facts
		if write, err := spoil(facts[len(facts)-1].Body.Kind()); err != nil {
			if write {
				if werr := j.Journal.Commit(ctx, entries...); werr != nil {
					return werr
				}
			}
			return err
		}
	}
	return j.Journal.Commit(ctx, entries...)
}

func (j *hooked) PutFile(ctx context.Context, content []byte) (string, error) {
	if j.putting != nil {
		j.putting()
	}
	return j.Journal.PutFile(ctx, content)
}

func (w *world) hook() *hooked {
	w.stop()
	j := &hooked{Journal: w.journal}
	w.cfg.Journal = j
	w.boot()
	return j
}

var errTimedOut = errors.New("etcdserver: request timed out")

// once spoils the first write of a kind.

func once(kind gatekeeper.Kind, write bool) func(gatekeeper.Kind) (bool, error) {
	done := false
	return func(k gatekeeper.Kind) (bool, error) {
		if k != kind || done {
			return true, nil
		}
		done = true
		return write, errTimedOut
	}
}

func (w *world) reconfigure(f func(c *engine.Config)) {
	w.stop()
	f(&w.cfg)
	w.boot()
}

// slow makes every answer of the backend take a while.

type slow struct {
	rules.Querier
	mu   sync.Mutex
	wait func() time.Duration
}

func (q *slow) pause(ctx context.Context) error {
	q.mu.Lock()
	d := q.wait()
	q.mu.Unlock()
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (q *slow) Query(ctx context.Context, expr string, at time.Time) (rules.Vector, error) {
	if err := q.pause(ctx); err != nil {
		return rules.Vector{}, err
	}
	return q.Querier.Query(ctx, expr, at)
}

func (q *slow) QueryRange(ctx context.Context, expr string, from, to time.Time, step time.Duration) (rules.Matrix, error) {
	if err := q.pause(ctx); err != nil {
		return rules.Matrix{}, err
	}
	return q.Querier.QueryRange(ctx, expr, from, to, step)
}

func (w *world) slowly(wait func() time.Duration) {
	w.reconfigure(func(c *engine.Config) {
		c.Backends = map[string]rules.Querier{"": &slow{Querier: w.backend(), wait: wait}}
	})
}

// The journal can't be written nor read when the opening lands: the release is not left alone.

// The slot at recover_within says that it is well: the slot before it has no say.

// loud is a backend whose series have many long labels.

// A rule without `for` breached as Gatekeeper died; by the time it is back the release is well.
