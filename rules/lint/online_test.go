package lint_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/httpclient"
	"github.com/gatekeeper-engine/gatekeeper/internal/prometheus"
	"github.com/gatekeeper-engine/gatekeeper/internal/servertest"
	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/lint"
)

// shop is what a service with one version exposes.
func shop() http.Handler {
	var scrapes atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := scrapes.Add(1)
		_, _ = fmt.Fprintf(w, `# TYPE requests_total counter
requests_total{app="shop",version="v1",status="200"} %d
# TYPE queue_length gauge
queue_length{app="shop",version="v1"} %d
# TYPE latency_seconds histogram
latency_seconds_bucket{app="shop",version="v1",le="0.1"} %d
latency_seconds_bucket{app="shop",version="v1",le="0.5"} %d
latency_seconds_bucket{app="shop",version="v1",le="+Inf"} %d
latency_seconds_sum{app="shop",version="v1"} %d
latency_seconds_count{app="shop",version="v1"} %d
`, 100*n, n%7, 50*n, 90*n, 100*n, n, 100*n)
	})
}

// askedShop gives a backend that has scraped the shop each second for a while.
func askedShop(t *testing.T) *prometheus.Querier {
	t.Helper()
	exporter := httptest.NewServer(shop())
	t.Cleanup(exporter.Close)
	url := servertest.Prometheus(t, fmt.Sprintf(
		"scrape_configs: [{job_name: shop, scrape_interval: 1s, scrape_timeout: 1s, static_configs: [{targets: [%q]}]}]", exporter.Listener.Addr()),
		nil, "--storage.tsdb.retention.time=2h")
	q, err := prometheus.New(prometheus.Config{Config: httpclient.Config{URL: url}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, q.Close()) })
	require.Eventually(t, func() bool {
		v, err := q.Query(t.Context(), `count_over_time(queue_length[1m]) >= 6`, time.Now())
		return err == nil && len(v.Samples) == 1
	}, time.Minute, 200*time.Millisecond)
	return q
}

// one is a health file of one rule, clean but for what its expression says.
func one(expr string) rules.Bundle {
	return rules.Bundle{Name: "health.yml", File: `service: shop
min_traffic: sum(rate(requests_total{app="${service}", version="${version}"}[1m])) > 1
groups:
  - name: g
    interval: 15s
    rules:
      - alert: A
        expr: |
          ` + expr + `
        for: 1m
        annotations: {summary: something}
`}
}

func TestOnlineChecks(t *testing.T) {
	q := askedShop(t)
	for _, c := range []struct{ check, expr, says string }{
		{"", `sum(rate(requests_total{app="${service}", version="${version}", status=~"5.."}[1m])) / sum(rate(requests_total{app="${service}", version="${version}"}[1m])) > 0.01`, ""},
		{"", `histogram_quantile(0.9, sum by (le) (rate(latency_seconds_bucket{app="${service}", version="${version}"}[1m]))) > 0.4`, ""},
		{"", `sum(rate(latency_seconds_sum{app="${service}", version="${version}"}[5s])) > 20`, ""},
		{"", `sum(queue_length{app="${service}", version="${version}"}) > 2 * sum(queue_length{app="${service}", version="${previous_version}"})`, ""},
		{"series", `sum(rate(request_total{app="${service}", version="${version}"}[1m])) > 5`, "no series request_total in the last 1h"},
		{"labels", `sum(rate(requests_total{service="${service}", version="${version}"}[1m])) > 5`, `no series of requests_total has the label "service"`},
		{"labels", `sum(rate(requests_total{app="${service}", version="${version}", app!="x", job="shoop"}[1m])) > 5`, `no series of requests_total has job="shoop"`},
		{"metric_type", `sum(rate(queue_length{app="${service}", version="${version}"}[1m])) > 5`, "rate() is for counters, and queue_length is declared as a gauge"},
		{"range", `sum(rate(requests_total{app="${service}", version="${version}"}[2s])) > 5`, "they are 1s apart (measured)"},
		{"retention", `sum(rate(requests_total{app="${service}", version="${version}"}[1m])) > 2 * sum(rate(requests_total{app="${service}", version="${previous_version}"}[1m] offset 1d))`, "it looks back 1d1m, and the backend keeps 2h"},
		{"buckets", `histogram_quantile(0.99, sum by (le) (rate(latency_seconds_bucket{app="${service}", version="${version}"}[1m]))) > 0.5`, "the largest finite bucket of latency_seconds_bucket is 0.5"},
	} {
		t.Run(c.check, func(t *testing.T) {
			report, err := lint.Check(t.Context(), one(c.expr), lint.Options{Backend: q, Now: time.Now()})
			require.NoError(t, err)
			require.Len(t, report.Costs, 2, "of the rule, and of min_traffic")
			if c.check == "" {
				require.Empty(t, report.Problems)
				require.Positive(t, report.Costs[0].Samples)
				require.Positive(t, report.Costs[0].Seconds)
				require.Equal(t, time.Second, report.Lags[0].Scrape, "it was measured")
				return
			}
			require.Len(t, report.Problems, 1, report.Problems)
			require.Equal(t, c.check, report.Problems[0].Check)
			require.Contains(t, report.Problems[0].Message, c.says)
		})
	}

	t.Run("cost", func(t *testing.T) {
		const expr = `sum(queue_length{app="${service}", version="${version}"}) > 5`
		o := lint.Options{Backend: dear{q}, Now: time.Now()}
		report, err := lint.Check(t.Context(), one(expr), o)
		require.NoError(t, err)
		require.Len(t, report.Problems, 2, "the rule, and min_traffic")
		require.Equal(t, "health.yml:2:14: warning: a look reads 6000000 samples in 1s (cost)", report.Problems[0].String())
		require.Equal(t, "health.yml:9:11: warning: a look reads 6000000 samples in 1s (cost)", report.Problems[1].String())
		b := one(expr)
		b.File = "# gatekeeper:ignore cost: it is asked seldom\n" + b.File
		report, err = lint.Check(t.Context(), b, o)
		require.NoError(t, err)
		require.Empty(t, report.Problems)
	})
}

