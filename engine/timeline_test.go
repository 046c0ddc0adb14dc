package engine_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/engine"
)

// The timelines of the semantics, section 6, by their numbers. T30 needs the blast radius.

const (
	sec = time.Second
	mnt = time.Minute
)

func timeline(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newWorld(t)) })
}

func (w *world) opened(file string, with ...func(*engine.OpenRequest)) string {
	w.t.Helper()
	r := w.open(file, with...)
	w.deploy(r.ID)
	return r.ID
}

func TestTimeline_T01_Healthy(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		id := w.opened(ruleR + flagPlan)
		w.to(29*mnt + 59*sec)
		require.Equal(t, gatekeeper.Watching, w.release(id).State)
		w.to(30*mnt + sec)
		r := w.outcome(id, gatekeeper.OutcomePassed)
		require.Equal(t, 30*mnt, w.since(r.ClosedAt))
		require.Empty(t, w.targets["one"].done())
	})
}

// bad is what T02 shows: pending at the first slot that sees it, decided exactly `for` later.
func bad(w *world) {
	w.traffic(between(3*mnt, forever, 0.05))
}

func TestTimeline_T02_Bad(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		id := w.opened(ruleR + flagPlan)
		w.to(6 * mnt)
		require.Equal(t, 3*mnt, w.pending(id))
		at, body := w.one(id, gatekeeper.KindDecided)
		require.Equal(t, 5*mnt, at)
		d := body.(gatekeeper.Decided)
		require.Equal(t, gatekeeper.CauseBreach, d.Cause)
		require.Equal(t, "R", d.Breaches[0].Rule)
		require.InDelta(t, 0.05, float64(d.Breaches[0].Reading.Operand[0].Value), 1e-9)
		require.Equal(t, "> 0.01", d.Breaches[0].Reading.Limit)
		w.outcome(id, gatekeeper.OutcomeRolledBack)
		require.Equal(t, []string{"v1"}, w.targets["one"].done())
		_, rec := w.one(id, gatekeeper.KindRecovered)
		require.False(t, rec.(gatekeeper.Recovered).Unknown)
	})
}

// The extra evaluation: `for` ends between two slots.
func TestTimeline_T02_BetweenSlots(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		id := w.opened(replace(ruleR, "for: 2m", "for: 100s") + flagPlan)
		w.to(6 * mnt)
		at, _ := w.one(id, gatekeeper.KindDecided)
		require.Equal(t, 3*mnt+100*sec, at)
	})
}

func TestTimeline_T03_Blip(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		w.traffic(between(3*mnt, 4*mnt+30*sec, 0.05))
		id := w.opened(ruleR + flagPlan)
		w.to(31 * mnt)
		require.Equal(t, 3*mnt, w.pending(id))
		w.outcome(id, gatekeeper.OutcomePassed)
		require.Empty(t, w.targets["one"].done())
	})
}

func TestTimeline_T04_Restart(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		w.stop()
		w.cfg.Phase = phase(10 * sec)
		w.start()
		id := w.opened(ruleR + flagPlan)
		w.to(3*mnt + 40*sec)
		w.kill()
		w.to(4*mnt + 10*sec)
		w.start()
		w.to(6 * mnt)
		at, _ := w.one(id, gatekeeper.KindDecided)
		require.Equal(t, w.pending(id)+2*mnt, at, w.story(id))
		require.Equal(t, 3*mnt+10*sec, w.pending(id))
		w.outcome(id, gatekeeper.OutcomeRolledBack)
	})
}

// hole takes every sample of an interval out of the script.
func (w *world) hole(from, to time.Duration) {
	inner := w.series
	w.script(func(name, version string, at time.Duration) (float64, bool) {
		if at >= from && at < to {
			return 0, false
		}
		return inner(name, version, at)
	})
}

