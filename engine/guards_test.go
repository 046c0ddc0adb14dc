package engine_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/engine"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// with runs the world's engine again with another configuration.
func (w *world) with(f func(*engine.Config)) {
	w.stop()
	f(&w.cfg)
	w.start()
}

var (
	alice    = engine.By{Actor: "alice", Why: "because"}
	reloaded = gatekeeper.AuditRecord{By: alice, What: gatekeeper.Reloaded, Subject: "gatekeeper.yml"}
)

func TestKillSwitch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kill-switch")
	set := map[string]func(w *world, on bool){
		"API": func(w *world, on bool) {
			s, err := w.e.SetKillSwitch(w.t.Context(), on, alice)
			require.NoError(w.t, err)
			require.Equal(w.t, on, s.On)
		},
		"file": func(w *world, on bool) {
			if on {
				require.NoError(w.t, os.WriteFile(path, nil, 0o600))
			} else {
				require.NoError(w.t, os.Remove(path))
			}
		},
	}
	for name, set := range set {
		t.Run(name, func(t *testing.T) {
			timeline(t, func(t *testing.T, w *world) {
				bad(w)
				w.with(func(c *engine.Config) { c.KillSwitchFile = path })
				set(w, true)
				id := w.opened(ruleR + flagPlan)
				w.to(8 * mnt)
				_, held := w.one(id, gatekeeper.KindHeld)
				require.Equal(t, gatekeeper.HoldKillSwitch, held.(gatekeeper.Held).Reason)
				_, err := w.e.Approve(t.Context(), id, alice)
				require.Equal(t, gatekeeper.CodeRefused, gatekeeper.CodeOf(err))
				_, err = w.e.Rollback(t.Context(), id, alice)
				require.Equal(t, gatekeeper.CodeRefused, gatekeeper.CodeOf(err))
				w.with(func(*engine.Config) {}) // it outlives a restart
				require.True(t, w.e.KillSwitch().On)
				require.Empty(t, w.targets["one"].done())
				set(w, false)
				w.to(8*mnt + 5*sec)
				w.outcome(id, gatekeeper.OutcomeRolledBack)
			})
		})
	}
}

func TestKillSwitchInUnwritableFolder(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		file := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(file, nil, 0o600))
		w.with(func(c *engine.Config) { c.KillSwitchFile = filepath.Join(file, "below", "switch") })
		s, err := w.e.SetKillSwitch(t.Context(), true, alice)
		require.Equal(t, gatekeeper.CodeInternal, gatekeeper.CodeOf(err), "clients do what is unavailable again, and each time would be a turn of its own")
		require.ErrorContains(t, err, "it is on in this process only")
		require.True(t, s.On, "it is on all the same, in memory")
		require.True(t, w.e.KillSwitch().On)
	})
}

func TestKillSwitchThatCannotBeRemoved(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		folder := filepath.Join(t.TempDir(), "switch")
		require.NoError(t, os.MkdirAll(filepath.Join(folder, "below"), 0o700))
		w.with(func(c *engine.Config) { c.KillSwitchFile = folder })
		w.to(5 * time.Second)
		s, err := w.e.SetKillSwitch(t.Context(), false, alice)
		require.Equal(t, gatekeeper.CodeInternal, gatekeeper.CodeOf(err))
		require.ErrorContains(t, err, "the kill switch stays on")
		require.NotContains(t, err.Error(), "this process only")
		require.True(t, s.On)
		require.Equal(t, []string{"kill_switch.on by somebody accepted", "kill_switch.off by alice accepted", "kill_switch.off by alice refused"}, w.audited())
	})
}

func TestDryRun(t *testing.T) {
	scopes := map[string]func(w *world) (file string, req func(*engine.OpenRequest)){
		"global": func(w *world) (string, func(*engine.OpenRequest)) {
			w.with(func(c *engine.Config) { c.DryRun = true })
			return ruleR + flagPlan, func(*engine.OpenRequest) {}
		},
		"service": func(w *world) (string, func(*engine.OpenRequest)) {
			w.with(func(c *engine.Config) { c.DryRunServices = []string{"basket", "check*"} })
			return ruleR + flagPlan, func(*engine.OpenRequest) {}
		},
		"file": func(*world) (string, func(*engine.OpenRequest)) {
			return "dry_run: true\n" + ruleR + flagPlan, func(*engine.OpenRequest) {}
		},
		"rule": func(*world) (string, func(*engine.OpenRequest)) {
			return replace(ruleR, "for: 2m", "for: 2m\n        dry_run: true") + flagPlan, func(*engine.OpenRequest) {}
		},
		"request": func(*world) (string, func(*engine.OpenRequest)) {
			return ruleR + flagPlan, func(r *engine.OpenRequest) { r.DryRun = true }
		},
	}
	for name, scope := range scopes {
		t.Run(name, func(t *testing.T) {
			timeline(t, func(t *testing.T, w *world) {
				bad(w)
				file, req := scope(w)
				id := w.opened(file, req)
				w.to(31 * mnt)
				_, body := w.one(id, gatekeeper.KindBreached)
				require.True(t, body.(gatekeeper.Breached).Would)
				require.Equal(t, "dry run", body.(gatekeeper.Breached).Why)
				w.outcome(id, gatekeeper.OutcomeBreached)
				require.Empty(t, w.targets["one"].done())
			})
		})
	}
}

