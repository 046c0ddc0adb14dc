package bench

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	prometheusdb "github.com/prometheus/prometheus/tsdb"
	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/tsdb"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

const (
	services = 1000
	pods     = 10 // of a service, each with a series of good and one of failed requests
	step     = 15 * time.Second
	history  = 10 * time.Minute
)

const watchedFile = `
service: any
groups:
  - name: g
    rules:
      - alert: HighErrorRate
        expr: |
          sum(rate(http_requests_total{service="${service}", version="${version}", status=~"5.."}[1m]))
            / sum(rate(http_requests_total{service="${service}", version="${version}"}[1m])) > 0.01
        for: 2m
`

// BenchmarkEvaluations tells how many rules one core judges in a second, with its evidence and what
// tells no data from health, over 1,000 services of 20 series each in the embedded store; beside it
// Prometheus's own engine as its rule manager calls it (rules.EngineQueryFunc: NewInstantQuery and
// Exec) on the same expressions and samples. They take turns of 1,000 rules.
func BenchmarkEvaluations(b *testing.B) {
	b.Run("with_errors", func(b *testing.B) { evaluations(b, "500") })
	b.Run("without_errors", func(b *testing.B) { evaluations(b, "204") }) // no series of failed requests
}

func evaluations(b *testing.B, second string) {
	end := time.Now().Truncate(time.Second)
	log := slog.New(slog.DiscardHandler)
	ours := b.TempDir()
	require.NoError(b, fill(b, ours, second, end).Close())
	store, err := tsdb.Open(tsdb.Config{Path: ours}, log, nil)
	require.NoError(b, err)
	defer func() { require.NoError(b, store.Close()) }()
	db := fill(b, b.TempDir(), second, end)
	defer func() { require.NoError(b, db.Close()) }()
	theirs := promql.NewEngine(promql.EngineOpts{MaxSamples: 50_000_000, Timeout: time.Minute, LookbackDelta: 5 * time.Minute})
	defer theirs.Close()

	bound := bind(b)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // so that a second is a second of one core
	var oursTook, theirsTook time.Duration
	for b.Loop() {
		start := time.Now()
		for _, rule := range bound {
			if r := rule.Judge(b.Context(), store, end); r.Verdict != gatekeeper.Healthy {
				require.Equal(b, gatekeeper.Healthy, r.Verdict, r.Detail)
			}
		}
		oursTook += time.Since(start)
		start = time.Now()
		for _, rule := range bound {
			require.Empty(b, evaluate(b, theirs, db, rule.Expr, end))
		}
		theirsTook += time.Since(start)
	}
	asked := float64(b.N * services)
	b.ReportMetric(asked/oursTook.Seconds(), "gatekeeper-evals/s")
	b.ReportMetric(asked/theirsTook.Seconds(), "prometheus-evals/s")
	b.ReportMetric(theirsTook.Seconds()/oursTook.Seconds(), "ratio")
}

// bind gives the rule of each service.
func bind(b *testing.B) []*rules.BoundRule {
	file, err := rules.Load(rules.Bundle{Name: "health.yml", File: watchedFile})
	require.NoError(b, err)
	var all []*rules.BoundRule
	for i := range services {
		bound, err := file.Bind(rules.Vars{Service: fmt.Sprintf("service-%d", i), Version: "v2"})
		require.NoError(b, err)
		all = append(all, bound.Rules...)
	}
	return all
}

func evaluate(b *testing.B, engine *promql.Engine, db *prometheusdb.DB, expr string, at time.Time) promql.Vector {
	q, err := engine.NewInstantQuery(b.Context(), db, nil, expr, at)
	require.NoError(b, err)
	defer q.Close()
	v, err := q.Exec(b.Context()).Vector()
	require.NoError(b, err)
	return v
}

// fill makes a store with the history of all services up to end; second is the status of the half
// of the series that has few requests.
func fill(b *testing.B, dir, second string, end time.Time) *prometheusdb.DB {
	b.Helper()
	db, err := prometheusdb.Open(dir, slog.New(slog.DiscardHandler), nil, prometheusdb.DefaultOptions(), nil)
	require.NoError(b, err)
	for at, n := end.Add(-history), 1; !at.After(end); at, n = at.Add(step), n+1 {
		app := db.Appender(context.Background())
		for service := range services {
			for pod := range pods {
				for status, each := range map[string]float64{"200": 1000, second: 1} {
					series := labels.FromStrings("__name__", "http_requests_total", "service", fmt.Sprintf("service-%d", service),
						"version", "v2", "pod", fmt.Sprintf("pod-%d", pod), "status", status)
					_, err := app.Append(0, series, at.UnixMilli(), each*float64(n))
					require.NoError(b, err)
				}
			}
		}
		require.NoError(b, app.Commit())
	}
	return db
}
