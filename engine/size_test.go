package engine_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/engine"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// Facts have a limit, and what the metrics say has none: whatever they hold, a decision can be
// written.

const ignoring = `
respond:
  - do: rollback
    no_data: ignore
    on_error: ignore
`

// marks take six bytes each in JSON.
var marks = strings.Repeat("<", 400)

// crowd has every answer of the backend have n series, with so many labels of marks; label gives
// the one that tells them apart.
func (w *world) crowd(n, more int, label func(i int) string) {
	w.reconfigure(func(cfg *engine.Config) {
		cfg.Backends = map[string]rules.Querier{"": hostileBackend{w.backend(), func(v rules.Vector) (rules.Vector, error) {
			var many rules.Vector
			for _, s := range v.Samples {
				for i := range n {
					labels := map[string]string{"pod": label(i)}
					for j := range more {
						labels[fmt.Sprint("l", j)] = marks
					}
					many.Samples = append(many.Samples, gatekeeper.Sample{Labels: labels, Value: s.Value})
				}
			}
			return many, nil
		}}}
	})
}

// manyRules gives n rules like R, which breach in the same slot.
func manyRules(n int, summary string) string {
	head, rule, _ := strings.Cut(ruleR, "      - alert: R\n")
	for i := range n {
		head += fmt.Sprintf("      - alert: R%d\n%s        annotations: {summary: '%s'}\n", i, rule, summary)
	}
	return head
}

// After a long outage all slots of it are known at once: more than one fact can hold.
func TestSize_ALongOutageOfAQuickRule(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		w.outage(5*mnt, 55*mnt)
		id := w.opened(replace(replace(ruleR, "interval: 15s", "interval: 1s"), "window: 30m", "window: 1h") + flagPlan + ignoring)
		w.to(time.Hour + sec)
		w.outcome(id, gatekeeper.OutcomePassed)
		require.Len(t, w.trail(id), 60*60+1)
	})
}

func TestSize_LongIdentities(t *testing.T) {
	for name, c := range map[string]struct {
		label func(w *world) func(i int) string
		want  gatekeeper.Outcome
	}{
		"of marks": {func(*world) func(int) string {
			return func(i int) string { return fmt.Sprint(i, marks) }
		}, gatekeeper.OutcomeRolledBack},
		"that change at each slot": {func(w *world) func(int) string {
			return func(i int) string { return fmt.Sprintf("%03d %s %s", i, w.now(), strings.Repeat(`\`, 220)) }
		}, gatekeeper.OutcomeInconclusive}, // pending for ever
	} {
		t.Run(name, func(t *testing.T) {
			timeline(t, func(t *testing.T, w *world) {
				bad(w)
				w.crowd(100, 4, c.label(w))
				id := w.opened(ruleR + flagPlan)
				w.to(50 * mnt)
				w.outcome(id, c.want)
			})
		})
	}
}

func TestSize_ManyRulesInOneSlot(t *testing.T) {
	for name, c := range map[string]struct {
		rules   int
		series  int
		pod     string
		summary string
	}{
		"told briefly":     {100, 1, "a", "too many errors"},
		"told at length":   {rules.MaxRules, 1, strings.Repeat("a", 200), marks},
		"with many series": {100, gatekeeper.MaxActive + 1, strings.Repeat("p", 200), "too many errors"},
	} {
		t.Run(name, func(t *testing.T) {
			timeline(t, func(t *testing.T, w *world) {
				w.traffic(always(0.05))
				w.crowd(c.series, 0, func(i int) string { return fmt.Sprint(i, c.pod) })
				id := w.opened(manyRules(c.rules, c.summary) + flagPlan)
				w.to(3 * mnt)
				at, body := w.one(id, gatekeeper.KindDecided)
				require.Equal(t, 2*mnt, at.Truncate(sec))
				require.Len(t, body.(gatekeeper.Decided).Breaches, c.rules)
				w.outcome(id, gatekeeper.OutcomeRolledBack)
			})
		})
	}
}

// What a rule says when the release is opened is journaled as well.
func TestSize_LongIdentitiesAtOpen(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		w.script(func(string, string, time.Duration) (float64, bool) { return 10, true })
		w.crowd(100, 12, func(i int) string { return fmt.Sprint(i) })
		r := w.open(replace(ruleR, `, version="${version}"`, "") + flagPlan)
		require.Equal(t, gatekeeper.Waiting, r.State)
	})
}

// What led to a decision of many rules takes more than one commit. Gatekeeper is killed after the
// first: the decision is the same, once.
func TestSize_KilledBetweenTheEvidenceAndItsDecision(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		w.traffic(always(0.05))
		w.stop()
		j := &dying{Journal: w.journal}
		w.cfg.Journal = j
		w.boot()
		id := w.opened(manyRules(rules.MaxRules, marks) + flagPlan)
		w.to(2*mnt - sec)
		j.dieAfter(gatekeeper.KindJudged)
		w.to(2*mnt + sec)
		require.True(t, j.dead.Load())
		w.kill()
		w.to(2*mnt + 35*sec)
		w.start()
		w.to(4 * mnt)
		at, body := w.one(id, gatekeeper.KindDecided)
		require.Equal(t, 2*mnt+35*sec, at.Truncate(sec))
		require.Len(t, body.(gatekeeper.Decided).Breaches, rules.MaxRules)
		w.outcome(id, gatekeeper.OutcomeRolledBack)
		require.Equal(t, []string{"v1"}, w.targets["one"].done())
	})
}