func TestFreezeThatHoldsRollbacks(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		w.with(func(c *engine.Config) {
			c.Freezes = []engine.Freeze{{Name: "night", Schedule: "4 0 * * *", Duration: 6 * mnt, HoldRollbacks: true, Services: []string{"check*"}}}
		})
		id := w.opened(ruleR + flagPlan)
		w.to(9 * mnt)
		_, held := w.one(id, gatekeeper.KindHeld)
		require.Equal(t, gatekeeper.HoldFreeze, held.(gatekeeper.Held).Reason)
		w.to(11 * mnt)
		at, _ := w.one(id, gatekeeper.KindDecided)
		require.Equal(t, 10*mnt, at, "the freeze is over")
	})
}

func TestFreezeInItsTimeZone(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) { // bubbles begin on Saturday, 2000-01-01, 00:00 UTC
		w.with(func(c *engine.Config) {
			c.Freezes = []engine.Freeze{{Name: "weekend", Schedule: "0 0 * * SAT", Duration: 48 * time.Hour, TimeZone: "Pacific/Auckland"}}
		})
		_, err := w.e.Open(t.Context(), engine.OpenRequest{Version: "v2", Bundle: bundle(ruleR + flagPlan)})
		require.ErrorContains(t, err, "2000-01-02T11:00:00Z")
		time.Sleep(35 * time.Hour)
		_, err = w.e.Open(t.Context(), engine.OpenRequest{Version: "v2", Bundle: bundle(ruleR + flagPlan)})
		require.NoError(t, err)
	})
}

func TestBadFreezes(t *testing.T) {
	for want, f := range map[string]engine.Freeze{
		"bad schedule":            {Name: "f", Schedule: "every day", Duration: time.Hour},
		"bad time_zone":           {Name: "f", Schedule: "@daily", Duration: time.Hour, TimeZone: "Mars/Olympus"},
		"needs a duration":        {Name: "f", Schedule: "@daily"},
		"bad service pattern [x]": {},
	} {
		if f.Name == "" {
			f = engine.Freeze{Name: "f", Schedule: "@daily", Duration: time.Hour, Services: []string{"[x"}}
			want = "bad service pattern"
		}
		_, err := engine.New(engine.Config{Journal: newJournal(), Backends: map[string]rules.Querier{"": nil}, Actions: registry(t), Freezes: []engine.Freeze{f}})
		require.ErrorContains(t, err, want)
	}
}

func TestIrreversible(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		id := w.opened(ruleR + flagPlan)
		_, err := w.e.Mark(t.Context(), id, engine.By{Actor: "ci", Why: "the migration ran"})
		require.NoError(t, err)
		w.to(6 * mnt)
		_, held := w.one(id, gatekeeper.KindHeld)
		require.Equal(t, gatekeeper.HoldIrreversible, held.(gatekeeper.Held).Reason)
		require.Contains(t, held.(gatekeeper.Held).Says, "the migration ran")
	})
}

// After a rollback an unbound rule still sees its harm; another breach then may be that tail.
func TestCoolDown(t *testing.T) {
	file := "service: checkout\n" + unbound(ruleR[len("\nservice: checkout\n"):]) + flagPlan
	timeline(t, func(t *testing.T, w *world) {
		w.with(func(c *engine.Config) { c.CoolDown = 20 * mnt })
		bad(w)
		id := w.opened(ruleR + flagPlan)
		w.to(6 * mnt)
		w.outcome(id, gatekeeper.OutcomeRolledBack)
		w.traffic(between(5*mnt, forever, 0.5))
		second := w.opened(file, func(r *engine.OpenRequest) { r.Version = "v3" })
		w.to(10 * mnt)
		_, held := w.one(second, gatekeeper.KindHeld)
		require.Equal(t, gatekeeper.HoldCoolDown, held.(gatekeeper.Held).Reason)
		w.to(25 * mnt)
		_, body := w.one(second, gatekeeper.KindDecided)
		require.Equal(t, gatekeeper.CauseBreach, body.(gatekeeper.Decided).Cause)
	})
}