func TestTimeline_T05_RestartWithHole(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		w.hole(3*mnt+40*sec, 4*mnt+10*sec)
		w.stop()
		w.cfg.Phase = phase(10 * sec)
		w.start()
		id := w.opened(ruleR + flagPlan)
		w.to(3*mnt + 40*sec - time.Millisecond)
		w.kill()
		w.to(4*mnt + 10*sec)
		w.start()
		w.to(7 * mnt)
		at, _ := w.one(id, gatekeeper.KindDecided)
		require.Equal(t, 3*mnt+10*sec+2*mnt+30*sec, at, w.story(id))
	})
}

func TestTimeline_T06_OutageWithoutSamples(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		w.hole(3*mnt+40*sec, 6*mnt+40*sec)
		w.outage(3*mnt+40*sec, 6*mnt+40*sec)
		w.stop()
		w.cfg.Phase = phase(10 * sec)
		w.start()
		id := w.opened(ruleR + flagPlan)
		w.to(6*mnt + 39*sec)
		at, held := w.one(id, gatekeeper.KindHeld)
		require.Equal(t, 5*mnt+40*sec, at)
		require.Equal(t, gatekeeper.HoldBlind, held.(gatekeeper.Held).Reason)
		w.to(6*mnt + 41*sec)
		require.Equal(t, gatekeeper.Watching, w.release(id).State, w.story(id))
		w.to(9 * mnt)
		at, _ = w.one(id, gatekeeper.KindDecided)
		require.Equal(t, 8*mnt+10*sec, at)
	})
}

func (w *world) outage(from, to time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = func(at time.Duration) bool { return at >= from && at < to }
}

func TestTimeline_T07_BlindToTheEnd(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		w.outage(10*mnt, forever)
		id := w.opened(ruleR + flagPlan)
		w.to(12*mnt + sec)
		at, _ := w.one(id, gatekeeper.KindHeld)
		require.Equal(t, 12*mnt, at)
		require.Contains(t, w.toldKinds(), gatekeeper.KindHeld)
		w.to(43 * mnt)
		w.outcome(id, gatekeeper.OutcomeInconclusive)
		require.Empty(t, w.targets["one"].done())
	})
}

func (w *world) toldKinds() (ks []gatekeeper.Kind) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.told {
		ks = append(ks, f.Body.Kind())
	}
	return ks
}

func TestTimeline_T08_NoErrorSeries(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		w.script(func(name, _ string, _ time.Duration) (float64, bool) { return 10, name == "requests" })
		id := w.opened(ruleR + flagPlan)
		w.to(31 * mnt)
		r := w.outcome(id, gatekeeper.OutcomePassed)
		require.Equal(t, gatekeeper.Healthy, r.Tracks["R"].Verdict)
	})
}

func TestTimeline_T09_NeverSeen(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		w.script(func(_, version string, _ time.Duration) (float64, bool) { return 10, version == "v1" })
		id := w.open(ruleR + flagPlan).ID
		w.to(10*mnt - sec)
		require.Equal(t, gatekeeper.Waiting, w.release(id).State)
		w.to(10*mnt + sec)
		w.outcome(id, gatekeeper.OutcomeInconclusive)
	})
}

func TestTimeline_T10_TrafficStops(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		w.script(func(name, _ string, at time.Duration) (float64, bool) {
			if at >= 8*mnt || name == "errors" {
				return 0, true
			}
			return 10, true
		})
		id := w.opened(ruleR + flagPlan)
		w.to(31 * mnt)
		r := w.outcome(id, gatekeeper.OutcomeInconclusive)
		require.Equal(t, gatekeeper.NoTraffic, r.Tracks["R"].Verdict)
		require.Contains(t, r.Why, "26%")
	})
}

func TestTimeline_T11_TooLittleTraffic(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		w.script(func(name, _ string, _ time.Duration) (float64, bool) {
			if name == "errors" {
				return 0.1, true
			}
			return 0.3, true
		})
		id := w.opened("min_traffic: sum(requests{service=\"${service}\", version=\"${version}\"}) > 1\n" + ruleR + flagPlan)
		w.to(31 * mnt)
		r := w.outcome(id, gatekeeper.OutcomeInconclusive)
		require.Equal(t, gatekeeper.NoTraffic, r.Tracks["R"].Verdict)
		_, breached := w.facts(id, gatekeeper.KindBreached)
		require.Empty(t, breached)
	})
}

