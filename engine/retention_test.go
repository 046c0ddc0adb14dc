package engine

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
	"github.com/gatekeeper-engine/gatekeeper/internal/memory"
	"github.com/gatekeeper-engine/gatekeeper/internal/retention"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

const watched = `
service: shop
groups:
  - name: g
    rules:
      - alert: R
        expr: errors{version="${version}"} > 1
`

// vanishing is a journal whose releases are removed between their listing and their reading.
type vanishing struct {
	*memory.Journal
	gone []string
}

func (v vanishing) Facts(ctx context.Context, id string) ([]gatekeeper.Fact, error) {
	if slices.Contains(v.gone, id) {
		return nil, gatekeeper.ErrNotFound
	}
	return v.Journal.Facts(ctx, id)
}

// past writes random releases of some services over two years; the newest are open.
func past(t *testing.T, j gatekeeper.Journal, random *rand.Rand, now time.Time) {
	t.Helper()
	hash, err := j.PutFile(t.Context(), rules.Bundle{Name: "health.yml", File: watched}.Encode())
	require.NoError(t, err)
	outcomes := append(gatekeeper.Outcomes(), gatekeeper.OutcomePassed, gatekeeper.OutcomeRolledBack)
	const releases = 120
	for i := range releases {
		at := now.Add(-time.Duration(releases-i) * 6 * 24 * time.Hour).Add(time.Duration(random.IntN(100)) * time.Hour)
		o := gatekeeper.Opened{
			Service: fmt.Sprint("shop-", random.IntN(5)), Environment: "prod", Version: fmt.Sprint("v", i), File: hash,
			WatchOnly: true, Window: gatekeeper.Duration(time.Hour), StartWithin: gatekeeper.Duration(time.Hour), HoldFor: gatekeeper.Duration(time.Hour),
		}
		if random.IntN(3) > 0 {
			o.PreviousVersion = fmt.Sprint("v", i-1)
		}
		facts := []gatekeeper.Fact{{At: at, Body: o}}
		if i < releases-4 {
			facts = append(facts, gatekeeper.Fact{At: at.Add(time.Hour), Body: gatekeeper.Closed{Outcome: outcomes[random.IntN(len(outcomes))]}})
		} else {
			facts[0].At = now
		}
		require.NoError(t, j.Commit(t.Context(), gatekeeper.Entry{Release: fmt.Sprint("r", i), Facts: facts}))
	}
}

// learned starts an engine on the journal and gives what it learned of the past.
func learned(t *testing.T, j gatekeeper.Journal) *history {
	t.Helper()
	registry, err := actions.NewRegistry()
	require.NoError(t, err)
	e, err := New(Config{Journal: j, Actions: registry, Backends: map[string]rules.Querier{"": nil}, Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
	require.NoError(t, err)
	require.NoError(t, e.readHistory(t.Context()))
	return e.history
}

// A pruned journal tells an engine that starts on it what the whole one told.
func TestRetentionKeepsWhatTheEngineReadsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		random := rand.New(rand.NewPCG(seed, 0))
		for range 10 {
			j := memory.New()
			past(t, j, random, time.Now())
			whole := learned(t, j)
			require.Greater(t, len(whole.versions)+len(whole.rollback), 4)
			for _, days := range []int{600, 300, 60, 10} {
				_, err := retention.Prune(t.Context(), j, time.Now().AddDate(0, 0, -days), false)
				require.NoError(t, err)
				pruned := learned(t, j)
				require.Equal(t, whole.versions, pruned.versions, "%d days", days)
				require.Equal(t, whole.rollback, pruned.rollback, "%d days", days)
			}
		}
	})
}

func TestRemovedBetweenListingAndReading(t *testing.T) {
	j := memory.New()
	past(t, j, rand.New(rand.NewPCG(1, 1)), time.Now())
	gone := vanishing{j, []string{"r0", "r7"}}
	learned(t, gone)
	e := &Engine{cfg: Config{Journal: gone}}
	found, err := e.List(t.Context(), gatekeeper.Listing{Limit: 1000})
	require.NoError(t, err)
	require.Len(t, found, 118)
	_, err = e.Release(t.Context(), "r7")
	require.Equal(t, gatekeeper.CodeNotFound, gatekeeper.CodeOf(err))
	require.Contains(t, gatekeeper.HintOf(err), "retention")
}