func TestBoundRuleNeedsNoCoolDown(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		id := w.opened(ruleR + flagPlan)
		w.to(6 * mnt)
		w.outcome(id, gatekeeper.OutcomeRolledBack)
		w.script(func(name, version string, at time.Duration) (float64, bool) {
			v := map[string]float64{"errors": 0.02, "requests": 10}[name]
			if name == "errors" && version == "v3" {
				v = 5
			}
			return v, true
		})
		second := w.opened(ruleR+flagPlan, func(r *engine.OpenRequest) { r.Version = "v3" })
		w.to(3 * mnt)
		w.outcome(second, gatekeeper.OutcomeRolledBack)
	})
}

// A query that hangs delays no other rule's decision.
func TestNoBarrierBetweenRules(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		slow := &slowQuerier{Querier: w.cfg.Backends[""], slow: "slow_metric"}
		w.with(func(c *engine.Config) { c.Backends = map[string]rules.Querier{"": slow} })
		id := w.opened(ruleR + `
      - alert: Slow
        expr: slow_metric{version="${version}"} > 1
        for: 2m
` + flagPlan)
		w.to(6 * mnt)
		at, _ := w.one(id, gatekeeper.KindDecided)
		require.LessOrEqual(t, at, w.pending(id)+2*mnt+20*time.Millisecond)
	})
}

type slowQuerier struct {
	rules.Querier
	slow string
}

func (q *slowQuerier) Query(ctx context.Context, expr string, at time.Time) (rules.Vector, error) {
	if len(expr) >= len(q.slow) && contains(expr, q.slow) {
		<-ctx.Done()
		return rules.Vector{}, ctx.Err()
	}
	return q.Querier.Query(ctx, expr, at)
}

// The schedule is absolute: a backend that takes its time makes no slot later.
func TestNoDrift(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		tired := &tiredQuerier{w.cfg.Backends[""]}
		w.with(func(c *engine.Config) { c.Backends = map[string]rules.Querier{"": tired} })
		id := w.opened(ruleR + flagPlan)
		w.to(6 * mnt)
		pending := w.pending(id)
		require.Zero(t, w.d.Add(pending).Sub(time.Unix(0, 0))%(15*sec), "a slot")
		at, body := w.one(id, gatekeeper.KindDecided)
		require.Equal(t, pending+2*mnt, w.since(body.(gatekeeper.Decided).Breaches[0].Reading.At))
		require.LessOrEqual(t, at, pending+2*mnt+5*sec)
	})
}

type tiredQuerier struct{ rules.Querier }

func (q *tiredQuerier) Query(ctx context.Context, expr string, at time.Time) (rules.Vector, error) {
	time.Sleep(4 * time.Second)
	return q.Querier.Query(ctx, expr, at)
}

func TestPersonHoldsAndResumes(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		id := w.opened(ruleR + flagPlan)
		w.to(mnt)
		_, err := w.e.Hold(t.Context(), id, alice)
		require.NoError(t, err)
		w.to(10 * mnt)
		require.Equal(t, gatekeeper.Holding, w.release(id).State)
		_, err = w.e.Resume(t.Context(), id, alice)
		require.NoError(t, err)
		synctest.Wait()
		w.to(10*mnt + sec)
		w.outcome(id, gatekeeper.OutcomeRolledBack)
	})
}

// During warm_up a rule is judged and told, but nothing counts.
func TestWarmUp(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		w.traffic(between(0, 5*mnt, 0.5))
		id := w.opened(replace(ruleR, "for: 2m", "for: 2m\n        warm_up: 4m") + flagPlan)
		w.to(3 * mnt)
		r := w.release(id)
		require.Equal(t, gatekeeper.Unhealthy, r.Latest["R"].Verdict, w.story(id))
		require.Zero(t, r.Tracks["R"].Slots)
		require.True(t, r.Tracks["R"].Pending().IsZero())
		w.to(4*mnt + 30*sec)
		require.Equal(t, 4*mnt, w.pending(id), "it counts from the end of warm_up")
		w.to(31 * mnt)
		w.outcome(id, gatekeeper.OutcomePassed)
	})
}
