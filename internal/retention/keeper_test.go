package retention

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/memory"
)

func write(t *testing.T, j gatekeeper.Journal, id string, at time.Time) {
	t.Helper()
	require.NoError(t, j.Commit(t.Context(), gatekeeper.Entry{Release: id, Facts: []gatekeeper.Fact{
		{At: at, Body: gatekeeper.Opened{Service: "shop", Version: "1"}}, {At: at, Body: gatekeeper.Closed{Outcome: gatekeeper.OutcomeAborted}},
	}}))
}

// lines is a log that is read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// take gives what was written since it was asked last.
func (l *lines) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.text.Reset()
	return l.text.String()
}

func TestKeeperPrunesByAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, log, reg := memory.New(), &lines{}, prometheus.NewRegistry()
		k := NewKeeper(j, 48*time.Hour, slog.New(slog.NewTextHandler(log, nil)), reg)
		begun := time.Now()
		write(t, j, "old", begun.Add(-49*time.Hour))
		write(t, j, "later", begun.Add(-47*time.Hour))
		write(t, j, "young", begun)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); k.Run(ctx) }()

		time.Sleep(First - time.Second)
		synctest.Wait()
		require.Len(t, ids(t, j), 3, "open releases are taken up first")
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, []string{"later", "young"}, ids(t, j))
		require.Contains(t, log.take(), "releases=1")
		require.InEpsilon(t, 1, testutil.ToFloat64(k.pruned), 0)
		time.Sleep(Every)
		synctest.Wait()
		require.Equal(t, []string{"young"}, ids(t, j))
		require.InEpsilon(t, 2, testutil.ToFloat64(k.pruned), 0)
		require.Contains(t, log.take(), "releases=1")
		time.Sleep(5 * Every)
		synctest.Wait()
		require.Empty(t, log.take(), "where nothing is removed nothing is said")

		j.Reopen()
		time.Sleep(48 * time.Hour)
		<-done
		require.Equal(t, []string{"young"}, ids(t, j), "the journal is another's now")
		require.InEpsilon(t, 1, testutil.ToFloat64(k.failed), 0)
		cancel()
	})
}

func TestKeeperGoesOnAfterAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &faulty{Journal: memory.New(), facts: map[string]error{"old": gatekeeper.Errorf(gatekeeper.CodeUnavailable, "", "no answer")}}
		k := NewKeeper(j, 48*time.Hour, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
		write(t, j, "old", time.Now().Add(-100*time.Hour))
		ctx, cancel := context.WithCancel(t.Context())
		go k.Run(ctx)
		time.Sleep(First + Every)
		synctest.Wait()
		require.InEpsilon(t, 2, testutil.ToFloat64(k.failed), 0)
		require.Len(t, ids(t, j), 1)
		j.heal()
		time.Sleep(Every)
		synctest.Wait()
		require.Empty(t, ids(t, j))
		cancel()
		synctest.Wait()
	})
}

// watched is a journal that calls removing whenever it is asked to remove something.
type watched struct {
	*memory.Journal
	removing func()
}

func (w watched) Remove(ctx context.Context, ids ...string) error {
	w.removing()
	return w.Journal.Remove(ctx, ids...)
}

func TestOnePruningAtATime(t *testing.T) {
	var k *Keeper
	alone := false
	j := watched{memory.New(), func() { alone = !k.mu.TryLock() }}
	write(t, j, "old", time.Now().Add(-49*time.Hour))
	k = NewKeeper(j, 48*time.Hour, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	_, err := k.Prune(t.Context(), time.Now().Add(-48*time.Hour), false)
	require.NoError(t, err)
	require.True(t, alone)
}

func TestKeeperOfAllKeepsAll(t *testing.T) {
	j := memory.New()
	k := NewKeeper(j, 0, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	write(t, j, "old", time.Time{}.Add(time.Hour))
	k.Run(t.Context()) // ends at once
	require.Len(t, ids(t, j), 1)
	r, err := k.Prune(t.Context(), time.Now(), true)
	require.NoError(t, err)
	require.Len(t, r.Releases, 1)
	require.Len(t, ids(t, j), 1)
	require.Zero(t, testutil.ToFloat64(k.pruned))
}

func TestCheck(t *testing.T) {
	require.NoError(t, Check(LeastAge))
	require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(Check(LeastAge-1)))
	require.Error(t, Check(-LeastAge))
}
