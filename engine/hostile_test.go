package engine_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/engine"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// hostileBackend changes what the world's backend answers.
type hostileBackend struct {
	rules.Querier
	change func(rules.Vector) (rules.Vector, error)
}

func (q hostileBackend) Query(ctx context.Context, expr string, at time.Time) (rules.Vector, error) {
	v, err := q.Querier.Query(ctx, expr, at)
	if err != nil {
		return v, err
	}
	return q.change(v)
}

// QueryRange has as much to say of the past, and no samples.
func (q hostileBackend) QueryRange(context.Context, string, time.Time, time.Time, time.Duration) (rules.Matrix, error) {
	v, err := q.change(rules.Vector{})
	return rules.Matrix{Warnings: v.Warnings}, err
}

// times gives every sample so many times, told apart by their pod where it differs.
func times(n int, pod string) func(rules.Vector) (rules.Vector, error) {
	return func(v rules.Vector) (rules.Vector, error) {
		var many rules.Vector
		for _, s := range v.Samples {
			for i := range n {
				l := map[string]string{"pod": pod}
				if pod == "" {
					l["pod"] = fmt.Sprint(i)
				}
				many.Samples = append(many.Samples, gatekeeper.Sample{Labels: l, Value: s.Value})
			}
		}
		return many, nil
	}
}

// A release whose backend misbehaves from 3:00 on, well or bad: what is no answer decides nothing.
func TestHostile_Backends(t *testing.T) {
	for name, c := range map[string]struct {
		change    func(rules.Vector) (rules.Vector, error)
		well, bad gatekeeper.Outcome
		says      string // in the hold
	}{
		"fails": {
			func(rules.Vector) (rules.Vector, error) { return rules.Vector{}, errors.New("502 Bad Gateway") },
			gatekeeper.OutcomeInconclusive, gatekeeper.OutcomeInconclusive, "502 Bad Gateway",
		},
		"answers in part": {
			func(v rules.Vector) (rules.Vector, error) { v.Warnings = []string{"store-7 is away"}; return v, nil },
			gatekeeper.OutcomeInconclusive, gatekeeper.OutcomeInconclusive, "store-7 is away",
		},
		"has nothing": {
			func(rules.Vector) (rules.Vector, error) { return rules.Vector{}, nil },
			gatekeeper.OutcomeInconclusive, gatekeeper.OutcomeInconclusive, "no selector of the rule has data",
		},
		"has ten thousand series": {times(10_000, ""), gatekeeper.OutcomePassed, gatekeeper.OutcomeRolledBack, ""},
		"has one identity twice":  {times(2, "x"), gatekeeper.OutcomePassed, gatekeeper.OutcomeInconclusive, "two samples are one alert"},
	} {
		for ratio, want := range map[float64]gatekeeper.Outcome{0.002: c.well, 0.05: c.bad} {
			t.Run(fmt.Sprint(name, " at ", ratio), func(t *testing.T) {
				timeline(t, func(t *testing.T, w *world) {
					w.traffic(between(3*mnt, forever, ratio))
					misbehaves := func(v rules.Vector) (rules.Vector, error) {
						if w.now() < 3*mnt || len(w.targets["one"].done()) > 0 {
							return v, nil
						}
						return c.change(v)
					}
					w.reconfigure(func(cfg *engine.Config) {
						cfg.Backends = map[string]rules.Querier{"": hostileBackend{w.backend(), misbehaves}}
					})
					id := w.opened(ruleR + flagPlan)
					w.to(90 * mnt)
					w.outcome(id, want)
					if want == gatekeeper.OutcomeInconclusive {
						_, held := w.one(id, gatekeeper.KindHeld)
						require.Contains(t, held.(gatekeeper.Held).Says, c.says)
					}
					rolledBack := want == gatekeeper.OutcomeRolledBack
					require.Equal(t, rolledBack, len(w.targets["one"].done()) == 1, w.story(id))
				})
			})
		}
	}
}

// NaN is above no limit, so it is no harm; where a rule asks for it, it is a sample as in Prometheus.
func TestHostile_NaN(t *testing.T) {
	const odd = `
service: checkout
window: 30m
groups:
  - name: g
    interval: 15s
    rules:
      - alert: R
        expr: errors{service="${service}", version="${version}"} != 0.02
        for: 2m
`
	for name, c := range map[string]struct {
		file string
		want gatekeeper.Outcome
	}{
		"above":       {ruleR, gatekeeper.OutcomeInconclusive},
		"not equal":   {odd, gatekeeper.OutcomeRolledBack},
		"below, held": {replace(odd, "!= 0.02", "< 0.01"), gatekeeper.OutcomeInconclusive},
	} {
		t.Run(name, func(t *testing.T) {
			timeline(t, func(t *testing.T, w *world) {
				w.script(func(name, version string, at time.Duration) (float64, bool) {
					switch {
					case name == "errors" && version == "v2" && at > mnt:
						return math.NaN(), true
					case name == "errors":
						return 0.02, true
					}
					return 10, true
				})
				id := w.opened(c.file + flagPlan)
				w.to(90 * mnt)
				w.outcome(id, c.want)
				require.Equal(t, c.want == gatekeeper.OutcomeRolledBack, len(w.targets["one"].done()) > 0)
			})
		})
	}
}

// A target that says that it is done and is not: the rung is given up with where it was found, and
// the next one is taken.
func TestHostile_TargetThatLies(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		w.targets["one"].after = func() { w.targets["one"].set("v2") }
		id := w.opened(ruleR + twoRungs)
		w.to(20 * mnt)
		w.outcome(id, gatekeeper.OutcomeRolledBack)
		_, gaveUp := w.one(id, gatekeeper.KindGaveUp)
		require.Equal(t, "not at its target after 3 attempts: one is at v2", gaveUp.(gatekeeper.GaveUp).Why)
		require.Len(t, w.targets["one"].done(), 3)
		require.Equal(t, []string{"v1"}, w.targets["two"].done())
	})
}

// Every rung refuses: the release ends as a rollback that failed, and says what the target said.
func TestHostile_TargetsThatRefuse(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		id := w.opened(ruleR + twoRungs)
		for _, name := range []string{"one", "two"} {
			w.targets[name].refuses(errors.New("deployments are locked"))
		}
		w.to(40 * mnt)
		r := w.outcome(id, gatekeeper.OutcomeRollbackFailed)
		require.Contains(t, r.Why, "take it back by hand")
		_, all := w.facts(id, gatekeeper.KindGaveUp)
		require.Len(t, all, 2)
		for _, b := range all {
			require.Contains(t, b.(gatekeeper.GaveUp).Why, "deployments are locked")
		}
		require.Empty(t, w.targets["one"].done())
	})
}
