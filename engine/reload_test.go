package engine_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/engine"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// A backend that judges an open release can't be left out; a new one is there for the next.
func TestReloadedBackends(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		id := w.opened(ruleR + flagPlan)
		q := w.cfg.Backends[""]
		reload := func(all map[string]rules.Querier, first string) error {
			return w.e.Reload(t.Context(), engine.Config{Backends: all, DefaultBackend: first}, reloaded)
		}
		err := reload(map[string]rules.Querier{"next": q}, "next")
		require.Equal(t, gatekeeper.CodeConflict, gatekeeper.CodeOf(err))
		require.ErrorContains(t, err, id)
		require.Error(t, reload(map[string]rules.Querier{"": q}, "next"))

		other := func() engine.OpenRequest {
			return request(func(r *engine.OpenRequest) {
				r.Service, r.Bundle = "cart", bundle(replace(ruleR, "service: checkout", "backend: next")+flagPlan)
			})
		}
		_, err = w.e.Open(t.Context(), other())
		require.ErrorContains(t, err, "next", "a refused reload changed nothing")
		require.NoError(t, reload(map[string]rules.Querier{"": q, "next": q}, "next"))
		_, err = w.e.Open(t.Context(), other())
		require.NoError(t, err)
		w.to(6 * mnt)
		w.outcome(id, gatekeeper.OutcomeRolledBack)
		require.Error(t, reload(map[string]rules.Querier{"": q}, ""), "the other one is open")
		require.NoError(t, reload(map[string]rules.Querier{"next": q}, "next"))
	})
}

// Whoever is told by another configuration hears of what is held, and of what else is open.
func TestTellAgain(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		id := w.opened(ruleR + flagPlan)
		told := func() gatekeeper.Fact {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.told[len(w.told)-1]
		}
		w.to(mnt + time.Second)
		w.e.TellAgain()
		require.Equal(t, gatekeeper.Noted{}, told().Body, "nothing to read")
		_, err := w.e.Hold(t.Context(), id, alice)
		require.NoError(t, err)
		held := told()
		require.Equal(t, gatekeeper.KindHeld, held.Body.Kind())
		w.to(2*mnt + time.Second)
		w.e.TellAgain()
		require.Equal(t, held.Body, told().Body)
		require.Equal(t, held.At, told().At)
	})
}