// unbound sees every version of the service.
func unbound(file string) string {
	return replace(replace(file, `errors{service="${service}", version="${version}"}`, `avg_over_time(errors{service="${service}"}[1m])`),
		`requests{service="${service}", version="${version}"}`, `avg_over_time(requests{service="${service}"}[1m])`)
}

func TestTimeline_T12_BadBefore(t *testing.T) {
	hotfix := func(w *world) { // v1 is bad until D, v2 is good
		w.script(func(name, version string, at time.Duration) (float64, bool) {
			if (version == "v1") != (at < 0) {
				return 0, false
			}
			switch {
			case name == "requests":
				return 10, true
			case at < 0:
				return 0.5, true
			}
			return 0.02, true
		})
	}
	t.Run("bound", func(t *testing.T) {
		timeline(t, func(t *testing.T, w *world) {
			w.d = time.Now().Add(2 * mnt)
			hotfix(w)
			id := w.open(ruleR + flagPlan).ID
			w.to(0)
			w.deploy(id)
			w.to(31 * mnt)
			w.outcome(id, gatekeeper.OutcomePassed)
		})
	})
	t.Run("unbound", func(t *testing.T) {
		timeline(t, func(t *testing.T, w *world) {
			w.d = time.Now().Add(2 * mnt)
			hotfix(w)
			id := w.open(unbound(ruleR) + flagPlan).ID
			require.True(t, w.release(id).Preexisting["R"], w.story(id))
			w.to(0)
			w.deploy(id)
			w.to(5 * mnt)
			require.False(t, w.release(id).Preexisting["R"], w.story(id))
			w.to(31 * mnt)
			w.outcome(id, gatekeeper.OutcomePassed)
		})
	})
	t.Run("bound and bad from the start", func(t *testing.T) {
		timeline(t, func(t *testing.T, w *world) {
			w.d = time.Now().Add(2 * mnt)
			w.serves["v2"] = true // an earlier try of the same version
			w.traffic(always(0.5))
			rule := replace(replace(ruleR, `sum(errors{`, `sum(avg_over_time(errors{`), `version="${version}"}) /`, `version="${version}"}[1m])) /`)
			id := w.open(rule + flagPlan).ID
			w.deploy(id)
			w.to(5 * mnt)
			require.Equal(t, mnt, w.pending(id), "what is left of the earlier try is out of range then")
			_, body := w.one(id, gatekeeper.KindDecided)
			require.Equal(t, "R", body.(gatekeeper.Decided).Breaches[0].Rule)
		})
	})
	t.Run("unbound and bad again", func(t *testing.T) {
		timeline(t, func(t *testing.T, w *world) {
			w.d = time.Now().Add(2 * mnt)
			w.script(func(name, _ string, at time.Duration) (float64, bool) {
				if name == "errors" && (at < 0 || at > 10*mnt) {
					return 0.5, true
				}
				return map[string]float64{"errors": 0.02, "requests": 10}[name], true
			})
			id := w.open(unbound(ruleR) + flagPlan).ID
			w.to(0)
			w.deploy(id)
			w.to(15 * mnt)
			_, body := w.one(id, gatekeeper.KindDecided)
			require.Equal(t, "R", body.(gatekeeper.Decided).Breaches[0].Rule)
		})
	})
	t.Run("unbound and never well", func(t *testing.T) {
		timeline(t, func(t *testing.T, w *world) {
			w.d = time.Now().Add(2 * mnt)
			w.script(func(name, _ string, _ time.Duration) (float64, bool) {
				return map[string]float64{"errors": 0.5, "requests": 10}[name], true
			})
			id := w.open(unbound(ruleR) + flagPlan).ID
			w.to(0)
			w.deploy(id)
			w.to(31 * mnt)
			_, body := w.one(id, gatekeeper.KindBreached)
			require.False(t, body.(gatekeeper.Breached).Would)
			require.Empty(t, w.targets["one"].done())
			r := w.outcome(id, gatekeeper.OutcomeInconclusive)
			require.Contains(t, r.Why, "was bad before the release", "nobody can say that it passed")
		})
	})
}

