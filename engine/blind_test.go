package engine_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/engine"
)

const blindRollback = "\nrespond:\n  - {do: rollback, no_data: rollback, on_error: rollback, veto: 30s}\n"

func TestBlind_RollbackAfterVeto(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		w.outage(10*mnt, forever)
		id := w.opened(ruleR + flagPlan + blindRollback)
		w.to(14 * mnt)
		at, body := w.one(id, gatekeeper.KindDecided)
		require.Equal(t, 12*mnt+30*sec, at, w.story(id))
		require.Equal(t, gatekeeper.CauseBlind, body.(gatekeeper.Decided).Cause)
	})
}

func TestBlind_BackendHangsAtTheEnd(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		w.slowly(func() time.Duration {
			if time.Since(w.d) > 10*mnt {
				return time.Hour
			}
			return 0
		})
		id := w.opened(replace(ruleR, "interval: 15s", "interval: 5s") + flagPlan + "\nrespond:\n  - {do: rollback, no_data: ignore, on_error: ignore}\n")
		w.to(35 * mnt)
		w.outcome(id, gatekeeper.OutcomeInconclusive)
	})
}

func TestBlind_RollbackWhileAnotherIsHeld(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		w.script(func(name, _ string, at time.Duration) (float64, bool) {
			if at >= 10*mnt && name == "errors" {
				return 0, false
			}
			return map[string]float64{"errors": 0.5, "requests": 10}[name], true
		})
		blind := `
      - alert: B
        expr: sum(errors{service="${service}", version="${version}"}) > 100
`
		id := w.opened(ruleR + blind + flagPlan + holdRoute + "  - {do: rollback, no_data: rollback}\n")
		w.to(9 * mnt)
		require.Equal(t, gatekeeper.HoldRoute, w.release(id).Hold.Reason)
		w.to(11*mnt + 59*sec)
		w.to(13 * mnt)
		at, body := w.one(id, gatekeeper.KindDecided)
		require.Equal(t, 12*mnt, at, w.story(id))
		require.Equal(t, gatekeeper.CauseBlind, body.(gatekeeper.Decided).Cause)
	})
}

func TestBlind_OwnDowntimeDoesNotCount(t *testing.T) {
	for name, wait := range map[string]time.Duration{"slow": 3 * sec, "down": 0} {
		t.Run(name, func(t *testing.T) {
			timeline(t, func(t *testing.T, w *world) {
				w.slowly(func() time.Duration { return wait })
				w.down = func(at time.Duration) bool {
					return at >= 5*mnt && at < 5*mnt+20*sec || wait == 0 && at > 14*mnt && at < 15*mnt+20*sec
				}
				id := w.opened(ruleR + flagPlan + "\nrespond:\n  - {do: rollback, on_error: rollback}\n")
				w.to(5*mnt + 10*sec)
				w.kill()
				w.to(15 * mnt)
				w.start()
				w.to(32 * mnt)
				w.outcome(id, gatekeeper.OutcomePassed)
			})
		})
	}
}

func TestBlind_LostAlert(t *testing.T) {
	k := "k"
	run := func(name, route string, check func(t *testing.T, w *world, id string), with ...func(*engine.OpenRequest)) {
		t.Run(name, func(t *testing.T) {
			timeline(t, func(t *testing.T, w *world) {
				file := replace(external, "do: hold", route)
				id := w.open(file+flagPlan, with...).ID
				_, err := w.e.Receive(t.Context(), "prometheus", "prom", []gatekeeper.Alert{alert(k, time.Now().Add(-mnt), time.Now().Add(4*mnt), true)})
				require.NoError(t, err)
				w.deploy(id)
				check(t, w, id)
			})
		})
	}
	run("watch only", "do: rollback", func(t *testing.T, w *world, id string) {
		w.to(31 * mnt)
		_, held := w.facts(id, gatekeeper.KindHeld)
		require.Empty(t, held)
	}, func(r *engine.OpenRequest) { r.WatchOnly = true })
	run("rollback", "do: rollback\n    no_data: rollback", func(t *testing.T, w *world, id string) {
		_, err := w.e.SetKillSwitch(t.Context(), true, engine.By{Actor: "ops"})
		require.NoError(t, err)
		_, err = w.e.Receive(t.Context(), "prometheus", "prom", []gatekeeper.Alert{alert("new", time.Now(), time.Now().Add(4*mnt), true)})
		require.NoError(t, err)
		w.to(10 * mnt)
		_, err = w.e.SetKillSwitch(t.Context(), false, engine.By{Actor: "ops"})
		require.NoError(t, err)
		w.to(11 * mnt)
		_, body := w.one(id, gatekeeper.KindDecided)
		require.Equal(t, gatekeeper.CauseBlind, body.(gatekeeper.Decided).Cause)
	})
}

func TestBlind_AlertThatRanOutDecidesNothing(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		_, err := w.e.SetKillSwitch(t.Context(), true, engine.By{Actor: "ops"})
		require.NoError(t, err)
		id := w.opened(replace(external, "do: hold", "do: rollback") + flagPlan)
		w.to(mnt)
		_, err = w.e.Receive(t.Context(), "prometheus", "prom", []gatekeeper.Alert{alert("k", time.Now(), time.Now().Add(4*mnt), true)})
		require.NoError(t, err)
		w.to(15 * mnt)
		require.Equal(t, gatekeeper.HoldKillSwitch, w.release(id).Hold.Reason)
		_, err = w.e.SetKillSwitch(t.Context(), false, engine.By{Actor: "ops"})
		require.NoError(t, err)
		w.to(16 * mnt)
		require.Equal(t, gatekeeper.Holding, w.release(id).State, w.story(id))
		require.Equal(t, gatekeeper.HoldBlind, w.release(id).Hold.Reason)
	})
}
