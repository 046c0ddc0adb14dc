package lint

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/storage"
	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// harmAfter is when the harm begins in the series of these tests, but for the phase.
const harmAfter = 20 * time.Minute

// counters gives series in promtool's notation, scraped every so often: requests come at 100 a second,
// and from an instant on a share of them is bad.
func counters(scrape time.Duration, begin time.Duration, share float64, good, bad string) string {
	var ok, failed strings.Builder
	for at := time.Duration(0); at <= harmAfter+30*time.Minute; at += scrape {
		harm := share * 100 * max(0, (at-begin).Seconds())
		fmt.Fprintf(&ok, " %g", 100*at.Seconds()-harm)
		fmt.Fprintf(&failed, " %g", harm)
	}
	return fmt.Sprintf("load %s\n  %s%s\n  %s%s\n", scrape, good, ok.String(), bad, failed.String())
}

// decides gives when Prometheus's engine would let the rule fire: once it gave a sample at each look
// for as long as its for.
func decides(t *testing.T, store storage.Queryable, expr string, wait, every, phase time.Duration) time.Duration {
	t.Helper()
	engine := promqltest.NewTestEngine(t, false, 0, 1e7)
	pending := time.Duration(-1)
	for at := harmAfter - time.Minute + phase; at < harmAfter+30*time.Minute; at += every {
		q, err := engine.NewInstantQuery(t.Context(), store, nil, expr, time.Unix(0, 0).Add(at))
		require.NoError(t, err)
		v, err := q.Exec(t.Context()).Vector()
		require.NoError(t, err)
		active := len(v) > 0
		q.Close()
		switch {
		case !active:
			pending = -1
		case pending < 0:
			pending = at
		}
		if pending >= 0 && at-pending >= wait {
			return at
		}
	}
	t.Fatal("it never fires")
	return 0
}

// The lag that is computed is the longest that the real evaluation takes, whatever the phases of the
// scrapes and the looks are, and not more than one interval longer.
func TestLagIsThatOfTheRealEvaluation(t *testing.T) {
	const ok, failed = `req{code="200"}`, `req{code="500"}`
	for _, c := range []struct {
		name, expr, harm    string
		scrape, every, wait time.Duration
		share               float64 // of the requests that is bad
		good, bad           string
		want                string
	}{
		{"errors", `sum(rate(req{code="500"}[1m])) / sum(rate(req[1m])) > 0.01`, "5% errors", 15 * time.Second, 15 * time.Second, 2 * time.Minute, 0.05, ok, failed, "2m42s"},
		{"long range", `sum(rate(req{code="500"}[5m])) / sum(rate(req[5m])) > 0.02`, "10% errors", 15 * time.Second, 30 * time.Second, time.Minute, 0.1, ok, failed, "2m45s"},
		{"percent", `100 * sum(rate(req{code="500"}[2m])) / sum(rate(req[2m])) > 1`, "5% errors", 10 * time.Second, 15 * time.Second, 0, 0.05, ok, failed, "49s"},
		{"success", `sum(rate(req{code="200"}[2m])) / sum(rate(req[2m])) < 0.98`, "10% errors", 10 * time.Second, 10 * time.Second, 30 * time.Second, 0.1, ok, failed, "1m14s"},
		{"inverted", `1 - sum(rate(req{code="200"}[2m])) / sum(rate(req[2m])) > 0.02`, "10% errors", 10 * time.Second, 10 * time.Second, 30 * time.Second, 0.1, ok, failed, "1m14s"},
		{"nearly all", `sum(rate(req{code="500"}[2m])) / sum(rate(req[2m])) > 0.5`, "100% errors", 15 * time.Second, 15 * time.Second, 0, 1, ok, failed, "1m30s"},
		{"rate", `sum(rate(req{code="500"}[1m])) > 2`, "5 times its limit", 15 * time.Second, 15 * time.Second, 30 * time.Second, 0.1, ok, failed, "1m12s"},
		{"quantile", `histogram_quantile(0.99, sum by (le) (rate(h_bucket[1m]))) > 0.4`, "5% slow requests", 15 * time.Second, 15 * time.Second, time.Minute, 0.05, `h_bucket{le="0.4"}`, `slow`, "1m42s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := fmt.Sprintf("groups: [{name: g, interval: %s, rules: [{alert: A, expr: '%s', for: %s}]}]", c.every, c.expr, c.wait)
			report := check(t, rules.Bundle{File: file}, Options{ScrapeInterval: c.scrape})
			require.Len(t, report.Lags, 1)
			lag := report.Lags[0]
			require.Equal(t, c.harm, lag.Harm)
			require.Equal(t, fmt.Sprintf("at %s this rule decides after about %s", c.harm, c.want), lag.String())

			longest := time.Duration(0)
			for i := range 6 {
				begin := harmAfter + c.scrape*time.Duration(i)/6 + time.Second/10
				load := counters(c.scrape, begin, c.share, c.good, c.bad)
				if c.name == "quantile" {
					for _, le := range []string{"0.8", "+Inf"} {
						load += fmt.Sprintf("  h_bucket{le=%q} 0+%gx300\n", le, 100*c.scrape.Seconds())
					}
				}
				store := promqltest.LoadedStorage(t, load)
				for phase := range 5 {
					took := decides(t, store, c.expr, c.wait, c.every, c.every*time.Duration(phase)/5) - begin
					require.LessOrEqual(t, took, lag.Total())
					longest = max(longest, took)
				}
				require.NoError(t, store.Close())
			}
			require.InDelta(t, lag.Total().Seconds(), longest.Seconds(), c.every.Seconds(), "%s", longest)
		})
	}
}