func TestTimeline_T13_PendingAtTheEnd(t *testing.T) {
	for name, end := range map[string]time.Duration{"decided": forever, "passed": 30*mnt + 5*sec} {
		t.Run(name, func(t *testing.T) {
			timeline(t, func(t *testing.T, w *world) {
				w.traffic(between(28*mnt+20*sec, end, 0.05))
				w.stop()
				w.cfg.Phase = phase(5 * sec)
				w.start()
				id := w.opened(ruleR + flagPlan)
				w.to(32 * mnt)
				_, ext := w.one(id, gatekeeper.KindExtended)
				require.Equal(t, 30*mnt+20*sec, w.since(ext.(gatekeeper.Extended).Until))
				if end == forever {
					at, _ := w.one(id, gatekeeper.KindDecided)
					require.Equal(t, 30*mnt+20*sec, at)
					return
				}
				r := w.outcome(id, gatekeeper.OutcomePassed)
				require.Equal(t, 30*mnt+20*sec, w.since(r.ClosedAt))
			})
		})
	}
}

const vetoRoute = `
respond:
  - matchers: ['alertname="R"']
    do: rollback
    veto: 30s
`

func TestTimeline_T14_Vetoed(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		id := w.opened(ruleR + flagPlan + vetoRoute)
		w.to(5*mnt + 10*sec)
		require.Equal(t, gatekeeper.HoldVeto, w.release(id).Hold.Reason)
		_, err := w.e.Veto(t.Context(), id, engine.By{Actor: "alice", Why: "known"})
		require.NoError(t, err)
		require.Equal(t, gatekeeper.Watching, w.release(id).State)
		w.to(31 * mnt)
		r := w.outcome(id, gatekeeper.OutcomePassed)
		require.Contains(t, r.Why, "veto")
		require.Empty(t, w.targets["one"].done())
	})
}

func TestTimeline_T15_NobodyVetoes(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		id := w.opened(ruleR + flagPlan + vetoRoute)
		w.to(6 * mnt)
		at, _ := w.one(id, gatekeeper.KindDecided)
		require.Equal(t, 5*mnt+30*sec, at)
		w.outcome(id, gatekeeper.OutcomeRolledBack)
	})
}

func TestTimeline_T16_ChangeFreeze(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		w.stop()
		freeze := engine.Freeze{Name: "night", Schedule: "4 0 * * *", Duration: time.Hour} // bubbles begin at midnight
		w.cfg.Freezes = []engine.Freeze{freeze}
		w.start()
		id := w.opened(ruleR + flagPlan)
		w.to(4*mnt + 30*sec)
		_, err := w.e.Open(t.Context(), engine.OpenRequest{Version: "v3", Bundle: bundle(ruleR + flagPlan)})
		require.Equal(t, gatekeeper.CodeRefused, gatekeeper.CodeOf(err), "%v", err)
		w.to(6 * mnt)
		w.outcome(id, gatekeeper.OutcomeRolledBack)
	})
}

func TestTimeline_T17_TwoRulesAtOnce(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		second := `
      - alert: S
        expr: sum(errors{service="${service}", version="${version}"}) / sum(requests{service="${service}", version="${version}"}) > 0.02
        for: 2m
`
		id := w.opened(ruleR + second + flagPlan)
		w.to(6 * mnt)
		_, body := w.one(id, gatekeeper.KindDecided)
		var names []string
		for _, b := range body.(gatekeeper.Decided).Breaches {
			names = append(names, b.Rule)
		}
		require.ElementsMatch(t, []string{"R", "S"}, names)
	})
}

