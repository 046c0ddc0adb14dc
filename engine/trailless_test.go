package engine_test

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// restored takes up a record of testdata/trailless at an instant. They were written by Gatekeeper
// before it journaled each slot: R, bad from 3:00 on.
func (w *world) restored(name string, at time.Duration) string {
	w.t.Helper()
	data, err := os.ReadFile("testdata/trailless/" + name + ".json")
	require.NoError(w.t, err)
	var record struct {
		Bundle rules.Bundle
		Facts  []gatekeeper.Fact
	}
	require.NoError(w.t, json.Unmarshal(data, &record))
	opened := record.Facts[0].Body.(gatekeeper.Opened)
	w.stop()
	hash, err := w.journal.PutFile(w.t.Context(), record.Bundle.Encode())
	require.NoError(w.t, err)
	require.Equal(w.t, opened.File, hash)
	require.NoError(w.t, w.journal.Commit(w.t.Context(), gatekeeper.Entry{Release: "old", Facts: record.Facts}))
	w.d = record.Facts[0].At
	w.serves["v2"] = true
	w.targets["one"].set("v2")
	w.to(at)
	w.start()
	return "old"
}

func TestTrailless_RecordsGoOn(t *testing.T) {
	for name, c := range map[string]struct {
		at, decided time.Duration
		want        gatekeeper.Outcome
	}{
		"watching":    {2*mnt + 20*sec, 5 * mnt, gatekeeper.OutcomeRolledBack},
		"pending":     {4*mnt + 20*sec, 5 * mnt, gatekeeper.OutcomeRolledBack},
		"held":        {6*mnt + 20*sec, 7 * mnt, gatekeeper.OutcomeRolledBack},
		"verifying":   {6*mnt + 20*sec, 5 * mnt, gatekeeper.OutcomeRollbackFailed},
		"rolled_back": {6*mnt + 20*sec, 5 * mnt, gatekeeper.OutcomeRolledBack},
	} {
		t.Run(name, func(t *testing.T) {
			timeline(t, func(t *testing.T, w *world) {
				bad(w)
				if name == "verifying" {
					w.script(func(name, _ string, _ time.Duration) (float64, bool) { return 10, true })
				}
				id := w.restored(name, c.at)
				w.to(7 * mnt)
				if name == "held" {
					_, err := w.e.Approve(t.Context(), id, alice)
					require.NoError(t, err)
				}
				w.to(20 * mnt)
				w.outcome(id, c.want)
				at, _ := w.one(id, gatekeeper.KindDecided)
				require.Equal(t, c.decided, at.Truncate(sec))
			})
		})
	}
}