// What a look over recorded names costs is that of what they stand for; a name that is recorded, and that
// the backend has too, is told.
func TestOnlineChecksOfRecordedNames(t *testing.T) {
	q := askedShop(t)
	record := func(name string) *lint.Report {
		b := one(name + `{version="${version}"} > 5`)
		b.File = strings.Replace(b.File, "    rules:\n", "    rules:\n      - {record: "+name+`, expr: 'sum by (version) (rate(requests_total{app="${service}"}[1m]))'}`+"\n", 1)
		report, err := lint.Check(t.Context(), b, lint.Options{Backend: q, Now: time.Now(), Records: func(*rules.File) bool { return true }})
		require.NoError(t, err)
		return report
	}
	report := record("version:requests:rate1m")
	require.Empty(t, report.Problems)
	for _, c := range report.Costs {
		require.Positive(t, c.Samples, c.Rule)
	}
	report = record("queue_length")
	require.Len(t, report.Problems, 1)
	require.Contains(t, report.Problems[0].String(), "warning: the backend has series queue_length of its own")
}

// dear is a backend in which everything costs much.
type dear struct{ *prometheus.Querier }

func (dear) Cost(context.Context, string, time.Time) (lint.Cost, error) {
	return lint.Cost{Samples: 6_000_000, Took: time.Second}, nil
}

func TestDeadBackend(t *testing.T) {
	q, err := prometheus.New(prometheus.Config{Config: httpclient.Config{URL: "http://" + servertest.Address(t)}, Timeout: model.Duration(100 * time.Millisecond)})
	require.NoError(t, err)
	_, err = lint.Check(t.Context(), one("up == 0"), lint.Options{Backend: q, Now: time.Now()})
	require.ErrorContains(t, err, "metric backend http://127.0.0.1:")
	require.Equal(t, gatekeeper.CodeUnavailable, gatekeeper.CodeOf(err))
}

// A compatible backend answers queries and leaves out what it does not have.
func TestBackendWithoutMetadata(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/api/v1/query") {
			http.NotFound(w, r)
			return
		}
		_, _ = fmt.Fprint(w, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{"le":"1"},"value":[1,"1"]}]}}`)
	}))
	defer server.Close()
	q, err := prometheus.New(prometheus.Config{Config: httpclient.Config{URL: server.URL}})
	require.NoError(t, err)
	types, err := q.Types(t.Context(), "x")
	require.NoError(t, err)
	require.Empty(t, types)
	kept, err := q.Retention(t.Context())
	require.NoError(t, err)
	require.Zero(t, kept)
	cost, err := q.Cost(t.Context(), "x", time.Now())
	require.NoError(t, err)
	require.Zero(t, cost.Samples)
}