const holdRoute = `
respond:
  - matchers: ['alertname="R"']
    do: hold
`

func TestTimeline_T18_RecoversBeforeApproval(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		w.traffic(between(3*mnt, 6*mnt, 0.05))
		id := w.opened(ruleR + flagPlan + holdRoute)
		w.to(7 * mnt)
		require.Equal(t, gatekeeper.Holding, w.release(id).State, "healthy, but not for its own `for` yet")
		w.to(8*mnt + sec)
		require.Equal(t, gatekeeper.Watching, w.release(id).State, w.story(id))
		_, err := w.e.Approve(t.Context(), id, engine.By{Actor: "bob"})
		require.ErrorContains(t, err, "R is healthy again")
		require.Equal(t, gatekeeper.CodeConflict, gatekeeper.CodeOf(err))
	})
}

// dying lets the journal take writes until a fact of one kind is in it.
type dying struct {
	gatekeeper.Journal
	mu    sync.Mutex
	after gatekeeper.Kind
	dead  atomic.Bool
}

// dieAfter has it die after the next fact of a kind, and live until then.
func (j *dying) dieAfter(kind gatekeeper.Kind) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.after = kind
	j.dead.Store(false)
}

func (j *dying) Commit(ctx context.Context, entries ...gatekeeper.Entry) error {
	if j.dead.Load() {
		return errors.New("killed")
	}
	if err := j.Journal.Commit(ctx, entries...); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, e := range entries {
		for _, f := range e.Facts {
			if f.Body.Kind() == j.after {
				j.dead.Store(true)
				return errors.New("killed")
			}
		}
	}
	return nil
}

// Facts says nothing any more once it is dead, so that the dying engine does not learn of its last write.
func (j *dying) Facts(ctx context.Context, id string) ([]gatekeeper.Fact, error) {
	if j.dead.Load() {
		return nil, errors.New("killed")
	}
	return j.Journal.Facts(ctx, id)
}

func TestTimeline_T19_KilledAfterDecided(t *testing.T) {
	for _, kind := range []gatekeeper.Kind{gatekeeper.KindDecided, gatekeeper.KindAttempting} {
		t.Run(string(kind), func(t *testing.T) {
			timeline(t, func(t *testing.T, w *world) {
				bad(w)
				w.stop()
				w.cfg.Journal = &dying{Journal: w.journal, after: kind}
				w.boot()
				id := w.opened(ruleR + flagPlan)
				w.to(5*mnt + 10*sec)
				require.Empty(t, w.targets["one"].done(), "no effect before its intent is durable")
				w.kill()
				w.start()
				w.to(6 * mnt)
				w.outcome(id, gatekeeper.OutcomeRolledBack)
				require.Equal(t, []string{"v1"}, w.targets["one"].done())
			})
		})
	}
}

func TestTimeline_T20_KilledBeforeTheReceipt(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		w.stop()
		j := &dying{Journal: w.journal, after: "none"}
		w.cfg.Journal = j
		w.boot()
		w.targets["one"].after = func() { j.dead.Store(true) }
		id := w.opened(ruleR + flagPlan)
		w.to(5*mnt + 10*sec)
		w.kill()
		w.start()
		w.to(6 * mnt)
		w.outcome(id, gatekeeper.OutcomeRolledBack)
		require.Equal(t, []string{"v1"}, w.targets["one"].done(), "no second Apply")
		_, body := w.one(id, gatekeeper.KindAttempted)
		require.Equal(t, gatekeeper.ResultUnknown, body.(gatekeeper.Attempted).Result)
	})
}

const twoRungs = `
rollback:
  - action: switch/set
    with: {name: one}
    recover_within: 2m
  - action: switch/set
    with: {name: two}
    recover_within: 2m
`

