package backtest_test

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/backtest"
)

// counting counts what a backend is asked, and can fail.
type counting struct {
	rules.Querier
	instant, ranges atomic.Int64
	fail            func(n int64) error
}

func (c *counting) total() int { return int(c.instant.Load() + c.ranges.Load()) }

func (c *counting) Query(ctx context.Context, expr string, at time.Time) (rules.Vector, error) {
	c.instant.Add(1)
	return c.Querier.Query(ctx, expr, at)
}

func (c *counting) QueryRange(ctx context.Context, expr string, from, to time.Time, step time.Duration) (rules.Matrix, error) {
	n := c.ranges.Add(1)
	if c.fail != nil {
		if err := c.fail(n); err != nil {
			return rules.Matrix{}, err
		}
	}
	return c.Querier.QueryRange(ctx, expr, from, to, step)
}

// Every phase from one range query gives what a daemon with that phase would have done.
func TestPhases(t *testing.T) {
	r := random(t)
	samples, list := history(tales(r, 8), apart-20*mnt)
	list = backtest.Arrange(list)
	q := &counting{Querier: backend(t, samples)}
	file := load(t, strings.Replace(health, "for: 100s", "for: 1m", 1))
	const n = 10
	all, err := backtest.Run(t.Context(), file, list, q, backtest.Options{Phases: n, Phase: still(0), Rule: "HighErrorRate"})
	require.NoError(t, err)
	require.LessOrEqual(t, q.instant.Load(), int64(1), "no slot was asked by itself; one look is for the oldest sample")
	asked := q.total()
	want := make([]backtest.Phases, len(list))
	for k := range n {
		one, err := backtest.Run(t.Context(), file, list, q, backtest.Options{Phase: still(time.Duration(k) * 15 * sec / n), Rule: "HighErrorRate"})
		require.NoError(t, err)
		for i := range one {
			d := one[i].Rules[0].Decision
			want[i].Of++
			if d.Verdict != backtest.Fires {
				continue
			}
			want[i].Fired++
			if want[i].First.IsZero() || d.At.Before(want[i].First) {
				want[i].First = d.At
			}
			if d.At.After(want[i].Last) {
				want[i].Last = d.At
			}
		}
	}
	require.Less(t, 5*asked, q.total()-asked, "ten phases cost no more than one")
	for i := range all {
		require.Equal(t, want[i], all[i].Rules[0].Phases, list[i].Version)
	}
}

func TestWhatIsLostIsUnknown(t *testing.T) {
	stories := []tale{
		{deployed: 10 * mnt, absent: true, outcome: backtest.Good},
		{deployed: 10 * mnt, outcome: backtest.Good},
		{deployed: 10 * mnt, bad: []span{{0, apart}}, ratio: 0.05, outcome: backtest.Bad},
		{deployed: 10 * mnt, absent: true, outcome: backtest.Good},
	}
	samples, list := history(stories, apart-20*mnt)
	var kept []string // the backend has lost what is before the second release's eighth minute
	cut := epoch.Add(apart + 18*mnt)
	for line := range strings.Lines(samples) {
		fields := strings.Fields(line)
		var at float64
		if !strings.HasPrefix(line, "#") {
			require.NoError(t, json.Unmarshal([]byte(fields[2]), &at))
		}
		if at == 0 || at >= float64(cut.Unix()) {
			kept = append(kept, line)
		}
	}
	q := backend(t, strings.Join(kept, ""))
	results, err := backtest.Run(t.Context(), load(t, health), backtest.Arrange(list), q, backtest.Options{Phases: 3, Sweep: backtest.Sweep{On: true}})
	require.NoError(t, err)
	for _, i := range []int{0, 1, 3} {
		require.Equal(t, backtest.NotKnown, results[i].Decision.Verdict, "%d: %s", i, results[i].Decision.Why)
		require.NotEqual(t, backtest.Passed, results[i].Rules[0].Decision.Verdict)
		for _, pair := range results[i].Rules[0].Pairs {
			require.Equal(t, backtest.NotKnown, pair.Verdict)
		}
	}
	require.Contains(t, results[1].Decision.Why, "the backend's oldest sample of the rule is of "+cut.Format("2006-01-02T15:04"))
	require.Contains(t, results[3].Decision.Why, "no selector of the rule has data in its window")
	require.Equal(t, backtest.RollsBack, results[2].Decision.Verdict)
	report, err := backtest.NewReport(load(t, health), "shop.yml", results, 4, backtest.Sweep{})
	require.NoError(t, err)
	require.Equal(t, 3, report.Whole.Unknown)
	require.Equal(t, 1, report.Whole.Caught)
}

