package engine_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
	"github.com/gatekeeper-engine/gatekeeper/engine"
	"github.com/gatekeeper-engine/gatekeeper/internal/memory"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

func newJournal() gatekeeper.Journal { return memory.New() }

func registry(t *testing.T) *actions.Registry {
	r, err := actions.NewRegistry()
	require.NoError(t, err)
	return r
}

func contains(s, sub string) bool { return strings.Contains(s, sub) }

func request(with ...func(*engine.OpenRequest)) engine.OpenRequest {
	req := engine.OpenRequest{Version: "v2", PreviousVersion: "v1", Bundle: bundle(ruleR + flagPlan)}
	for _, f := range with {
		f(&req)
	}
	return req
}

func TestOpenRefusals(t *testing.T) {
	for want, with := range map[string]func(*engine.OpenRequest){
		"has no version":               func(r *engine.OpenRequest) { r.Version = "" },
		"has no service":               func(r *engine.OpenRequest) { r.Bundle = bundle(replace(ruleR, "service: checkout", "")) },
		"no health file":               func(r *engine.OpenRequest) { r.Bundle = nil },
		"configured no folder":         func(r *engine.OpenRequest) { r.Bundle, r.HealthFile = nil, "checkout" },
		"its health file is for":       func(r *engine.OpenRequest) { r.Service = "basket" },
		"both \"v2\"":                  func(r *engine.OpenRequest) { r.PreviousVersion = "v2" },
		"no rollback plan":             func(r *engine.OpenRequest) { r.Bundle = bundle(ruleR) },
		"no rollback plan \"nightly\"": func(r *engine.OpenRequest) { r.Bundle, r.Plan = bundle(ruleR), "nightly" },
		"one of its own":               func(r *engine.OpenRequest) { r.Plan = "standard" },
		"rung 1 of the rollback plan":  func(r *engine.OpenRequest) { r.Bundle = bundle(ruleR + replace(flagPlan, "switch/set", "switch/get")) },
		"there is no connection":       func(r *engine.OpenRequest) { r.Bundle = bundle(ruleR + flagPlan + "    connection: moon\n") },
		"name a":                       func(r *engine.OpenRequest) { r.Bundle = bundle(ruleR + replace(flagPlan, "name: one", "nama: one")) },
		"the new version is not there": func(r *engine.OpenRequest) { r.Bundle = bundle(ruleR + flagPlan + "    return_to: previous\n") },
		"control character":            func(r *engine.OpenRequest) { r.Version = "v2\nrm" },
		"at most 200":                  func(r *engine.OpenRequest) { r.Version = strings.Repeat("v", 201) },
		"can't be used":                func(r *engine.OpenRequest) { r.ID = "../etc" },
		"label name":                   func(r *engine.OpenRequest) { r.Labels = map[string]string{"a b": "c"} },
		"the limit is":                 func(r *engine.OpenRequest) { r.Bundle = bundle(ruleR + strings.Repeat("#", 1<<20)) },
		"backend \"moon\"":             func(r *engine.OpenRequest) { r.Bundle = bundle("backend: moon\n" + ruleR + flagPlan) },
		"${labels.region}": func(r *engine.OpenRequest) {
			r.Bundle = bundle(replace(ruleR, "${service}", "${labels.region}") + flagPlan)
		},
		"has the recording rule \"a\"": func(r *engine.OpenRequest) {
			r.Bundle = bundle(replace(ruleR, "rules:\n", "rules:\n      - {record: a, expr: up}\n") + flagPlan)
		},
		"a window of":    func(r *engine.OpenRequest) { r.Window = 8 * 24 * time.Hour },
		"health.yml:1:1": func(r *engine.OpenRequest) { r.Bundle = bundle("colour: green\n") },
	} {
		t.Run(want, func(t *testing.T) {
			timeline(t, func(t *testing.T, w *world) {
				w.with(func(c *engine.Config) {
					c.Plans = map[string][]rules.RungSpec{"standard": {{Action: "switch/set", With: []byte(`{"name":"one"}`)}}}
				})
				if want == "name a" {
					want = "nama"
				}
				_, err := w.e.Open(t.Context(), request(with))
				require.ErrorContains(t, err, want)
				require.Contains(t, []gatekeeper.Code{gatekeeper.CodeInvalid, gatekeeper.CodeNotFound}, gatekeeper.CodeOf(err), "%v", err)
				ids, err := w.journal.List(t.Context(), gatekeeper.Listing{Limit: 10})
				require.NoError(t, err)
				require.Empty(t, ids, "a refused request leaves nothing")
			})
		})
	}
}

func TestOpenIsIdempotent(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		named := func(r *engine.OpenRequest) { r.ID = "build-7" }
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				r, err := w.e.Open(t.Context(), request(named))
				if err != nil || r.ID != "build-7" || r.State != gatekeeper.Waiting {
					t.Errorf("open: %v %v", r.State, err)
				}
			})
		}
		all.Wait()
		_, err := w.e.Open(t.Context(), request(named, func(r *engine.OpenRequest) { r.Version = "v3" }))
		require.Equal(t, gatekeeper.CodeConflict, gatekeeper.CodeOf(err))
		again, err := w.e.Open(t.Context(), request(func(r *engine.OpenRequest) { r.ID = "build-8" }))
		require.NoError(t, err)
		require.Equal(t, "build-7", again.ID, "the same version attaches")
		_, err = w.e.Close(t.Context(), "build-7", alice)
		require.NoError(t, err)
		closed, err := w.e.Open(t.Context(), request(named))
		require.NoError(t, err)
		require.Equal(t, gatekeeper.OutcomeAborted, closed.Outcome, "and says what became of it")
	})
}

