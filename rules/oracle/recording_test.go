package oracle

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	theirs "github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/teststorage"
	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/recorded"
)

// recordings is a group's recording rules; each test has the first of them.
var recordings = []string{
	`{record: "req:rate", expr: 'sum by (version, pod) (rate(req_total[1m]))'}`,
	`{record: "err:ratio", expr: 'sum by (version) (rate(req_total{code=~"5.."}[1m])) / sum by (version) (req:rate)', labels: {kind: ratio}}`,
	`{record: "temp:high", expr: 'temp > 0'}`,
	`{record: "temp:avg", expr: 'avg_over_time(temp:high[2m])', labels: {zone: eu}}`,
	`{record: "native:rate", expr: 'sum by (pod) (rate(native[2m]))'}`,
	`{record: "req:before", expr: 'req:rate offset 1m'}`,
	`{record: "err:worst", expr: 'max_over_time(err:ratio[2m:30s])'}`,
	`{record: "req:moved", expr: 'sum by (pod) (req:rate - req:before)'}`,
}

// overRecorded are what alerts ask of them.
var overRecorded = []string{
	`req:rate > 5`, `err:ratio{version="v2"} > 0.3`, `err:ratio > 0.2 and on (version) sum by (version) (req:rate) > 1`,
	`changes(temp:high[2m]) > 1`, `count_over_time(req:rate[2m]) >= 4`, `absent(temp:high{pod="a"})`, `{__name__=~"temp:.*|err:r.*"} > 0.1`,
	`delta(err:ratio[90s] offset 15s) > 0`, `temp:high offset 20s > 3`, `sum(req:rate) - sum(req:before) > 1`,
	`histogram_count(native:rate) > 0.1`, `err:worst > 0.4`, `req:moved < 0`, `stddev_over_time(req:moved[1m]) > 0.5`, `timestamp(err:ratio) > 100`,
}

// recordingBackend answers as the embedded backend does.
type recordingBackend struct {
	*comparison
	all []rules.Recording
}

func (b recordingBackend) WithRecordings(all []rules.Recording) (rules.Querier, error) {
	b.all = all
	return b, nil
}

func (b recordingBackend) over(at time.Time) *comparison {
	source := recorded.Source{Engine: b.engine, Store: b.store, Lookback: 5 * time.Minute, MaxSamples: 1e6}
	return &comparison{t: b.t, engine: b.engine, store: source.Over(b.all, at), known: map[query]answered{}}
}

func (b recordingBackend) Query(ctx context.Context, expr string, at time.Time) (rules.Vector, error) {
	return b.over(at).Query(ctx, expr, at)
}

func (b recordingBackend) QueryRange(ctx context.Context, expr string, from, to time.Time, step time.Duration) (rules.Matrix, error) {
	return b.over(from).QueryRange(ctx, expr, from, to, step)
}

// Alerts over a file's recording rules, of which nothing is kept, are those of a Prometheus that evaluates
// the same group from the first sample on and keeps what it records.
func TestRecordingRulesAreTheSame(t *testing.T) {
	compared, active := 0, 0
	for world := range max(2, *cases/200) {
		r := rand.New(rand.NewPCG(*seed, uint64(world)+1<<32))
		store := fill(t, r)
		engine := promqltest.NewTestEngine(t, false, 0, 1e6)
		text := someGroup(r)
		group, alerts := theirGroup(t, text, engine, store)
		f, err := rules.Load(rules.Bundle{File: "rule_files: [r.yml]", RuleFiles: map[string]string{"r.yml": text}})
		require.NoError(t, err, text)
		bound, err := f.Bind(rules.Vars{})
		require.NoError(t, err)
		q := recordingBackend{comparison: &comparison{t: t, engine: engine, store: store}}
		followed := make([][]rules.Alert, len(bound.Rules))
		step := bound.Rules[0].Interval
		from := time.Unix(0, 0).UTC().Add(pick(r, []time.Duration{0, time.Second, 7301 * time.Millisecond}))
		for at := from; at.Before(time.Unix(0, 0).Add(scrapes * scrape)); at = at.Add(step) {
			group.Eval(t.Context(), at)
			for i, rule := range bound.Rules {
				now, err := rule.Active(t.Context(), q, at)
				require.NoError(t, err, "%s at %s", rule.Expr, at)
				followed[i], err = rule.Follow(followed[i], now, at)
				require.NoError(t, err)
				require.Equal(t, states(alerts[i]), statesOf(followed[i]), "seed %d, world %d: %s at %s\n%s", *seed, world, rule.Expr, at, text)
				compared++
				active += len(now)
				if r.IntN(10) == 0 { // a slot that is asked again, with those before it, is answered as it was
					ranged := rule.JudgeRange(t.Context(), q, at.Add(-3*step), at, step)
					alone := rule.Judge(t.Context(), q, at)
					require.Equal(t, alone.Verdict, ranged[3].Verdict, "%s at %s: %s, %s", rule.Expr, at, alone.Detail, ranged[3].Detail)
					require.ElementsMatch(t, alone.Active, ranged[3].Active)
				}
			}
		}
		require.NoError(t, store.Close())
	}
	t.Logf("seed %d: %d compared, %d alerts", *seed, compared, active)
	require.Greater(t, active, compared/10, "alerts were compared")
}

