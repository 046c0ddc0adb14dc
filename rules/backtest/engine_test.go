package backtest_test

import (
	"context"
	"flag"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions/builtin"
	"github.com/gatekeeper-engine/gatekeeper/engine"
	"github.com/gatekeeper-engine/gatekeeper/internal/rehearsal"
	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/backtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var seed = flag.Uint64("backtest.seed", 1, "which random releases; 0: new ones, whose seed is told")

// random gives a source and tells how to repeat it.
func random(t *testing.T) *rand.Rand {
	t.Helper()
	n := *seed
	if n == 0 {
		n = rand.Uint64()
	}
	t.Logf("repeat with -backtest.seed=%d", n)
	return rand.New(rand.NewPCG(n, 0))
}

// bridge lets a world of virtual time ask a backend outside of it: nothing in that world moves
// while a question is under way.
type bridge struct {
	questions chan func()
	replies   chan chan struct{}
}

func newBridge(t *testing.T) *bridge {
	b := &bridge{questions: make(chan func()), replies: make(chan chan struct{}, 64)}
	for range cap(b.replies) {
		b.replies <- make(chan struct{}, 1)
	}
	go func() {
		for ask := range b.questions {
			go ask()
		}
	}()
	t.Cleanup(func() { close(b.questions) })
	return b
}

// over has f done outside.
func (b *bridge) over(f func()) {
	done := <-b.replies
	b.questions <- func() {
		f()
		done <- struct{}{}
	}
	<-done
	b.replies <- done
}

// bridged is a backend behind a bridge.
type bridged struct {
	*bridge
	rules.Querier
}

func (b bridged) Query(_ context.Context, expr string, at time.Time) (v rules.Vector, err error) {
	b.over(func() { v, err = b.Querier.Query(context.Background(), expr, at) })
	return v, err
}

func (b bridged) QueryRange(_ context.Context, expr string, from, to time.Time, step time.Duration) (m rules.Matrix, err error) {
	b.over(func() { m, err = b.Querier.QueryRange(context.Background(), expr, from, to, step) })
	return m, err
}

// rehearse gives what the engine makes of a release in virtual time.
func rehearse(t *testing.T, text string, r backtest.Release, phase time.Duration, q rules.Querier) backtest.Decision {
	t.Helper()
	registry, err := builtin.Registry(nil)
	require.NoError(t, err)
	opened := r.Deployed.Sub(r.Opened)
	story, err := rehearsal.Run(t.Context(), rehearsal.Script{
		Start: r.Deployed, Phase: phase, Backend: q, Actions: registry.Specs(),
		Releases: []rehearsal.Release{{
			Opened: -opened, Deployed: new(time.Duration),
			Request: engine.OpenRequest{
				Service: r.Service, Environment: r.Environment, Version: r.Version, PreviousVersion: r.PreviousVersion, Labels: r.Labels,
				Window: time.Duration(r.Window), Bundle: &rules.Bundle{Name: "shop.yml", File: text},
			},
		}},
	})
	require.NoError(t, err)
	require.NoError(t, story.Releases[0].Refused)
	for _, f := range story.Releases[0].Facts {
		switch b := f.Body.(type) {
		case gatekeeper.Decided:
			return backtest.Decision{Verdict: backtest.RollsBack, At: f.At, Why: b.Says}
		case gatekeeper.Held:
			if b.Reason == gatekeeper.HoldRoute || b.Reason == gatekeeper.HoldInconclusive {
				return backtest.Decision{Verdict: backtest.Holds, At: f.At, Why: b.Says}
			}
		case gatekeeper.Closed:
			return backtest.Decision{Verdict: map[gatekeeper.Outcome]backtest.Verdict{
				gatekeeper.OutcomePassed: backtest.Passed, gatekeeper.OutcomeInconclusive: backtest.Inconclusive,
			}[b.Outcome], Why: b.Why}
		}
	}
	t.Fatal("the release did not end")
	return backtest.Decision{}
}

// The evaluation is the daemon's own, and so must be what comes of it.
func TestSameAsTheEngine(t *testing.T) {
	r := random(t)
	stories := tales(r, 16)
	samples, list := history(stories, apart-20*mnt)
	q := backend(t, samples)
	across := newBridge(t)
	for name, text := range files(t) {
		phase := time.Duration(r.Int64N(int64(15 * sec))).Truncate(time.Millisecond)
		results, err := backtest.Run(t.Context(), load(t, text), backtest.Arrange(list), q, backtest.Options{Phases: 4, Phase: still(phase)})
		require.NoError(t, err)
		require.Len(t, results, len(list))
		verdicts := map[backtest.Verdict]int{}
		for i, got := range results {
			want := rehearse(t, text, list[i], phase, bridged{across, q})
			story := name + ", " + stories[i].name + " " + list[i].Version + ": the engine: " + want.Why + "; the backtest: " + got.Decision.Why
			if got.Decision.Verdict == backtest.NotKnown && want.Verdict == backtest.Inconclusive {
				verdicts[backtest.NotKnown]++
				continue // the daemon can't know that it is because of lost data
			}
			require.Equal(t, want.Verdict, got.Decision.Verdict, story)
			require.WithinDuration(t, want.At, got.Decision.At, 50*time.Millisecond, story)
			verdicts[got.Decision.Verdict]++
		}
		t.Log(name, verdicts)
	}
}

// files are health files that differ in what a breach, or blindness, does.
func files(t *testing.T) map[string]string {
	with := func(pairs ...string) string {
		text := health
		for i := 0; i < len(pairs); i += 2 {
			require.Contains(t, text, pairs[i])
			text = replaceAll(text, pairs[i], pairs[i+1])
		}
		return text
	}
	return map[string]string{
		"as it is":           health,
		"blind rolls back":   with("veto: 20s", "no_data: rollback, blind: 1m"),
		"a long veto":        with("veto: 20s", "veto: 3m", "for: 4m", "for: 20m"),
		"warm-up":            with("for: 100s", "for: 100s\n    warm_up: 3m"),
		"everything acts":    with("do=\"hold\"", "do=\"notify\"", "- {do: notify}", "- {do: rollback}"),
		"inconclusive holds": with("window: 30m", "window: 30m\non_inconclusive: hold\nmin_traffic: sum(rate(http_requests_total{version=\"${version}\"}[1m])) > 3"),
	}
}