func TestUnusableRungs(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		w.targets["one"].refuses(errors.New("the flag store is down"))
		_, err := w.e.Open(t.Context(), request())
		require.Equal(t, gatekeeper.CodeRefused, gatekeeper.CodeOf(err))
		require.ErrorContains(t, err, "the flag store is down")

		r, err := w.e.Open(t.Context(), request(func(r *engine.OpenRequest) { r.Bundle = bundle(ruleR + twoRungs) }))
		require.NoError(t, err)
		require.Equal(t, "the flag store is down", r.Rungs[0].Problem)
		w.targets["one"].refuses(nil)
		time.Sleep(16 * time.Second)
		require.True(t, w.release(r.ID).Rungs[0].Usable(), "it is prepared again while waiting")

		w.targets["one"].refuses(errors.New("down again"))
		_, err = w.e.Open(t.Context(), request(func(r *engine.OpenRequest) {
			r.Version, r.Bundle = "v3", bundle("preflight: require\n"+ruleR+replace(twoRungs, "{name: one}", "{name: one, restore: true}"))
		}))
		require.Equal(t, gatekeeper.CodeRefused, gatekeeper.CodeOf(err))
	})
}

func TestPlansOfTheOperator(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		w.with(func(c *engine.Config) {
			c.Plans = map[string][]rules.RungSpec{"standard": {{Action: "switch/set", With: []byte(`{"name":"one"}`), RecoverWithin: 2 * mnt}}}
		})
		// a plain Prometheus rule file with a plan of the operator's is a health file
		plain := ruleR[strings.Index(ruleR, "groups:"):]
		id := w.opened(plain, func(r *engine.OpenRequest) { r.Service, r.Plan = "checkout", "standard" })
		w.to(6 * mnt)
		w.outcome(id, gatekeeper.OutcomeRolledBack)
	})
}

func TestRollbackByAPerson(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		id := w.opened(ruleR + flagPlan)
		w.to(mnt)
		_, err := w.e.Rollback(t.Context(), id, alice)
		require.NoError(t, err)
		w.to(2 * mnt)
		w.outcome(id, gatekeeper.OutcomeRolledBack)
		require.Equal(t, gatekeeper.CausePerson, w.release(id).Decision.Cause)
		_, err = w.e.Rollback(t.Context(), id, alice)
		require.Equal(t, gatekeeper.CodeConflict, gatekeeper.CodeOf(err))
	})
}

func TestLateHarm(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		id := w.opened(ruleR + replace(flagPlan, "{name: one}", "{name: one, restore: true}"))
		w.to(31 * mnt)
		w.outcome(id, gatekeeper.OutcomePassed)
		w.targets["one"].set("v7")
		_, err := w.e.Rollback(t.Context(), id, alice)
		require.ErrorContains(t, err, "somebody changed the target", "the targets make no sense any more")
		w.targets["one"].set("v2")
		r, err := w.e.Rollback(t.Context(), id, alice)
		require.NoError(t, err)
		require.Equal(t, gatekeeper.PurposeRollback, r.Purpose)
		require.Equal(t, id, r.RollbackOf)
		w.to(32 * mnt)
		w.outcome(r.ID, gatekeeper.OutcomeRolledBack)
		require.Equal(t, []string{"v1"}, w.targets["one"].done())
	})
}

func TestPreviousVersionIsWhatPassedLast(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		id := w.opened(ruleR + flagPlan)
		w.to(31 * mnt)
		w.outcome(id, gatekeeper.OutcomePassed)
		w.with(func(*engine.Config) {}) // remembered from the journal
		r := w.open(ruleR+flagPlan, func(r *engine.OpenRequest) { r.Version, r.PreviousVersion = "v3", "" })
		require.Equal(t, "v2", r.PreviousVersion)
	})
}

func TestVerbsOnUnknownAndClosed(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		_, err := w.e.Approve(t.Context(), "nothing", alice)
		require.Equal(t, gatekeeper.CodeNotFound, gatekeeper.CodeOf(err))
		id := w.opened(ruleR + flagPlan)
		_, err = w.e.Veto(t.Context(), id, alice)
		require.ErrorContains(t, err, "is watching")
		_, err = w.e.Close(t.Context(), id, alice)
		require.NoError(t, err)
		_, err = w.e.Extend(t.Context(), id, time.Hour, alice)
		require.ErrorContains(t, err, "is closed (aborted: closed by alice: because)")
	})
}

// A rung that would restore what is live is pinned when the release opens or not at all: later the
// new version may be live.
func TestRestoreIsPinnedAtOpenOnly(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		plan := replace(twoRungs, "{name: one}", "{name: one, restore: true}")
		w.targets["one"].refuses(errors.New("down"))
		id := w.open(ruleR + plan).ID
		w.targets["one"].refuses(nil)
		w.targets["one"].set("v2")
		time.Sleep(time.Minute)
		require.False(t, w.release(id).Rungs[0].Usable())
	})
}

func TestFencedEngineEnds(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		id := w.opened(ruleR + flagPlan)
		w.to(mnt)
		w.journal = w.journal.Reopen() // another Gatekeeper takes the journal
		w.to(10 * mnt)
		select {
		case <-w.fenced:
		default:
			require.Fail(t, "it goes on running")
		}
		require.Equal(t, gatekeeper.CodeUnavailable, gatekeeper.CodeOf(w.e.Ready()))
		_, err := w.e.Open(t.Context(), request())
		require.Equal(t, gatekeeper.CodeUnavailable, gatekeeper.CodeOf(err))
		require.Empty(t, w.targets["one"].done(), "it acts no more")
		w.start()
		w.to(11 * mnt)
		w.outcome(id, gatekeeper.OutcomeRolledBack)
	})
}
