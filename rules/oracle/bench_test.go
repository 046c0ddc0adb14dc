package oracle

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	theirs "github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	embedded "github.com/gatekeeper-engine/gatekeeper/internal/tsdb"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

const (
	services = 1000
	pods     = 10 // of a service, each with a series of good and one of other requests
	step     = 15 * time.Second
	history  = 10 * time.Minute
	holds    = 2 * time.Minute
)

const errorRatio = `sum(rate(http_requests_total{service="%[1]s", version="%[2]s", status=~"5.."}[1m])) ` +
	`/ sum(rate(http_requests_total{service="%[1]s", version="%[2]s"}[1m])) > 0.01`

// BenchmarkEvaluations tells how many rules one core judges in a second over 1,000 services of 20
// series each in the embedded store, and how many Prometheus's AlertingRule.Eval does on the same
// expressions and samples, by its own engine and store. They take turns of 1,000 rules.
func BenchmarkEvaluations(b *testing.B) {
	b.Run("with_errors", func(b *testing.B) { evaluations(b, "500") })
	b.Run("without_errors", func(b *testing.B) { evaluations(b, "204") }) // no series of failed requests
}

func evaluations(b *testing.B, other string) {
	end := time.Now().Truncate(time.Second)
	dir := b.TempDir()
	require.NoError(b, write(b, dir, other, end).Close())
	store, err := embedded.Open(embedded.Config{Path: dir}, slog.New(slog.DiscardHandler), nil)
	require.NoError(b, err)
	defer func() { require.NoError(b, store.Close()) }()
	db := write(b, b.TempDir(), other, end)
	defer func() { require.NoError(b, db.Close()) }()
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 50_000_000, Timeout: time.Minute, LookbackDelta: 5 * time.Minute})
	defer func() { require.NoError(b, engine.Close()) }()
	ask, own, its := theirs.EngineQueryFunc(engine, db), ownRules(b), theirRules(b)

	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // so that a second is a second of one core
	var ownTook, theirsTook time.Duration
	for b.Loop() {
		start := time.Now()
		for _, rule := range own {
			if r := rule.Judge(b.Context(), store, end); r.Verdict != gatekeeper.Healthy {
				b.Fatalf("%s: %s", r.Verdict, r.Detail)
			}
		}
		ownTook += time.Since(start)
		start = time.Now()
		for _, rule := range its {
			if _, err := rule.Eval(b.Context(), 0, end, ask, address, 0); err != nil || len(rule.ActiveAlerts()) > 0 {
				b.Fatalf("%v: %v", rule.ActiveAlerts(), err)
			}
		}
		theirsTook += time.Since(start)
	}
	asked := float64(b.N * services)
	b.ReportMetric(asked/ownTook.Seconds(), "gatekeeper-evals/s")
	b.ReportMetric(asked/theirsTook.Seconds(), "prometheus-evals/s")
	b.ReportMetric(theirsTook.Seconds()/ownTook.Seconds(), "ratio")
}

// ownRules gives the rule of each service, as a release binds it.
func ownRules(b *testing.B) []*rules.BoundRule {
	b.Helper()
	file, err := rules.Load(rules.Bundle{Name: "health.yml", File: fmt.Sprintf(
		"service: any\ngroups: [{name: g, rules: [{alert: Errors, expr: '%s', for: %s}]}]\n", fmt.Sprintf(errorRatio, "${service}", "${version}"), holds)})
	require.NoError(b, err)
	var all []*rules.BoundRule
	for i := range services {
		bound, err := file.Bind(rules.Vars{Service: name(i), Version: "v2"})
		require.NoError(b, err)
		all = append(all, bound.Rules...)
	}
	return all
}

// theirRules gives the same as Prometheus's rules.
func theirRules(b *testing.B) []*theirs.AlertingRule {
	b.Helper()
	language := parser.NewParser(parser.Options{})
	var all []*theirs.AlertingRule
	for i := range services {
		expr, err := language.ParseExpr(fmt.Sprintf(errorRatio, name(i), "v2"))
		require.NoError(b, err)
		all = append(all, theirs.NewAlertingRule("Errors", expr, holds, 0, labels.EmptyLabels(), labels.EmptyLabels(),
			labels.EmptyLabels(), "", true, slog.New(slog.DiscardHandler)))
	}
	return all
}

func name(service int) string { return fmt.Sprintf("service-%d", service) }

// write makes a store with the history of all services up to end; other is the status of the half
// of the series that has few requests.
func write(b *testing.B, dir, other string, end time.Time) *tsdb.DB {
	b.Helper()
	db, err := tsdb.Open(dir, slog.New(slog.DiscardHandler), nil, tsdb.DefaultOptions(), nil)
	require.NoError(b, err)
	for at, n := end.Add(-history), 1; !at.After(end); at, n = at.Add(step), n+1 {
		app := db.Appender(context.Background())
		for service := range services {
			for pod := range pods {
				for status, each := range map[string]float64{"200": 1000, other: 1} {
					series := labels.FromStrings("__name__", "http_requests_total", "service", name(service),
						"version", "v2", "pod", fmt.Sprintf("pod-%d", pod), "status", status)
					if _, err := app.Append(0, series, at.UnixMilli(), each*float64(n)); err != nil {
						b.Fatal(err)
					}
				}
			}
		}
		require.NoError(b, app.Commit())
	}
	return db
}
