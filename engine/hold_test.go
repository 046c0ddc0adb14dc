package engine_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/engine"
)

const ruleS = `
      - alert: S
        expr: sum(errors{service="${service}", version="${version}"}) / sum(requests{service="${service}", version="${version}"}) > 0.02
        for: 130s
`

func TestHold_RouteDoesNotStopACountdown(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		id := w.opened(ruleR + ruleS + flagPlan + vetoRoute + "  - {do: hold}\n")
		w.to(6 * mnt)
		at, body := w.one(id, gatekeeper.KindDecided)
		require.Equal(t, 5*mnt+30*sec, at, w.story(id))
		require.Len(t, body.(gatekeeper.Decided).Breaches, 2)
	})
}

func noTrafficLater(w *world) {
	w.script(func(name, _ string, at time.Duration) (float64, bool) {
		if at >= 8*mnt || name == "errors" {
			return 0, true
		}
		return 10, true
	})
}

func TestHold_InconclusiveRollbackAsksTheGuards(t *testing.T) {
	for _, c := range []struct {
		reason gatekeeper.HoldReason
		plan   string
		before func(w *world, id string)
	}{
		{gatekeeper.HoldIrreversible, flagPlan, func(w *world, id string) {
			_, err := w.e.Mark(w.t.Context(), id, engine.By{Actor: "dba", Why: "migrated"})
			require.NoError(w.t, err)
		}},
		{gatekeeper.HoldTarget, replace(flagPlan, "{name: one}", "{name: one, restore: true}"), func(w *world, _ string) { w.targets["one"].set("v0") }},
		{gatekeeper.HoldKillSwitch, flagPlan, func(w *world, _ string) {
			_, err := w.e.SetKillSwitch(w.t.Context(), true, engine.By{Actor: "ops", Why: "maintenance"})
			require.NoError(w.t, err)
		}},
	} {
		t.Run(string(c.reason), func(t *testing.T) {
			timeline(t, func(t *testing.T, w *world) {
				noTrafficLater(w)
				id := w.opened("on_inconclusive: rollback\n" + ruleR + c.plan)
				w.to(20 * mnt)
				c.before(w, id)
				w.to(31 * mnt)
				require.Equal(t, gatekeeper.Holding, w.release(id).State, w.story(id))
				require.Equal(t, c.reason, w.release(id).Hold.Reason)
				_, err := w.e.Veto(t.Context(), id, engine.By{Actor: "bob"})
				require.NoError(t, err)
				w.to(32 * mnt)
				w.outcome(id, gatekeeper.OutcomeInconclusive)
				require.Empty(t, w.targets["one"].done())
			})
		})
	}
	t.Run("none", func(t *testing.T) {
		timeline(t, func(t *testing.T, w *world) {
			noTrafficLater(w)
			id := w.opened("on_inconclusive: rollback\n" + ruleR + flagPlan)
			w.to(31 * mnt)
			_, body := w.one(id, gatekeeper.KindDecided)
			require.Equal(t, gatekeeper.CauseInconclusive, body.(gatekeeper.Decided).Cause)
		})
	})
}

func TestHold_DryRunNeverActs(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		id := w.opened(ruleR+flagPlan, func(r *engine.OpenRequest) { r.DryRun = true })
		w.to(mnt)
		_, err := w.e.Rollback(t.Context(), id, engine.By{Actor: "a"})
		require.Equal(t, gatekeeper.CodeConflict, gatekeeper.CodeOf(err))
		_, err = w.e.Hold(t.Context(), id, engine.By{Actor: "a"})
		require.NoError(t, err)
		_, err = w.e.Approve(t.Context(), id, engine.By{Actor: "a"})
		require.Equal(t, gatekeeper.CodeConflict, gatekeeper.CodeOf(err))
		_, err = w.e.Resume(t.Context(), id, engine.By{Actor: "a"})
		require.NoError(t, err)
		w.to(31 * mnt)
		w.outcome(id, gatekeeper.OutcomePassed)
		_, err = w.e.Rollback(t.Context(), id, engine.By{Actor: "a"})
		require.Equal(t, gatekeeper.CodeConflict, gatekeeper.CodeOf(err))
		w.to(40 * mnt)
		require.Empty(t, w.targets["one"].done())
	})
}

func TestHold_CoolDownOfAnAlert(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		w.reconfigure(func(c *engine.Config) { c.CoolDown = 10 * mnt })
		bad(w)
		first := w.opened(ruleR + flagPlan)
		w.to(6 * mnt)
		rolled := w.outcome(first, gatekeeper.OutcomeRolledBack)
		w.traffic(always(0.002))
		file := `
service: checkout
window: 1h
respond:
  - {do: rollback, external: true}
`
		id := w.open(file+flagPlan, func(r *engine.OpenRequest) { r.Version = "v3" }).ID
		w.deploy(id)
		w.to(mnt)
		_, err := w.e.Receive(t.Context(), "prometheus", "prom", []gatekeeper.Alert{alert("k", time.Now(), time.Time{}, true)})
		require.NoError(t, err)
		synctest.Wait()
		require.Equal(t, gatekeeper.HoldCoolDown, w.release(id).Hold.Reason)
		w.to(12 * mnt)
		at, _ := w.one(id, gatekeeper.KindDecided)
		require.Equal(t, w.since(rolled.ClosedAt)+10*mnt, at, w.story(id))
	})
}

func TestHold_PersonsEndsWithABreach(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		id := w.opened(ruleR + flagPlan)
		w.to(4 * mnt)
		_, err := w.e.Hold(t.Context(), id, engine.By{Actor: "a", Why: "look"})
		require.NoError(t, err)
		w.to(35 * mnt)
		r := w.outcome(id, gatekeeper.OutcomeBreached)
		require.Contains(t, r.Why, "R")
	})
}
