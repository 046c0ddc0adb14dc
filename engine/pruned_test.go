package engine_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/engine"
	"github.com/gatekeeper-engine/gatekeeper/internal/retention"
)

// An engine goes on over a pruning and a restart: an open release is decided at its instant, and what
// passed last is still known.
func TestRestart_OnAPrunedJournal(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		first := w.opened(ruleR + flagPlan)
		w.to(31 * mnt)
		w.outcome(first, gatekeeper.OutcomePassed)
		w.targets["one"].set("v1")
		aborted := w.opened(ruleR + flagPlan)
		_, err := w.e.Close(t.Context(), aborted, engine.By{})
		require.NoError(t, err)

		w.to(72 * time.Hour)
		w.d = time.Now()
		bad(w)
		w.targets["one"].set("v1")
		open := w.opened(ruleR+flagPlan, func(r *engine.OpenRequest) { r.Version, r.PreviousVersion = "v2", "v1" })
		w.to(4 * mnt)
		report, err := retention.Prune(t.Context(), w.journal, time.Now().Add(-retention.LeastAge), false)
		require.NoError(t, err)
		require.Len(t, report.Releases, 1)
		require.Equal(t, aborted, report.Releases[0].ID)
		require.Equal(t, 1, report.Kept)
		w.kill()
		w.start()
		w.to(10 * mnt)
		at, _ := w.one(open, gatekeeper.KindDecided)
		require.Equal(t, 5*mnt, at.Round(mnt), w.story(open))
		w.outcome(open, gatekeeper.OutcomeRolledBack)
		require.Equal(t, gatekeeper.OutcomePassed, w.release(first).Outcome)
	})
}
