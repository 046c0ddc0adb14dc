package engine_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/engine"
)

func TestVerify_RecoveredAtTheLastMoment(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		w.slowly(func() time.Duration { return 100 * time.Millisecond })
		w.script(func(name, _ string, at time.Duration) (float64, bool) {
			if name == "errors" && at >= 3*mnt && at < 7*mnt+5*sec {
				return 0.5, true
			}
			return map[string]float64{"errors": 0.02, "requests": 10}[name], true
		})
		id := w.opened(ruleR + twoRungs)
		w.to(12 * mnt)
		w.outcome(id, gatekeeper.OutcomeRolledBack)
		require.Empty(t, w.targets["two"].done(), w.story(id))
	})
}

func TestWindow_CoverageOfALongRange(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		w.d = time.Now().Add(2 * mnt)
		w.script(func(name, _ string, at time.Duration) (float64, bool) {
			if name == "errors" && at < 0 {
				return 0.5, true
			}
			return map[string]float64{"errors": 0.02, "requests": 10}[name], true
		})
		id := w.open(replace(unbound(ruleR), "[1m]", "[10m]") + flagPlan).ID
		w.to(0)
		w.deploy(id)
		w.to(31 * mnt)
		w.outcome(id, gatekeeper.OutcomePassed)
	})
}

func TestWindow_PendingAtTheEndOfAnExtended(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		w.traffic(between(58*mnt+15*sec, forever, 0.05))
		id := w.opened(ruleR + flagPlan)
		w.to(20 * mnt)
		_, err := w.e.Extend(t.Context(), id, 30*mnt, engine.By{Actor: "a"})
		require.NoError(t, err)
		w.to(62 * mnt)
		at, _ := w.one(id, gatekeeper.KindDecided)
		require.Equal(t, 60*mnt+15*sec, at)
	})
}

// Odd times still end: a bad release is taken back as long as a slot can see it, and nothing that was
// never judged passes.
func TestWindow_OddTimes(t *testing.T) {
	for name, c := range map[string]struct {
		old, with string
		well, bad gatekeeper.Outcome
	}{
		"for 0":                     {"for: 2m", "for: 0s", gatekeeper.OutcomePassed, gatekeeper.OutcomeRolledBack},
		"for above window":          {"for: 2m", "for: 45m", gatekeeper.OutcomePassed, gatekeeper.OutcomeRolledBack},
		"interval above window":     {"interval: 15s", "interval: 2h", gatekeeper.OutcomeInconclusive, gatekeeper.OutcomeInconclusive},
		"warm-up to the last slots": {"for: 2m", "for: 2m\n        warm_up: 29m50s", gatekeeper.OutcomePassed, gatekeeper.OutcomeRolledBack},
		"warm-up above window":      {"for: 2m", "for: 2m\n        warm_up: 40m", gatekeeper.OutcomeInconclusive, gatekeeper.OutcomeInconclusive},
	} {
		for _, ratio := range []float64{0.002, 0.05} {
			t.Run(name, func(t *testing.T) {
				timeline(t, func(t *testing.T, w *world) {
					time.Sleep(time.Hour + 7*mnt)
					w.traffic(always(ratio))
					id := w.opened(replace(ruleR, c.old, c.with) + flagPlan)
					w.to(3 * time.Hour)
					if ratio > 0.01 {
						w.outcome(id, c.bad)
					} else {
						w.outcome(id, c.well)
						require.Empty(t, w.targets["one"].done())
					}
				})
			})
		}
	}
}