// What comes after a version was taken away is not its own.
func TestCensored(t *testing.T) {
	stories := []tale{{deployed: 10 * mnt, bad: []span{{5 * mnt, apart}}, ratio: 0.05, outcome: backtest.Bad, since: 5 * mnt}}
	samples, list := history(stories, apart-20*mnt)
	q := backend(t, samples)
	decide := func(change func(*backtest.Release), o backtest.Options) backtest.Result {
		one := list[0]
		change(&one)
		o.Rule = "HighErrorRate"
		results, err := backtest.Run(t.Context(), load(t, health), backtest.Arrange([]backtest.Release{one}), q, o)
		require.NoError(t, err)
		return results[0]
	}
	require.Equal(t, backtest.RollsBack, decide(func(*backtest.Release) {}, backtest.Options{}).Decision.Verdict)
	early := decide(func(r *backtest.Release) { r.Ended = r.Deployed.Add(6 * mnt) }, backtest.Options{})
	require.Equal(t, backtest.NotKnown, early.Decision.Verdict)
	require.Contains(t, early.Decision.Why, "taken away 6m0s after the deploy")
	late := decide(func(*backtest.Release) {}, backtest.Options{Now: list[0].Deployed.Add(6 * mnt)})
	require.Equal(t, "its window is not over yet", late.Decision.Why)
	next := list[0]
	next.ID, next.Version, next.Deployed, next.Opened = "next", "v9", next.Deployed.Add(6*mnt), time.Time{}
	both := backtest.Arrange([]backtest.Release{next, list[0]})
	require.Equal(t, list[0].Version, both[0].Version)
	require.Equal(t, next.Deployed, both[0].Ended, "the next release of a service ends the one before")
}

func TestInterruptAndResume(t *testing.T) {
	r := random(t)
	samples, list := history(tales(r, 6), apart-20*mnt)
	list = backtest.Arrange(list)
	q := backend(t, samples)
	file, sweep := load(t, health), backtest.Sweep{On: true, Thresholds: []float64{0.02}, Waits: []time.Duration{mnt}}
	want, err := backtest.Run(t.Context(), file, list, q, backtest.Options{Phases: 3, Sweep: sweep, Phase: still(0)})
	require.NoError(t, err)

	path := filepath.Join(t.TempDir(), "state.json")
	state, err := backtest.OpenState(path, list)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := 0
	o := backtest.Options{Phases: 3, Sweep: sweep, Phase: still(0), Concurrency: 2, Known: func(id string) (backtest.Result, bool) { return state.Known("shop.yml", id) }}
	o.Done = func(r backtest.Result) error {
		if done++; done == 3 {
			cancel()
		}
		return state.Keep("shop.yml", r)
	}
	part, err := backtest.Run(ctx, file, list, q, o)
	require.ErrorIs(t, err, context.Canceled)
	require.NotEmpty(t, part)
	require.Less(t, len(part), len(list))
	require.NoError(t, state.Close())

	state, err = backtest.OpenState(path, list)
	require.NoError(t, err)
	again := &counting{Querier: q}
	o.Done = nil
	got, err := backtest.Run(t.Context(), file, list, again, o)
	require.NoError(t, err)
	fresh := &counting{Querier: q}
	_, err = backtest.Run(t.Context(), file, list, fresh, backtest.Options{Phases: 3, Sweep: sweep, Phase: still(0)})
	require.NoError(t, err)
	require.Less(t, again.total(), fresh.total(), "what is done is not asked again")
	require.JSONEq(t, text(t, want), text(t, got))

	_, err = backtest.OpenState(path, list[1:])
	require.ErrorContains(t, err, "another backtest")
	_, err = backtest.OpenState(filepath.Dir(path), list)
	require.ErrorContains(t, err, "can't be read")
}

