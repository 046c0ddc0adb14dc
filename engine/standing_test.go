package engine_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

func TestStandings(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		id := w.opened(ruleR + flagPlan)
		w.to(4 * mnt)
		all, err := w.e.Standings(t.Context())
		require.NoError(t, err)
		require.Len(t, all, 1)
		s := all[0]
		require.Equal(t, id, s.ID)
		require.NotContains(t, s.Rule.Expr, "${version}")
		require.Equal(t, gatekeeper.Unhealthy, s.Latest.Verdict)
		require.Len(t, s.Latest.Active, 1)
		require.Equal(t, s.Latest.Active[0], s.Track.Active[0].Identity)
		require.False(t, s.Track.Full(s.At))
		require.WithinDuration(t, w.d.Add(4*mnt), s.At, 15*time.Second)
		w.to(10 * mnt)
		all, err = w.e.Standings(t.Context())
		require.NoError(t, err)
		require.Empty(t, all, "it is closed")
	})
}

// A breach that waits for a person stands for keep_firing_for after the rule was unhealthy last.
func TestKeepFiringForKeepsAHold(t *testing.T) {
	for keep, want := range map[string]gatekeeper.State{"for: 2m": gatekeeper.Watching, "for: 2m\n        keep_firing_for: 10m": gatekeeper.Holding} {
		timeline(t, func(t *testing.T, w *world) {
			w.traffic(func(at time.Duration) float64 {
				if at >= 3*mnt && at < 6*mnt {
					return 0.05
				}
				return 0.001
			})
			id := w.opened(replace(ruleR, "for: 2m", keep) + "respond: [{do: hold}]\n" + flagPlan)
			w.to(5*mnt + 30*time.Second)
			require.Equal(t, gatekeeper.Holding, w.release(id).State)
			w.to(12 * mnt)
			require.Equal(t, want, w.release(id).State)
			w.to(20 * mnt)
			require.Equal(t, gatekeeper.Watching, w.release(id).State)
		})
	}
}