func TestTimeline_T21_ApplyHangs(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		w.targets["one"].hang = time.Hour
		id := w.opened(ruleR + twoRungs)
		w.to(10 * mnt)
		w.outcome(id, gatekeeper.OutcomeRolledBack)
		require.Empty(t, w.targets["one"].done())
		require.Equal(t, []string{"v1"}, w.targets["two"].done())
		r := w.release(id)
		require.Len(t, r.Rungs[0].Attempts, 1, "never two at once")
		require.Equal(t, gatekeeper.ResultUnknown, r.Rungs[0].Attempts[0].Result)
		w.to(2 * time.Hour)
	})
}

func TestTimeline_T21_RetriedIfSafe(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		id := w.opened(ruleR + flagPlan)
		w.targets["one"].refuses(errors.New("gateway timeout"))
		w.to(15 * mnt)
		r := w.outcome(id, gatekeeper.OutcomeRollbackFailed)
		require.Len(t, r.Rungs[0].Attempts, 3)
		for _, a := range r.Rungs[0].Attempts {
			require.Equal(t, r.Rungs[0].Attempts[0].Key, a.Key)
		}
	})
}

func TestTimeline_T21_NeverRepeated(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		id := w.opened(ruleR + replace(flagPlan, "switch/set", "switch/once"))
		w.targets["one"].refuses(errors.New("gateway timeout"))
		w.to(15 * mnt)
		r := w.release(id)
		require.Len(t, r.Rungs[0].Attempts, 1)
		_, noted := w.one(id, gatekeeper.KindNoted)
		require.True(t, noted.(gatekeeper.Noted).Loud)
	})
}

func TestTimeline_T22_NotRecovered(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		w.script(func(name, version string, at time.Duration) (float64, bool) {
			if name == "requests" {
				return 10, true
			}
			if at >= 3*mnt && w.targets["two"].live != "v1" { // the script runs under the world's lock
				return 0.5, true
			}
			return 0.02, true
		})
		id := w.opened(ruleR + twoRungs)
		w.to(12 * mnt)
		at, body := w.one(id, gatekeeper.KindNotRecovered)
		require.Equal(t, 7*mnt, at)
		at, _ = w.one(id, gatekeeper.KindRecovered)
		require.Equal(t, 7*mnt, at, "the next rung is checked anew, at once")
		require.Equal(t, "R", body.(gatekeeper.NotRecovered).Breaches[0].Rule)
		require.Equal(t, []string{"v1"}, w.targets["two"].done())
		w.outcome(id, gatekeeper.OutcomeRolledBack)
	})
}

func TestTimeline_T23_OldVersionWell(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		w.script(func(name, version string, at time.Duration) (float64, bool) {
			if version == "v2" && at > 5*mnt {
				return 0, false
			}
			if name == "requests" {
				return 10, true
			}
			if version == "v2" && at >= 3*mnt {
				return 0.5, true
			}
			return 0.02, true
		})
		id := w.opened(ruleR + flagPlan)
		w.to(6 * mnt)
		at, _ := w.one(id, gatekeeper.KindRecovered)
		require.Less(t, at, 5*mnt+sec)
		w.outcome(id, gatekeeper.OutcomeRolledBack)
	})
}

func TestTimeline_T24_Superseded(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		restore := replace(flagPlan, "{name: one}", "{name: one, restore: true}")
		id := w.opened(ruleR + restore)
		w.to(mnt)
		r3 := w.open(ruleR+restore, func(r *engine.OpenRequest) { r.Version, r.PreviousVersion = "v3", "" })
		w.outcome(id, gatekeeper.OutcomeSuperseded)
		require.Equal(t, id, r3.Supersedes)
		require.Equal(t, w.release(id).Rungs[0].Target, r3.Rungs[0].Target, "v1 is what v3 returns to")
		require.Equal(t, "v1", r3.PreviousVersion)
	})
}

