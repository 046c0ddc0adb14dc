package notify

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

// chat is a channel whose receiver takes its time.
type chat struct {
	*Queue[int64]
	takes time.Duration

	mu   sync.Mutex
	got  []int64
	over bool // Run has ended
}

func newChat(t *testing.T, takes time.Duration) *chat {
	counters, err := NewCounters(nil)
	require.NoError(t, err)
	c := &chat{takes: takes}
	c.Queue = NewQueue(Channel{Counters: counters, Log: slog.New(slog.DiscardHandler)}, func(ctx context.Context, _ *slog.Logger, seq int64) error {
		select {
		case <-time.After(c.takes):
		case <-ctx.Done():
			return ctx.Err()
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.got = append(c.got, seq)
		return nil
	})
	return c
}

func (c *chat) Tell(_ gatekeeper.Release, f gatekeeper.Fact) {
	c.Push(gatekeeper.Release{ID: "r1"}, f.Seq)
}

func (c *chat) Run(ctx context.Context) error {
	err := c.Queue.Run(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	return err
}

func (c *chat) ended() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.over
}

func (c *chat) said() []int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.got
}

func TestGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow, kept, fresh := newChat(t, 10*time.Second), newChat(t, 0), newChat(t, 0)
		want := func(settings []string, c *chat) Wanted {
			return Wanted{settings, func() (Teller, error) { return c, nil }}
		}
		never := func() (Teller, error) { t.Error("it is there already"); return nil, nil }
		tell := func(g *Group, seq int64) { g.Tell(gatekeeper.Release{}, gatekeeper.Fact{Seq: seq}) }

		var g Group
		require.True(t, g.Empty())
		next, err := g.Plan([]Wanted{want([]string{"slow"}, slow), want([]string{"kept"}, kept)})
		require.NoError(t, err)
		tell(&g, 0) // nobody yet
		g.Replace(next)
		ctx, cancel := context.WithCancel(t.Context())
		done := running(func() error { return g.Run(ctx) })
		tell(&g, 1)
		tell(&g, 2)
		tell(&g, 3)

		_, err = g.Plan([]Wanted{{[]string{"bad"}, func() (Teller, error) { return nil, errors.New("no secret") }}})
		require.ErrorContains(t, err, "no secret")
		next, err = g.Plan([]Wanted{{[]string{"kept"}, never}, want([]string{"fresh"}, fresh)})
		require.NoError(t, err)
		tell(&g, 4)
		g.Replace(next)
		tell(&g, 5)
		synctest.Wait()
		require.Equal(t, []int64{1, 2, 3, 4, 5}, kept.said())
		require.Equal(t, []int64{5}, fresh.said())
		time.Sleep(time.Hour)
		require.Equal(t, []int64{1, 2, 3, 4}, slow.said(), "it was left out, and what waited is sent")
		require.True(t, slow.ended())
		require.False(t, kept.ended())

		cancel()
		require.NoError(t, <-done)
		g.Replace(nil) // too late for anything to run
	})
}

// Members that are left out before Run still send what waits; the same settings twice are two members.
func TestGroupBeforeRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		one, two := newChat(t, 0), newChat(t, 0)
		makes := []*chat{one, two}
		open := func() (Teller, error) { next := makes[0]; makes = makes[1:]; return next, nil }
		next, err := g.Plan([]Wanted{{"same", open}, {"same", open}})
		require.NoError(t, err)
		g.Replace(next)
		g.Tell(gatekeeper.Release{}, gatekeeper.Fact{Seq: 1})
		next, err = g.Plan([]Wanted{{"same", open}})
		require.NoError(t, err)
		g.Replace(next)
		ctx, cancel := context.WithCancel(t.Context())
		done := running(func() error { return g.Run(ctx) })
		synctest.Wait()
		require.Equal(t, []int64{1}, one.said())
		require.Equal(t, []int64{1}, two.said())
		cancel()
		require.NoError(t, <-done)
	})
}

func running(f func() error) chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return done
}
