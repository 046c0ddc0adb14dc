package engine_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

func TestRestart_AfterTheCountdown(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		id := w.opened(ruleR + flagPlan + vetoRoute)
		w.to(5*mnt + 10*sec)
		w.kill()
		w.to(6 * mnt)
		w.start()
		w.to(7 * mnt)
		at, _ := w.one(id, gatekeeper.KindDecided)
		require.Equal(t, 6*mnt, at, w.story(id))
	})
}

func TestRestart_AfterTheHoldsDeadline(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		w.traffic(between(3*mnt, 10*mnt, 0.05))
		id := w.opened("window: 2h\n" + replace(ruleR, "window: 30m\n", "") + flagPlan + holdRoute)
		w.to(9 * mnt)
		w.kill()
		w.to(40 * mnt)
		w.start()
		w.to(41 * mnt)
		require.Equal(t, gatekeeper.Watching, w.release(id).State, w.story(id))
		w.to(3 * time.Hour)
		w.outcome(id, gatekeeper.OutcomePassed)
	})
}

func TestRestart_DeployedMeanwhile(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		id := w.open(ruleR + flagPlan).ID
		w.kill()
		w.targets["one"].set("v2")
		w.mu.Lock()
		w.serves["v2"] = true
		w.mu.Unlock()
		w.to(12 * mnt)
		w.start()
		w.to(15 * mnt)
		w.outcome(id, gatekeeper.OutcomeRolledBack)
	})
}

func TestRestart_PreexistingAndWellMeanwhile(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		w.d = time.Now().Add(2 * mnt)
		w.script(func(name, _ string, at time.Duration) (float64, bool) {
			if name == "errors" && (at < 4*mnt || at > 7*mnt) {
				return 0.5, true
			}
			return map[string]float64{"errors": 0.02, "requests": 10}[name], true
		})
		id := w.open(unbound(ruleR) + flagPlan).ID
		w.to(0)
		w.deploy(id)
		w.to(3 * mnt)
		w.kill()
		w.to(8 * mnt)
		w.start()
		w.to(12 * mnt)
		w.one(id, gatekeeper.KindDecided)
	})
}

func TestRestart_WellAgainMeanwhile(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		w.traffic(between(3*mnt, 4*mnt, 0.05))
		w.hook().set(func(k gatekeeper.Kind) (bool, error) {
			if k == gatekeeper.KindDecided {
				return false, errTimedOut
			}
			return true, nil
		})
		id := w.opened(replace(ruleR, "for: 2m", "for: 0s") + flagPlan)
		w.to(3*mnt + 10*sec)
		require.Equal(t, gatekeeper.Unhealthy, w.release(id).Tracks["R"].Verdict)
		w.kill()
		w.to(20 * mnt)
		w.cfg.Backends = map[string]rules.Querier{"": &slow{Querier: w.backend(), wait: func() time.Duration { return sec }}}
		w.start()
		w.to(31 * mnt)
		w.outcome(id, gatekeeper.OutcomePassed)
	})
}

func TestRestart_EvidenceIsKept(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		id := w.opened(ruleR + flagPlan + vetoRoute)
		w.to(5*mnt + 10*sec)
		w.kill()
		w.outage(5*mnt+10*sec, forever)
		w.start()
		w.to(6 * mnt)
		_, body := w.one(id, gatekeeper.KindDecided)
		require.NotEmpty(t, body.(gatekeeper.Decided).Breaches[0].Reading.Operand, w.story(id))
	})
}

// A rule that sees the old version's data counts when all of that is behind it, restart or not,
// though it was well for a moment before.
func TestRestart_BeforeAnUnboundRuleCounts(t *testing.T) {
	for _, restart := range []bool{false, true} {
		timeline(t, func(t *testing.T, w *world) {
			w.script(func(name, version string, at time.Duration) (float64, bool) {
				if name == "errors" && version == "v1" && (at < mnt || at >= 2*mnt) && at < 5*mnt {
					return 1, true
				}
				return 0.1, true
			})
			id := w.opened(replace(ruleR, `sum(errors{service="${service}", version="${version}"}) / sum(requests{service="${service}", version="${version}"}) > 0.01`,
				`sum(last_over_time(errors{service="${service}"}[5m])) > 0.5`) + flagPlan)
			w.to(2*mnt + 31*sec)
			if restart {
				w.kill()
				w.start()
			}
			w.to(31 * mnt)
			w.outcome(id, gatekeeper.OutcomePassed)
		})
	}
}
