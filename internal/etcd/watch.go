package etcd

import (
	"context"
	"errors"
	"fmt"
	"iter"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/gatekeeper-engine/gatekeeper"
)

// Backlog is the number of commits that a reader of [Journal.Watch] may be behind; a slower one
// gets [gatekeeper.ErrGone]. etcd's client would queue without a bound.
const Backlog = 1024

// Watch gives every change with a revision above after; "from now on" is from this call on. How
// far back it can go is a matter of the store's compaction.
func (j *Journal) Watch(ctx context.Context, after int64) iter.Seq2[gatekeeper.Change, error] {
	var now error
	if after < 0 {
		resp, err := j.txn(ctx, "watching the journal", clientv3.OpGet(ownerKey, clientv3.WithKeysOnly()))
		if err != nil {
			now = err
		} else {
			after = resp.Header.Revision
		}
	}
	return func(yield func(gatekeeper.Change, error) bool) {
		if now != nil {
			if ctx.Err() == nil {
				yield(gatekeeper.Change{}, now)
			}
			return
		}
		err := j.follow(ctx, after, func(c gatekeeper.Change) bool { return yield(c, nil) })
		if err != nil && ctx.Err() == nil {
			yield(gatekeeper.Change{}, err)
		}
	}
}

// follow hands changes to give until it returns false, which is no error, or ctx ends.
func (j *Journal) follow(ctx context.Context, after int64, give func(gatekeeper.Change) bool) error {
	pumping, cancel := context.WithCancel(ctx)
	queue := make(chan []gatekeeper.Change, Backlog)
	var err error // of the pump; settled when queue is closed
	go func() {
		defer close(queue)
		err = j.pump(pumping, after, queue)
	}()
	defer func() {
		cancel()
		for range queue { // until the pump has ended
		}
	}()
	for changes := range queue {
		for _, c := range changes {
			if ctx.Err() != nil || !give(c) {
				return nil
			}
		}
	}
	return err
}

// pump puts commits into queue until ctx ends, the store fails or the queue is full; it tells why.
func (j *Journal) pump(ctx context.Context, after int64, queue chan<- []gatekeeper.Change) error {
	if j.server != nil { // a broken store may not even answer that it watches
		if err := j.server.broken(); err != nil {
			return err
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		go func() {
			select {
			case <-j.server.failed:
				cancel()
			case <-ctx.Done():
			}
		}()
	}
	if j.server == nil { // a member that lost the others would keep silent
		ctx = clientv3.WithRequireLeader(ctx)
	}
	watch := j.client.Watch(ctx, factsRoot, clientv3.WithPrefix(), clientv3.WithRev(after+1), clientv3.WithFilterDelete())
	for resp := range watch {
		switch {
		case resp.CompactRevision != 0:
			return fmt.Errorf("changes after revision %d: %w", after, gatekeeper.ErrGone)
		case resp.Err() != nil:
			return unavailable("watching the journal", resp.Err())
		}
		for _, ev := range resp.Events {
			changes, err := changesOf(ev)
			if err != nil {
				return err
			}
			select {
			case queue <- changes:
			default:
				return fmt.Errorf("the reader is more than %d commits behind: %w", Backlog, gatekeeper.ErrGone)
			}
		}
	}
	if j.server != nil && j.server.broken() != nil {
		return j.server.broken()
	}
	return unavailable("watching the journal", errors.New("the watch ended"))
}

func changesOf(ev *clientv3.Event) ([]gatekeeper.Change, error) {
	key := string(ev.Kv.Key)
	id, first, err := idOfFacts(key)
	if err != nil {
		return nil, corrupted(key, err)
	}
	facts, err := decode(key, ev.Kv.Value, first)
	if err != nil {
		return nil, err
	}
	changes := make([]gatekeeper.Change, len(facts))
	for i, f := range facts {
		changes[i] = gatekeeper.Change{Revision: ev.Kv.ModRevision, Release: id, Fact: f}
	}
	return changes, nil
}
