package backtest_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules/backtest"
)

// rewritten gives the health file with another threshold and `for` of one rule.
func rewritten(t *testing.T, rule string, own backtest.Pair, p backtest.Pair) string {
	t.Helper()
	begin := strings.Index(health, "- alert: "+rule)
	require.Positive(t, begin)
	end := begin + strings.Index(health[begin:], "labels:")
	part := health[begin:end]
	was := " > " + backtest.Number(own.Threshold)
	require.Contains(t, part, was)
	part = strings.Replace(part, was, " > "+backtest.Number(p.Threshold), 1)
	part = regexp.MustCompile(`for: \S+`).ReplaceAllString(part, "for: "+p.For.String())
	return health[:begin] + part + health[end:]
}

// One question of the operand, and what is beside it, must do for every pair: with guards and with
// several samples too.
func TestSweepAgainstBruteForce(t *testing.T) {
	r := random(t)
	samples, list := history(tales(r, 8), apart-20*mnt)
	list = backtest.Arrange(list)
	q := backend(t, samples)
	phase := still(7 * sec)
	for rule, c := range map[string]struct {
		own   backtest.Pair
		sweep backtest.Sweep
	}{
		"HighErrorRate": {backtest.Pair{Threshold: 0.01, For: gatekeeper.Duration(100 * sec)}, backtest.Sweep{On: true, Thresholds: []float64{0.001, 0.03, 0.2}, Waits: []time.Duration{0, 40 * sec, 3 * mnt}}},
		"Errors":        {backtest.Pair{Threshold: 0.5, For: gatekeeper.Duration(4 * mnt)}, backtest.Sweep{On: true, Thresholds: []float64{0.01, 1, 2}, Waits: []time.Duration{37 * sec, mnt}}},
		"AnyErrors":     {backtest.Pair{Threshold: 1, For: gatekeeper.Duration(45 * sec)}, backtest.Sweep{On: true, Thresholds: []float64{0, 0.03, 1.5}, Waits: []time.Duration{0, 2 * mnt}}},
	} {
		counted := &counting{Querier: q}
		results, err := backtest.Run(t.Context(), load(t, health), list, counted, backtest.Options{Phase: phase, Rule: rule, Sweep: c.sweep})
		require.NoError(t, err)
		plain := &counting{Querier: q}
		_, err = backtest.Run(t.Context(), load(t, health), list, plain, backtest.Options{Phase: phase, Rule: rule})
		require.NoError(t, err)
		require.LessOrEqual(t, counted.total(), plain.total()+4*len(list), "%s: the thresholds are applied here", rule)
		report, err := backtest.NewReport(load(t, health), "shop.yml", results, len(list), c.sweep)
		require.NoError(t, err)
		require.Len(t, report.Sweeps, 1)
		require.Equal(t, c.own, report.Sweeps[0].Own)
		require.Len(t, report.Sweeps[0].Rows, (len(c.sweep.Thresholds)+1)*(len(c.sweep.Waits)+1))
		for k, row := range report.Sweeps[0].Rows {
			whole, err := backtest.Run(t.Context(), load(t, rewritten(t, rule, c.own, row.Pair)), list, q, backtest.Options{Phase: phase, Rule: rule})
			require.NoError(t, err)
			for i, want := range whole {
				got := results[i].Rules[0].Pairs[k]
				story := fmt.Sprintf("%s > %v for %s, %s", rule, row.Threshold, row.For, list[i].Version)
				require.Equal(t, want.Rules[0].Decision.Verdict, got.Verdict, story)
				require.Equal(t, want.Rules[0].Decision.At, got.At, story)
			}
		}
	}
}

func TestSweepRefuses(t *testing.T) {
	text := strings.Replace(health, "sum(rate(http_requests_total{service=\"${service}\", status=\"500\"}[2m])) > 1", `sum(rate(http_requests_total{status="500"}[2m])) > sum(rate(http_requests_total{status="200"}[2m]))`, 1)
	require.NotEqual(t, health, text)
	_, list := history(tales(random(t), 1), mnt)
	report, err := backtest.NewReport(load(t, text), "shop.yml", []backtest.Result{{Release: list[0], Rules: []backtest.RuleResult{{Rule: "HighErrorRate"}, {Rule: "Errors"}, {Rule: "AnyErrors"}}}}, 1, backtest.Sweep{On: true})
	require.NoError(t, err)
	require.Len(t, report.Sweeps, 3)
	require.Contains(t, report.Sweeps[2].Why, "not swept: the expression compares with another series")
	require.Empty(t, report.Sweeps[2].Rows)
}

// The best pair: no false rollback first, then no miss, then the shortest detection, then the widest
// margin.
func TestRecommended(t *testing.T) {
	stories := []tale{
		{name: "good", deployed: 10 * mnt, outcome: backtest.Good},
		{name: "a blip", deployed: 10 * mnt, bad: []span{{5 * mnt, 6 * mnt}}, ratio: 0.05, outcome: backtest.Good},
		{name: "bad", deployed: 10 * mnt, bad: []span{{5 * mnt, apart}}, ratio: 0.05, outcome: backtest.Bad, since: 5 * mnt},
	}
	samples, list := history(stories, apart-20*mnt)
	list = backtest.Arrange(list)
	q := backend(t, samples)
	sweep := backtest.Sweep{On: true, Thresholds: []float64{0.001, 0.005, 0.01, 0.02, 0.03, 0.1}, Waits: []time.Duration{0, mnt, 3 * mnt, 6 * mnt}}
	o := backtest.Options{Phase: still(0), Rule: "HighErrorRate", Sweep: sweep}
	file := load(t, health)
	results, err := backtest.Run(t.Context(), file, list, q, o)
	require.NoError(t, err)
	report, err := backtest.NewReport(file, "shop.yml", results, len(list), sweep)
	require.NoError(t, err)
	swept := report.Sweeps[0]
	row := func(threshold float64, wait time.Duration) backtest.Row {
		for _, r := range swept.Rows {
			if r.Threshold == threshold && r.For == gatekeeper.Duration(wait) {
				return r
			}
		}
		t.Fatal("no such row")
		return backtest.Row{}
	}
	require.Equal(t, 3, row(0.001, 0).False, "every release has 0.2% errors; the bad one is bad before it is bad")
	require.Equal(t, 1, row(0.01, 0).False, "the blip")
	require.Equal(t, 1, row(0.1, 0).Missed)
	require.NotNil(t, swept.Best)
	require.Zero(t, swept.Best.False)
	require.Zero(t, swept.Best.Missed)
	for _, r := range swept.Rows {
		if r.False == 0 && r.Missed+r.Unsure+r.Unknown == 0 {
			require.LessOrEqual(t, *swept.Best.Median, *r.Median)
		}
	}
	require.Contains(t, swept.Why, "no false rollback, none missed; it detects after")

	for i := range results {
		results[i].Release.Outcome = backtest.Unknown
	}
	report, err = backtest.NewReport(file, "shop.yml", results, len(list), sweep)
	require.NoError(t, err)
	require.Nil(t, report.Sweeps[0].Best)
	require.Contains(t, report.Sweeps[0].Why, "no outcome is labeled")
}