func text(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	require.NoError(t, err)
	return string(data)
}

func TestABackendThatFailsEndsTheRun(t *testing.T) {
	samples, list := history(tales(random(t), 3), apart-20*mnt)
	q := &counting{Querier: backend(t, samples), fail: func(n int64) error {
		if n > 6 {
			return errors.New("connection refused")
		}
		return nil
	}}
	results, err := backtest.Run(t.Context(), load(t, health), backtest.Arrange(list), q, backtest.Options{Concurrency: 1})
	require.ErrorContains(t, err, "connection refused")
	require.ErrorContains(t, err, "release v")
	require.Less(t, len(results), len(list))
}

// An expression that can't be answered is its rule's fault: the others are replayed.
func TestARuleThatCantBeAnswered(t *testing.T) {
	samples, list := history([]tale{{deployed: 10 * mnt, outcome: backtest.Good}}, apart-20*mnt)
	text := strings.Replace(health, `sum(rate(http_requests_total{service="${service}", status="500"}[2m])) > 1`, `http_requests_total{version="${version}"} / on (service) http_requests_total{version="${version}"} > 1`, 1)
	require.NotEqual(t, health, text)
	results, err := backtest.Run(t.Context(), load(t, text), backtest.Arrange(list), backend(t, samples), backtest.Options{})
	require.NoError(t, err)
	require.Equal(t, backtest.Passed, results[0].Decision.Verdict)
	require.Equal(t, backtest.NotKnown, results[0].Rules[2].Decision.Verdict)
	require.Contains(t, results[0].Rules[2].Decision.Why, "found duplicate series")
}

// A release that lacks a value of the rules can't be told of, and stops no other.
func TestAReleaseWithoutAPreviousVersion(t *testing.T) {
	samples, list := history([]tale{{deployed: 10 * mnt, outcome: backtest.Good}, {deployed: 10 * mnt, outcome: backtest.Good}}, apart-20*mnt)
	list[0].PreviousVersion = ""
	text := strings.Replace(health, "status=\"500\"}[2m])) > 1", "status=\"500\",version!=\"${previous_version}\"}[2m])) > 1", 1)
	require.NotEqual(t, health, text)
	o := backtest.Options{Sweep: backtest.Sweep{On: true}}
	results, err := backtest.Run(t.Context(), load(t, text), backtest.Arrange(list), backend(t, samples), o)
	require.NoError(t, err)
	require.Equal(t, backtest.NotKnown, results[0].Decision.Verdict)
	require.Contains(t, results[0].Decision.Why, "no value for ${previous_version}")
	require.Equal(t, backtest.Passed, results[1].Decision.Verdict)
	report, err := backtest.NewReport(load(t, text), "shop.yml", results, 2, o.Sweep)
	require.NoError(t, err)
	require.Len(t, report.Sweeps, 3)
	require.Equal(t, 1, report.Sweeps[0].Rows[0].Unknown)
}

func TestFind(t *testing.T) {
	stories := []tale{{deployed: 10 * mnt}, {deployed: 12*mnt + 17*sec}, {deployed: 10 * mnt}}
	samples, list := history(stories, apart-20*mnt)
	q := backend(t, samples)
	found, err := backtest.Find(t.Context(), q, "version", `http_requests_total{service="shop"}`, epoch.Add(-20*mnt), epoch.Add(3*apart))
	require.NoError(t, err)
	require.Len(t, found, 3, "v0 was there before: nothing tells when it came")
	for i, r := range found {
		require.Equal(t, list[i].Version, r.Version)
		require.Equal(t, list[i].PreviousVersion, r.PreviousVersion)
		require.WithinDuration(t, list[i].Deployed.Add(-5*sec), r.Deployed, sec, "its first sample")
	}
	_, err = backtest.Find(t.Context(), q, "version", "sum(up)", epoch, epoch.Add(apart))
	require.ErrorContains(t, err, "no selector")
	_, err = backtest.Find(t.Context(), q, "a) (b", "up", epoch, epoch.Add(apart))
	require.ErrorContains(t, err, "no label")
}
