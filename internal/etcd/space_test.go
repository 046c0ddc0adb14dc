package etcd

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/gatekeeper-engine/gatekeeper"
)

const mib = 1 << 20

func startWith(t *testing.T, opts Options) *Server {
	t.Helper()
	opts.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	s, err := Start(t.Context(), opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// large writes releases of a MiB each until there are n, or the store is full; closed but for the last.
func large(t *testing.T, j *Journal, n int) (ids []string, full error) {
	t.Helper()
	for i := range n {
		id := fmt.Sprint("large", i)
		ids = append(ids, id)
		for part := range 5 {
			facts := []gatekeeper.Fact{noted(strings.Repeat("x", 200<<10))}
			if part == 0 {
				facts = []gatekeeper.Fact{{At: time.Now(), Body: gatekeeper.Opened{Service: "shop", Version: "1"}}}
			}
			if err := j.Commit(t.Context(), gatekeeper.Entry{Release: id, After: int64(part), Facts: facts}); err != nil {
				return ids, err
			}
		}
		if i < n-1 {
			err := j.Commit(t.Context(), gatekeeper.Entry{Release: id, After: 5, Facts: []gatekeeper.Fact{{At: time.Now(), Body: gatekeeper.Closed{Outcome: gatekeeper.OutcomeAborted}}}})
			if err != nil {
				return ids, err
			}
		}
	}
	return ids, nil
}

// forget compacts the store, and waits until the room is free: bbolt counts pages as free at the
// write after the next.
func forget(t *testing.T, s *Server, inUse int64) {
	t.Helper()
	resp, err := s.Client().Get(t.Context(), ownerKey)
	require.NoError(t, err)
	_, err = s.Client().Compact(t.Context(), resp.Header.Revision)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, err := s.Client().Put(t.Context(), "/test", "x")
		require.NoError(t, err)
		return s.Space().InUse < inUse
	}, 30*time.Second, 50*time.Millisecond)
}

func TestShrinkGivesTheRoomBack(t *testing.T) {
	s := startWith(t, Options{Dir: t.TempDir()})
	j := openIn(t, s)
	ids, err := large(t, j, 20)
	require.NoError(t, err)
	before := s.Space()
	require.Greater(t, before.Size, int64(10*mib))
	require.EqualValues(t, DefaultQuota, before.Quota)
	for i := range ids[:19] {
		require.NoError(t, j.Remove(t.Context(), ids[i]))
	}
	require.NoError(t, s.Shrink(t.Context()))
	require.Less(t, s.Space().Size, int64(4*mib))
	require.NoError(t, s.Shrink(t.Context()), "again, with nothing to compact")
	require.NoError(t, commit(j, t, "large19", 5, "it goes on"))
	require.Equal(t, 1, requireWhole(t, s).Releases)

	reg := prometheus.NewRegistry()
	Measure(reg, s.Space)
	n, err := testutil.GatherAndCount(reg, "gatekeeper_store_size_bytes", "gatekeeper_store_in_use_bytes", "gatekeeper_store_quota_bytes")
	require.NoError(t, err)
	require.Equal(t, 3, n)
}

// The room inside the file is filled before it grows.
func TestFreedRoomIsFilledFirst(t *testing.T) {
	s := startWith(t, Options{Dir: t.TempDir()})
	j := openIn(t, s)
	size := int64(0)
	for round := range 5 {
		ids, err := large(t, j, 10)
		require.NoError(t, err)
		require.NoError(t, j.Commit(t.Context(), gatekeeper.Entry{Release: ids[9], After: 5, Facts: []gatekeeper.Fact{{At: time.Now(), Body: gatekeeper.Closed{Outcome: gatekeeper.OutcomeAborted}}}}))
		require.NoError(t, j.Remove(t.Context(), ids...))
		forget(t, s, 3*mib)
		if round == 1 {
			size = s.Space().Size
		}
	}
	require.Less(t, s.Space().Size, 2*size)
}

func TestStartMakesTheFileSmaller(t *testing.T) {
	for name, test := range map[string]struct {
		open, few, full bool
		smaller         bool
	}{
		"no release is open":    {smaller: true},
		"a release is open":     {open: true},
		"open, but full":        {open: true, full: true, smaller: true},
		"not worth the waiting": {few: true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := startWith(t, Options{Dir: dir})
			j := openIn(t, s)
			ids, err := large(t, j, 20)
			require.NoError(t, err)
			if !test.open {
				require.NoError(t, j.Commit(t.Context(), gatekeeper.Entry{Release: ids[19], After: 5, Facts: []gatekeeper.Fact{{At: time.Now(), Body: gatekeeper.Closed{Outcome: gatekeeper.OutcomeAborted}}}}))
			}
			require.NoError(t, j.Remove(t.Context(), ids[:19]...))
			forget(t, s, 4*mib)
			_, err = s.Client().Delete(t.Context(), "/test")
			require.NoError(t, err)
			before := s.Space().Size
			require.NoError(t, s.Close())

			opts := Options{Dir: dir, worthShrinking: mib}
			if test.few {
				opts.worthShrinking = 0 // 64 MiB
			}
			if test.full {
				opts.Quota = before
			}
			s = startWith(t, opts)
			if test.smaller {
				require.Less(t, s.Space().Size, before/3)
			} else {
				require.GreaterOrEqual(t, s.Space().Size, before)
			}
			require.Equal(t, 1, requireWhole(t, s).Releases)
		})
	}
}

// A store that takes no more facts is pruned all the same, and takes some again.
func TestFullStoreIsPruned(t *testing.T) {
	dir := t.TempDir()
	s := startWith(t, Options{Dir: dir, Quota: 20 * mib})
	_, full := large(t, openIn(t, s), 100)
	require.ErrorIs(t, full, rpctypes.ErrNoSpace)
	require.NoError(t, s.Close())

	s = startWith(t, Options{Dir: dir, Quota: 20 * mib})
	_, err := s.OpenJournal(t.Context())
	require.Error(t, err, "it can't even be taken over")
	require.Contains(t, gatekeeper.HintOf(err), "store prune")
	j, err := s.Beside(t.Context())
	require.NoError(t, err)
	ids, err := j.List(t.Context(), gatekeeper.Listing{Limit: 100})
	require.NoError(t, err)
	require.Greater(t, len(ids), 10)
	require.NoError(t, j.Remove(t.Context(), ids[1:min(20, len(ids))]...)) // the newest is open
	_, err = j.Sweep(t.Context())
	require.NoError(t, err)
	require.NoError(t, s.Shrink(t.Context()))
	require.Less(t, s.Space().Size, int64(10*mib))
	require.NoError(t, commit(openIn(t, s), t, "new", 0, "there is room"))
}

func TestShrinkEndsWithItsContext(t *testing.T) {
	s := startWith(t, Options{Dir: t.TempDir()})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, s.Shrink(ended))
}