func TestLagOfOtherShapes(t *testing.T) {
	for expr, want := range map[string]string{
		`up == 0`:                             "at harm that lasts this rule decides after about 1m30s",
		`max(queue) > 10`:                     "at 5 times its limit this rule decides after about 1m30s",
		`max_over_time(queue[10m]) > 10`:      "at 5 times its limit this rule decides after about 1m30s",
		`avg_over_time(queue[10m]) > 10`:      "at 5 times its limit this rule decides after about 3m30s",
		`sum(rate(orders[5m])) < 1`:           "at a fall from twice its limit to 0 this rule decides after about 4m",
		`sum(rate(a[5m])) > sum(rate(b[5m]))`: "at harm that lasts this rule decides after about 6m30s",
		`predict_linear(free[5m], 60) <= 0`:   "at harm that lasts this rule decides after about 6m30s",
		`deriv(x[5m]) > 0`:                    "at any harm this rule decides after about 1m30s",
	} {
		file := fmt.Sprintf("groups: [{name: g, rules: [{alert: A, expr: '%s', for: 1m}]}]", expr)
		report := check(t, rules.Bundle{File: file}, Options{})
		require.Len(t, report.Lags, 1, expr)
		require.Equal(t, want, report.Lags[0].String(), expr)
	}
	require.Empty(t, check(t, rules.Bundle{File: "groups: [{name: g, rules: [{alert: A, expr: absent(up)}]}]"}, Options{}).Lags)
}

func TestLagOfSLO(t *testing.T) {
	b := rules.Bundle{File: `
service: shop
window: 30m
slos:
  - name: Requests
    objective: 99.9%
    errors: http_requests_total{service="${service}", version="${version}", status=~"5.."}
    total: http_requests_total{service="${service}", version="${version}"}
`}
	report := check(t, b, Options{})
	require.Empty(t, report.Problems)
	require.Len(t, report.Lags, 2)
	slow := report.File.SLOs[0].Burns[0]
	require.Equal(t, "7.2% errors", report.Lags[0].Harm)
	want := slow.Long/5 + 15*time.Second + 15*time.Second + report.File.Rules[0].For
	require.InDelta(t, want.Seconds(), report.Lags[0].Seconds, 1)
}
