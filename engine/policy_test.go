package engine_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/engine"
)

// A client that is confined to services opens releases of no other, also by the health file's name.
func TestOpenOfOtherServicesIsRefused(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		confined := func(globs ...string) func(*engine.OpenRequest) {
			return func(r *engine.OpenRequest) { r.Token, r.Services, r.ID = "ci", globs, "r1" }
		}
		_, err := w.e.Open(t.Context(), request(confined("basket", "shop-*")))
		require.Equal(t, gatekeeper.CodeRefused, gatekeeper.CodeOf(err))
		require.ErrorContains(t, err, "the token ci is not for service checkout")
		ids, err := w.journal.List(t.Context(), gatekeeper.Listing{Limit: 10})
		require.NoError(t, err)
		require.Empty(t, ids)

		r, err := w.e.Open(t.Context(), request(confined("check*")))
		require.NoError(t, err)
		require.Equal(t, "r1", r.ID)
		_, err = w.e.Open(t.Context(), request(confined("basket")))
		require.Equal(t, gatekeeper.CodeRefused, gatekeeper.CodeOf(err), "nor attaches to what is open")
		_, err = w.e.Open(t.Context(), request(func(r *engine.OpenRequest) { r.ID = "r1" }))
		require.NoError(t, err, "the same request of somebody else")
	})
}

// noted is a policy that notes what it is asked, and refuses what it is told to.
type noted struct {
	open, use error
	asked     []string
}

func (p *noted) MayOpen(client, service string) error {
	p.asked = append(p.asked, client+" opens "+service)
	return p.open
}

func (p *noted) MayUse(service string, rung gatekeeper.Rung, names []string) error {
	p.asked = append(p.asked, fmt.Sprint(service, " uses ", rung.Action, names))
	return p.use
}

// What the policy refuses is refused before anything is prepared, recorded or superseded.
func TestOpenAsksThePolicy(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		p := &noted{}
		w.with(func(c *engine.Config) { c.Policy = p })
		first, err := w.e.Open(t.Context(), request(func(r *engine.OpenRequest) { r.Token = "ci" }))
		require.NoError(t, err)
		require.Equal(t, []string{"ci opens checkout", "checkout uses switch/set[]"}, p.asked)

		next := request(func(r *engine.OpenRequest) { r.Version = "v3" })
		for _, refuse := range []struct{ open, use error }{{open: errors.New("no")}, {use: gatekeeper.Errorf(gatekeeper.CodeRefused, "", "no")}} {
			p.open, p.use = refuse.open, refuse.use
			_, err = w.e.Open(t.Context(), next)
			require.ErrorContains(t, err, "no")
		}
		require.Equal(t, gatekeeper.CodeRefused, gatekeeper.CodeOf(err))
		require.ErrorContains(t, err, "rung 1 of the rollback plan (switch/set)")
		p.open = errors.New("no")
		_, err = w.e.Open(t.Context(), request())
		require.ErrorContains(t, err, "no", "nor attaches to what is open")
		ids, err := w.journal.List(t.Context(), gatekeeper.Listing{Limit: 10})
		require.NoError(t, err)
		require.Equal(t, []string{first.ID}, ids)
		still, err := w.e.Release(t.Context(), first.ID)
		require.NoError(t, err)
		require.Equal(t, gatekeeper.Waiting, still.State)
	})
}

// What is reloaded holds for releases opened from then on; an open one keeps what it was opened with.
func TestReload(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		id := w.opened(ruleR + flagPlan)
		require.Error(t, w.e.Reload(t.Context(), engine.Config{Backends: w.cfg.Backends, DryRun: true, Freezes: []engine.Freeze{{Name: "x", Schedule: "never"}}}, reloaded))
		r, err := w.e.Open(t.Context(), request(func(r *engine.OpenRequest) {
			r.Service, r.Bundle = "basket", bundle(replace(ruleR, "service: checkout", "")+flagPlan)
		}))
		require.NoError(t, err)
		require.False(t, r.DryRun, "a refused reload changes nothing")

		p := &noted{open: errors.New("not any more")}
		require.NoError(t, w.e.Reload(t.Context(), engine.Config{Backends: w.cfg.Backends, Policy: p, DryRun: true}, reloaded))
		_, err = w.e.Open(t.Context(), request())
		require.ErrorContains(t, err, "not any more")
		p.open = nil
		r, err = w.e.Open(t.Context(), request(func(r *engine.OpenRequest) {
			r.Service, r.Bundle = "cart", bundle(replace(ruleR, "service: checkout", "")+flagPlan)
		}))
		require.NoError(t, err)
		require.True(t, r.DryRun)
		w.to(6 * mnt)
		w.outcome(id, gatekeeper.OutcomeRolledBack)
	})
}

// A freeze that holds rollbacks does so for open releases as soon as it is reloaded.
func TestReloadedFreezeHoldsRollbacks(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		id := w.opened(ruleR + flagPlan)
		freeze := engine.Freeze{Name: "night", Schedule: "0 0 * * *", Duration: time.Hour, HoldRollbacks: true}
		require.NoError(t, w.e.Reload(t.Context(), engine.Config{Backends: w.cfg.Backends, Freezes: []engine.Freeze{freeze}}, reloaded))
		w.to(6 * mnt)
		r, err := w.e.Release(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, gatekeeper.Holding, r.State)
		_, body := w.one(id, gatekeeper.KindNoted)
		require.Contains(t, body.(gatekeeper.Noted).Text, "other freezes")
	})
}

// What somebody does that concerns every open release is a fact of each, with who and why.
func TestTheKillSwitchIsNoted(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		id := w.opened(ruleR + flagPlan)
		_, err := w.e.SetKillSwitch(t.Context(), true, engine.By{Actor: "alice", Why: "trouble"})
		require.NoError(t, err)
		w.to(time.Second)
		facts, err := w.e.Facts(t.Context(), id)
		require.NoError(t, err)
		i := slices.IndexFunc(facts, func(f gatekeeper.Fact) bool { return f.Body.Kind() == gatekeeper.KindNoted })
		require.GreaterOrEqual(t, i, 0)
		require.Equal(t, "alice", facts[i].Actor)
		require.Equal(t, gatekeeper.Noted{Text: "the kill switch was turned on: trouble"}, facts[i].Body)
	})
}