func TestTimeline_T25_OpenWhileApplying(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		w.targets["one"].hang = 20 * sec
		id := w.opened(ruleR + flagPlan)
		w.to(5*mnt + 10*sec)
		require.Equal(t, gatekeeper.Applying, w.release(id).State)
		_, err := w.e.Open(t.Context(), engine.OpenRequest{Version: "v3", Bundle: bundle(ruleR + flagPlan)})
		require.Equal(t, gatekeeper.CodeConflict, gatekeeper.CodeOf(err))
		require.ErrorContains(t, err, "is applying")
		_, err = w.e.Open(t.Context(), engine.OpenRequest{Version: "v2", PreviousVersion: "v1", Bundle: bundle(ruleR + flagPlan)})
		require.Equal(t, gatekeeper.CodeConflict, gatekeeper.CodeOf(err))
		require.ErrorContains(t, err, "is being rolled back", "a pipeline that tries again must not deploy")
		w.to(time.Hour)
	})
}

func TestTimeline_T26_ChangedByHand(t *testing.T) {
	restore := replace(flagPlan, "{name: one}", "{name: one, restore: true}")
	t.Run("hold", func(t *testing.T) {
		timeline(t, func(t *testing.T, w *world) {
			bad(w)
			id := w.opened(ruleR + restore)
			w.to(2 * mnt)
			w.targets["one"].set("v0")
			w.to(6 * mnt)
			_, held := w.one(id, gatekeeper.KindHeld)
			require.Equal(t, gatekeeper.HoldTarget, held.(gatekeeper.Held).Reason)
			require.Contains(t, held.(gatekeeper.Held).Says, "one is at v0")
			require.Contains(t, held.(gatekeeper.Held).Says, "one is at v2")
			require.Empty(t, w.targets["one"].done())
			_, err := w.e.Approve(t.Context(), id, engine.By{Actor: "carol"})
			require.NoError(t, err)
			w.to(7 * mnt)
			w.outcome(id, gatekeeper.OutcomeRolledBack)
		})
	})
	t.Run("overruled", func(t *testing.T) {
		timeline(t, func(t *testing.T, w *world) {
			bad(w)
			id := w.opened(ruleR + restore + "    changed_by_other: rollback\n")
			w.to(2 * mnt)
			w.targets["one"].set("v0")
			w.to(6 * mnt)
			w.outcome(id, gatekeeper.OutcomeRolledBack)
		})
	})
}

func TestTimeline_T27_NothingToRollBack(t *testing.T) {
	for _, rolling := range []bool{false, true} { // pods of the old version that restart are no other version
		timeline(t, func(t *testing.T, w *world) {
			bad(w)
			w.targets["one"].rolling = rolling
			id := w.opened(unbound(ruleR) + flagPlan)
			w.targets["one"].set("v1")
			w.to(10 * mnt)
			_, held := w.one(id, gatekeeper.KindHeld)
			require.Equal(t, gatekeeper.HoldTarget, held.(gatekeeper.Held).Reason)
			require.Contains(t, held.(gatekeeper.Held).Says, "nothing to roll back")
		})
	}
}

const external = `
service: checkout
window: 30m
groups:
  - name: g
    rules: [{alert: R, expr: 'sum(errors{service="${service}", version="${version}"}) / sum(requests{service="${service}", version="${version}"}) > 0.01', for: 2m}]
respond:
  - matchers: ['severity="critical"']
    do: hold
    external: true
  - do: rollback
`

func alert(key string, startsAt, endsAt time.Time, firing bool) gatekeeper.Alert {
	return gatekeeper.Alert{
		Key: key, Name: "HighErrorRate", Firing: firing, StartsAt: startsAt, EndsAt: endsAt,
		Labels: map[string]string{"alertname": "HighErrorRate", "service": "checkout", "severity": "critical"},
	}
}

