package rules

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

func alerting(at time.Time, names ...string) []Alert {
	var all []Alert
	for _, name := range names {
		all = append(all, Alert{Labels: map[string]string{"pod": name}, Value: 1, ActiveAt: at})
	}
	return all
}

func TestFollow(t *testing.T) {
	r := Rule{For: time.Minute, KeepFiringFor: 2 * time.Minute}
	var now []Alert
	step := func(m float64, names ...string) []Alert {
		t.Helper()
		var err error
		now, err = r.Follow(now, alerting(minute(m), names...), minute(m))
		require.NoError(t, err)
		return now
	}
	require.False(t, step(0, "b", "a")[0].Firing)
	require.Equal(t, "a", now[0].Labels["pod"])
	require.Len(t, step(0.5, "a"), 1, "a pending one is gone at once")
	require.True(t, step(1, "a")[0].Firing)
	require.True(t, step(2)[0].Firing, "kept")
	require.Equal(t, minute(2), now[0].KeptSince)
	require.True(t, step(3)[0].Firing)
	require.Equal(t, minute(0), step(3.5, "a")[0].ActiveAt, "it is the same alert")
	require.Zero(t, now[0].KeptSince)
	step(4)
	require.Len(t, step(5), 1)
	require.Empty(t, step(6))

	r.Limit = 1
	_, err := r.Follow(nil, alerting(minute(0), "a", "b"), minute(0))
	require.ErrorContains(t, err, "exceeded limit of 1 with 2 alerts")
}

func TestActive(t *testing.T) {
	b := newBackend(t, failing)
	r := oneRule(t, `rate(req{version="${version}"}[1m]) > 0`, `
    labels: {code: "", severity: "{{ $labels.code }}"}
    annotations: {summary: "{{ $value | humanize }} of {{ with query \"sum(rate(req[1m]))\" }}{{ . | first | value | humanize }}{{ end }}"}`, "")
	active, err := r.Active(t.Context(), b, minute(5))
	require.NoError(t, err)
	require.Len(t, active, 2)
	require.Equal(t, map[string]string{"alertname": "A", "severity": "200", "version": "v2"}, active[0].Labels)
	require.Equal(t, "10 of 12", active[0].Annotations["summary"])
	require.Equal(t, minute(5), active[0].ActiveAt)

	r = oneRule(t, `rate(req[1m]) > 0`, "    labels: {code: all}", "")
	_, err = r.Active(t.Context(), b, minute(5))
	require.ErrorContains(t, err, "two samples are one alert")
}

// Too many alerts for the group's limit do not make a bad release look good.
func TestLimitHidesNothing(t *testing.T) {
	b := newBackend(t, failing)
	r := bound(t, Bundle{File: "groups: [{name: g, limit: 1, rules: [{alert: A, expr: 'rate(req[1m]) > 0'}]}]"}).Rules[0]
	got := r.Judge(t.Context(), b, minute(5))
	require.Equal(t, gatekeeper.Unhealthy, got.Verdict)
	require.Contains(t, got.Detail, "2 alerts, more than the group's limit of 1")
}

func TestTemplatesAsk(t *testing.T) {
	b := newBackend(t, failing)
	r := bound(t, Bundle{File: `
groups:
- name: g
  query_offset: 1m
  rules:
  - alert: A
    expr: sum(rate(req[1m])) > 0
    annotations: {summary: '{{ query "time()" | first | value }}'}`}).Rules[0]
	require.Equal(t, "300", r.Judge(t.Context(), b, minute(5)).Summary, "at the slot, as in Prometheus, not before it")
	for _, reading := range r.JudgeRange(t.Context(), b, minute(4), minute(5), 15*time.Second) {
		require.Equal(t, float64(reading.At.Unix()), mustFloat(t, reading.Summary))
	}

	many := `{{ range query "req" }}{{ end }}`
	for i := range maxTemplateQueries {
		many += `{{ query "vector(` + string(rune('a'+i)) + `)" }}`
	}
	e := &expander{q: constant{}}
	require.Contains(t, e.expand(t.Context(), many, gatekeeper.Sample{}), "ask more than 20 queries")
	e = &expander{q: constant{n: maxTemplateSamples + 1}}
	require.Contains(t, e.expand(t.Context(), `{{ query "up" }}`, gatekeeper.Sample{}), "gives 101 samples, more than 100")
}

func mustFloat(t *testing.T, text string) float64 {
	t.Helper()
	var f gatekeeper.Float
	require.NoError(t, f.UnmarshalJSON([]byte(text)))
	return float64(f)
}

// A template of a label that fails through no fault of the sample neither makes two samples one nor begins
// `for` anew, however its error reads; and what failed is not asked again for every sample.
func TestFailedTemplatesChangeNoVerdict(t *testing.T) {
	b := newBackend(t, failing)
	r := bound(t, Bundle{File: `
groups:
- name: g
  rules:
  - alert: A
    expr: rate(req[1m]) > 0
    labels: {code: '{{ query "owner" | first | value }}{{ $labels.code }}', of: '{{ $value }}', by: '{{ $labels.version }}', a: b}`}).Rules[0]
	track := gatekeeper.Track{}
	failures := 0
	for i := range 8 {
		q := Querier(constantOwner{b})
		if i%2 == 1 {
			q = failingOwner{b, &failures}
		}
		got := r.Judge(t.Context(), q, minute(5).Add(time.Duration(i)*15*time.Second))
		require.Equal(t, gatekeeper.Unhealthy, got.Verdict, got.Detail)
		require.Len(t, got.Active, 2)
		require.NotEqual(t, got.Active[0], got.Active[1])
		require.Equal(t, i%2 == 1, got.Unsure)
		track = track.Next(got, 15*time.Second)
		require.Equal(t, minute(5), track.Pending())
	}
	require.Equal(t, 4, failures)
	require.Len(t, track.Confirm(r.Judge(t.Context(), failingOwner{b, &failures}, minute(7))).Active, 4)
}