// someGroup is a group of all recording rules and some alerts.
func someGroup(r *rand.Rand) string {
	var b strings.Builder
	fmt.Fprintf(&b, "groups:\n- name: g\n  interval: %s\n  query_offset: %s\n  rules:\n", pick(r, []string{"15s", "20s", "30s"}), pick(r, []string{"0s", "0s", "7s"}))
	for _, one := range recordings {
		b.WriteString("  - " + one + "\n")
	}
	for i, n := range r.Perm(len(overRecorded))[:6] {
		fmt.Fprintf(&b, "  - {alert: A%d, expr: '%s', for: %s, keep_firing_for: %s}\n", i, overRecorded[n], pick(r, []string{"0s", "30s", "1m"}), pick(r, []string{"0s", "40s"}))
	}
	return b.String()
}

// theirGroup is the group as Prometheus has it, which keeps what it records in a store of its own.
func theirGroup(t *testing.T, text string, engine *promql.Engine, store storage.Storage) (*theirs.Group, []*theirs.AlertingRule) {
	kept := teststorage.New(t)
	both := storage.NewFanout(nil, kept, store)
	promql := parser.NewParser(parser.Options{})
	parsed, errs := rulefmt.Parse([]byte(text), false, model.UTF8Validation, promql, slog.New(slog.DiscardHandler))
	require.Empty(t, errs, text)
	g := parsed.Groups[0]
	var all []theirs.Rule
	var alerts []*theirs.AlertingRule
	for _, rule := range g.Rules {
		expr, err := promql.ParseExpr(rule.Expr)
		require.NoError(t, err)
		if rule.Record != "" {
			all = append(all, theirs.NewRecordingRule(rule.Record, expr, labels.FromMap(rule.Labels)))
			continue
		}
		one := theirs.NewAlertingRule(rule.Alert, expr, time.Duration(rule.For), time.Duration(rule.KeepFiringFor), labels.EmptyLabels(), labels.EmptyLabels(),
			labels.EmptyLabels(), "", true, slog.New(slog.DiscardHandler))
		all, alerts = append(all, one), append(alerts, one)
	}
	offset := time.Duration(*g.QueryOffset)
	return theirs.NewGroup(theirs.GroupOptions{
		Name: g.Name, File: "r.yml", Interval: time.Duration(g.Interval), Rules: all, QueryOffset: &offset,
		Opts: &theirs.ManagerOptions{
			Context: t.Context(), QueryFunc: theirs.EngineQueryFunc(engine, both), Appendable: kept, Queryable: both,
			NotifyFunc: func(context.Context, string, ...*theirs.Alert) {}, Logger: slog.New(slog.DiscardHandler), ExternalURL: address,
		},
	}), alerts
}

// states are Prometheus's alerts by their labels, in words.
func states(rule *theirs.AlertingRule) map[string]string {
	all := map[string]string{}
	for _, a := range rule.ActiveAlerts() {
		all[a.Labels.String()] = inWords(a.Value, a.State == theirs.StateFiring, a.ActiveAt)
	}
	return all
}

// statesOf are ours.
func statesOf(alerts []rules.Alert) map[string]string {
	all := map[string]string{}
	for _, a := range alerts {
		all[labels.FromMap(a.Labels).String()] = inWords(float64(a.Value), a.Firing, a.ActiveAt)
	}
	return all
}

// inWords leaves out what the order of an addition changes.
func inWords(v float64, firing bool, since time.Time) string {
	if math.Abs(v) < 1e-9 {
		v = 0
	}
	return fmt.Sprintf("%.6g firing=%t since %s", v, firing, since.UTC().Format(time.RFC3339Nano))
}

// Two versions of a file record other things by one name: releases of both, open at once, are judged by
// their own.
func TestTwoVersionsOfAFileAreApart(t *testing.T) {
	store := fill(t, rand.New(rand.NewPCG(*seed, 9)))
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	engine := promqltest.NewTestEngine(t, false, 0, 1e6)
	q := recordingBackend{comparison: &comparison{t: t, engine: engine, store: store}}
	judge := func(expr string) gatekeeper.Verdict {
		f, err := rules.Load(rules.Bundle{File: "groups: [{name: g, rules: [{record: r, expr: '" + expr + "'}, {alert: A, expr: r > 0}]}]"})
		require.NoError(t, err)
		bound, err := f.Bind(rules.Vars{})
		require.NoError(t, err)
		return bound.Rules[0].Judge(t.Context(), q, time.Unix(300, 0)).Verdict
	}
	got := []gatekeeper.Verdict{}
	for _, expr := range []string{"vector(1)", "vector(-1)", "vector(1)"} {
		got = append(got, judge(expr))
	}
	require.Equal(t, []gatekeeper.Verdict{gatekeeper.Unhealthy, gatekeeper.Healthy, gatekeeper.Unhealthy}, got)
	require.Equal(t, gatekeeper.NoData, judge("nothing"), "what the others record is not there")
}