func TestTimeline_T28_TwoSenders(t *testing.T) {
	for seed := range uint64(20) {
		timeline(t, func(t *testing.T, w *world) {
			id := w.opened(external + flagPlan)
			w.to(5 * mnt)
			start, k := w.d.Add(4*mnt), `HighErrorRate{service="checkout"}`
			updates := []gatekeeper.Alert{
				alert(k, start, start.Add(4*mnt), true),
				alert(k, start.Add(15*sec), start.Add(4*mnt+15*sec), true),
				alert(k, start, start.Add(5*mnt), true),
				alert(k, start.Add(15*sec), start.Add(5*mnt+15*sec), true),
			}
			rng := rand.New(rand.NewPCG(seed, 28))
			for range 3 {
				rng.Shuffle(len(updates), func(i, j int) { updates[i], updates[j] = updates[j], updates[i] })
				_, err := w.e.Receive(t.Context(), "prometheus", "prom", updates)
				require.NoError(t, err)
			}
			synctest.Wait()
			_, held := w.one(id, gatekeeper.KindHeld)
			require.Len(t, held.(gatekeeper.Held).Breaches, 1)
			a := w.release(id).Alerts[k]
			require.WithinDuration(t, start.Add(15*sec), a.StartsAt, 0)
			require.WithinDuration(t, start.Add(5*mnt+15*sec), a.EndsAt, 0)
		})
	}
}

func TestTimeline_T29_SenderDies(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		// firing at open: preexisting, so it breaches nothing; then nobody sends it any more
		id := w.open(replace(external, "do: hold", "do: rollback") + flagPlan).ID
		k := `HighErrorRate{service="checkout"}`
		got, err := w.e.Receive(t.Context(), "prometheus", "prom", []gatekeeper.Alert{alert(k, time.Now().Add(-mnt), time.Now().Add(4*mnt), true)})
		require.NoError(t, err)
		require.Equal(t, engine.Received{Matched: 1}, got)
		w.deploy(id)
		w.to(4 * mnt)
		require.Equal(t, gatekeeper.Watching, w.release(id).State, w.story(id))
		w.to(6*mnt + sec)
		at, held := w.one(id, gatekeeper.KindHeld)
		require.Equal(t, 6*mnt, at, "endsAt, and two minutes of blindness after it")
		require.Equal(t, []string{k}, held.(gatekeeper.Held).Blind)
		require.True(t, w.release(id).Alerts[k].Firing, "unknown, not healthy")
		require.Empty(t, w.targets["one"].done())
	})
	timeline(t, func(t *testing.T, w *world) { // held for it: the end of its time does not end the hold
		id := w.opened(external + flagPlan)
		w.to(mnt)
		k := `HighErrorRate{service="checkout"}`
		_, err := w.e.Receive(t.Context(), "prometheus", "prom", []gatekeeper.Alert{alert(k, time.Now(), time.Now().Add(4*mnt), true)})
		require.NoError(t, err)
		w.to(20 * mnt)
		require.Equal(t, gatekeeper.HoldRoute, w.release(id).Hold.Reason)
		w.to(32 * mnt)
		w.outcome(id, gatekeeper.OutcomeBreached)
	})
}

func TestTimeline_T31_OutageWithSamples(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		w.outage(3*mnt+40*sec, 6*mnt+40*sec)
		w.stop()
		w.cfg.Phase = phase(10 * sec)
		w.start()
		id := w.opened(ruleR + flagPlan)
		w.to(8 * mnt)
		at, body := w.one(id, gatekeeper.KindDecided)
		require.Equal(t, 6*mnt+40*sec, at, w.story(id))
		require.Equal(t, 3*mnt+10*sec, w.since(body.(gatekeeper.Decided).Breaches[0].Since), "bad since 3:00: the first slot that sees it")
	})
}

func TestTimeline_T32_WatchOnly(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		id := w.opened(ruleR, func(r *engine.OpenRequest) { r.WatchOnly = true })
		w.to(5*mnt + sec)
		at, body := w.one(id, gatekeeper.KindBreached)
		require.Equal(t, 5*mnt, at, "told at once")
		require.True(t, body.(gatekeeper.Breached).Would)
		w.to(31 * mnt)
		r := w.outcome(id, gatekeeper.OutcomeBreached)
		require.Equal(t, 30*mnt, w.since(r.ClosedAt))
		require.Contains(t, r.Why, "R")
	})
}