type constantOwner struct{ *backend }

func (c constantOwner) Query(ctx context.Context, query string, at time.Time) (Vector, error) {
	if query == "owner" {
		return Vector{Samples: []gatekeeper.Sample{{Value: 1}}}, nil
	}
	return c.backend.Query(ctx, query, at)
}

type failingOwner struct {
	*backend
	failures *int
}

func (f failingOwner) Query(ctx context.Context, query string, at time.Time) (Vector, error) {
	if query == "owner" {
		*f.failures++
		return Vector{}, fmt.Errorf("no answer after %d ms", *f.failures)
	}
	return f.backend.Query(ctx, query, at)
}

// constant answers every query with n samples.
type constant struct{ n int }

func (c constant) Query(context.Context, string, time.Time) (Vector, error) {
	return Vector{Samples: make([]gatekeeper.Sample, c.n)}, nil
}

func (constant) QueryRange(context.Context, string, time.Time, time.Time, time.Duration) (Matrix, error) {
	return Matrix{}, nil
}

func TestExternalLabelsInTemplates(t *testing.T) {
	f, err := Load(Bundle{File: "groups: [{name: g, rules: [{alert: A, expr: vector(1), annotations: {summary: '{{ $externalLabels.dc }} {{ externalURL }} {{ $externalURL }} {{ pathPrefix }}'}}]}]"})
	require.NoError(t, err)
	out, err := f.Bind(Vars{ExternalLabels: map[string]string{"dc": "eu"}, ExternalURL: "http://prom/x"})
	require.NoError(t, err)
	require.Equal(t, "eu http://prom/x http://prom/x /x", out.Rules[0].Judge(t.Context(), newBackend(t, fine), minute(5)).Summary)
	_, err = f.Bind(Vars{ExternalURL: "http://[::1"})
	require.ErrorContains(t, err, "external URL")
}

func TestRecordingRules(t *testing.T) {
	text := "groups: [{name: g, interval: 30s, query_offset: 1s, limit: 7, labels: {a: b}, rules: [{record: r, expr: sum(x), labels: {c: d}}]}]"
	_, err := Load(Bundle{File: text})
	require.ErrorContains(t, err, "has no rule")
	got, err := RecordingRules("r.yml", text)
	require.NoError(t, err)
	require.Equal(t, []Recording{{
		Record: "r", Expr: "sum(x)", Labels: map[string]string{"a": "b", "c": "d"}, Group: "g", Interval: 30 * time.Second,
		QueryOffset: time.Second, Limit: 7, File: "r.yml", Line: 1,
	}}, got)
	_, err = RecordingRules("r.yml", "groups: [{name: g, rules: [{alert: A, expr: r > 1}]}]")
	require.ErrorContains(t, err, `can't hold the alert "A"`)
}

func TestRecordGroup(t *testing.T) {
	store := promqltest.LoadedStorage(t, "load 1m\n x{pod=\"a\"} 1 1 _ _ 1\n x{pod=\"b\"} 2 stale\n hist {{schema:0 count:3 sum:6 buckets:[1 2]}}x9\n")
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	query := EngineQuery(promqltest.NewTestEngine(t, false, 0, 1e6), store)
	var group []*Recorder
	for _, r := range []Recording{
		{Record: "one", Expr: "x", Labels: map[string]string{"pod": ""}, Limit: 2},
		{Record: "two", Expr: "x * 10"},
		{Record: "three", Expr: "two + 1"},
		{Record: "four", Expr: "three or label_replace(three, \"more\", \"1\", \"\", \"\")", Limit: 2},
		{Record: "five", Expr: "hist"},
		{Record: "six", Expr: "1"},
	} {
		group = append(group, NewRecorder(r))
	}
	ask := func(expr string, m float64) map[string]float64 {
		v, err := query(t.Context(), expr, minute(m))
		require.NoError(t, err)
		out := map[string]float64{}
		for _, s := range v {
			out[s.Metric.Get("pod")] = s.F
		}
		return out
	}
	err := RecordGroup(t.Context(), group, query, store, minute(0))
	require.ErrorContains(t, err, "recording rule one: two of its samples have the same labels")
	require.ErrorContains(t, err, "recording rule four: it gives 4 series, more than the group's limit of 2")
	require.Equal(t, map[string]float64{"a": 11, "b": 21}, ask("three", 0))
	require.Equal(t, map[string]float64{"": 1}, ask("six", 0))
	v, err := query(t.Context(), "five", minute(0))
	require.NoError(t, err)
	require.InDelta(t, 6, v[0].H.Sum, 0)

	require.NoError(t, RecordGroup(t.Context(), group, query, store, minute(1)), "no more series than the limit")
	require.Equal(t, map[string]float64{"a": 11}, ask("three", 1), "b ended at once")
}
