package engine_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// unreadable is a journal whose pinned files this version can't use.
type unreadable struct{ gatekeeper.Journal }

func (unreadable) File(context.Context, string) ([]byte, error) {
	return []byte(`{"name":"health.yml","file":"service: checkout\nkey_of_another_version: 1\n"}`), nil
}

// again starts the engine anew on the journal as with makes it.
func (w *world) again(with func(gatekeeper.Journal) gatekeeper.Journal) {
	w.kill()
	w.cfg.Journal = with(w.journal)
	w.boot()
}

func TestStrand_AFileThatCannotBeUsedEndsOnlyItsRelease(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		id := w.opened(ruleR + flagPlan)
		w.to(5 * mnt)
		w.again(func(j gatekeeper.Journal) gatekeeper.Journal { return unreadable{j} })
		w.to(5*mnt + sec)
		r := w.outcome(id, gatekeeper.OutcomeInconclusive)
		require.Contains(t, r.Why, "key_of_another_version")
		require.NoError(t, w.e.Ready())
		require.Empty(t, w.targets["one"].done())
	})
}

func TestStrand_ARollbackUnderWayGoesOn(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		id := w.opened(ruleR + flagPlan)
		w.to(5*mnt - sec)
		w.targets["one"].refuses(errors.New("connection refused"))
		w.to(5*mnt + sec)
		require.Equal(t, gatekeeper.Applying, w.release(id).State, w.story(id))
		w.again(func(j gatekeeper.Journal) gatekeeper.Journal { return unreadable{j} })
		w.targets["one"].refuses(nil)
		w.to(20 * mnt)
		w.outcome(id, gatekeeper.OutcomeRolledBack)
		require.Equal(t, []string{"v1"}, w.targets["one"].done())
		_, recovered := w.one(id, gatekeeper.KindRecovered)
		require.True(t, recovered.(gatekeeper.Recovered).Unknown)
	})
}

func TestStrand_WithoutItsBackendAReleaseIsBlindUntilItIsBack(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		first := w.cfg.Backends[""]
		with := map[string]rules.Querier{"": first, "other": first}
		w.cfg.Backends = with
		w.again(func(j gatekeeper.Journal) gatekeeper.Journal { return j })
		id := w.opened("backend: other\n" + ruleR + flagPlan)
		w.to(5 * mnt)
		w.cfg.Backends = map[string]rules.Querier{"": first}
		w.again(func(j gatekeeper.Journal) gatekeeper.Journal { return j })
		w.to(9 * mnt)
		require.Equal(t, gatekeeper.HoldBlind, w.release(id).Hold.Reason, w.story(id))
		w.cfg.Backends = with
		require.NoError(t, w.e.Reload(t.Context(), w.cfg, reloaded))
		w.to(40 * mnt)
		w.outcome(id, gatekeeper.OutcomePassed)
	})
}

// A breach stood already: what nobody watches any more is no reason to call it inconclusive.
func TestStrand_ABreachThatStoodIsTold(t *testing.T) {
	for name, file := range map[string]string{"held": ruleR + flagPlan + holdRoute, "told": "dry_run: true\n" + ruleR + flagPlan} {
		t.Run(name, func(t *testing.T) {
			timeline(t, func(t *testing.T, w *world) {
				bad(w)
				id := w.opened(file)
				w.to(6 * mnt)
				w.again(func(j gatekeeper.Journal) gatekeeper.Journal { return unreadable{j} })
				w.to(6*mnt + sec)
				r := w.outcome(id, gatekeeper.OutcomeBreached)
				require.Contains(t, r.Why, "R stood")
			})
		})
	}
}
