package oracle

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	theirs "github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/template"
	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// script answers both engines: the samples of the rule's expression at each slot, nil where the
// backend does not answer. Whether a selector has data is asked by other queries: there is.
type script struct {
	rule  *rules.BoundRule
	start time.Time
	slots []promql.Vector
	down  map[int]bool
}

const every = 15 * time.Second

func (s *script) at(n int) time.Time { return s.start.Add(time.Duration(n) * every) }

func (s *script) answer(_ context.Context, expr string, at time.Time) (promql.Vector, error) {
	n := int(at.Sub(s.start) / every)
	switch {
	case s.down[n]:
		return nil, errDown
	case expr != s.rule.Expr:
		return promql.Vector{{F: 1}}, nil
	case n >= len(s.slots):
		return nil, nil
	}
	return s.slots[n], nil
}

func (s *script) Query(ctx context.Context, expr string, at time.Time) (rules.Vector, error) {
	found, err := s.answer(ctx, expr, at)
	var out rules.Vector
	for _, one := range found {
		sample := gatekeeper.Sample{Labels: one.Metric.Map(), Value: gatekeeper.Float(one.F)}
		if one.H != nil {
			sample.Histogram = one.H.String()
		}
		out.Samples = append(out.Samples, sample)
	}
	return out, err
}

func (s *script) QueryRange(context.Context, string, time.Time, time.Time, time.Duration) (rules.Matrix, error) {
	return rules.Matrix{}, errDown
}

// both gives one rule for both engines: sum(x), which is unhealthy whenever it gives something.
func both(t *testing.T, hold time.Duration, more string) (*script, *theirs.AlertingRule) {
	t.Helper()
	const expr = "sum(x)"
	text := "groups: [{name: g, " + more + " rules: [{alert: A, expr: sum(x), for: " + hold.String() + ", annotations: {summary: '{{ $value | humanize }}'}}]}]"
	f, err := rules.Load(rules.Bundle{File: text})
	require.NoError(t, err)
	bound, err := f.Bind(rules.Vars{})
	require.NoError(t, err)
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	require.NoError(t, err)
	return &script{rule: bound.Rules[0], start: time.Unix(0, 0).UTC(), down: map[int]bool{}},
		theirs.NewAlertingRule("A", parsed, hold, 0, labels.EmptyLabels(), labels.FromStrings("summary", "{{ $value | humanize }}"),
			labels.EmptyLabels(), "", true, slog.New(slog.DiscardHandler))
}

func bad(pods ...string) promql.Vector {
	var out promql.Vector
	for _, pod := range pods {
		out = append(out, promql.Sample{F: 1, Metric: labels.FromStrings("pod", pod)})
	}
	return out
}

func firing(rule *theirs.AlertingRule) bool {
	for _, a := range rule.ActiveAlerts() {
		if a.State == theirs.StateFiring {
			return true
		}
	}
	return false
}

// Difference 1: time that nobody answered for. Prometheus lets `for` run on while its queries fail and
// fires on the first answer after it; a release is not taken back for an outage of the metrics.
func TestDifferenceUnansweredTime(t *testing.T) {
	s, prometheus := both(t, time.Minute, "")
	for n := range 12 {
		s.slots = append(s.slots, bad("a"))
		s.down[n] = n >= 1 && n <= 4
	}
	track := gatekeeper.Track{For: gatekeeper.Duration(s.rule.For)}
	theirsAt, oursAt := -1, -1
	for n := range 12 {
		_, err := prometheus.Eval(t.Context(), 0, s.at(n), s.answer, address, 0)
		require.Equal(t, s.down[n], err != nil)
		track = track.Next(s.rule.Judge(t.Context(), s, s.at(n)), every)
		if theirsAt < 0 && firing(prometheus) {
			theirsAt = n
		}
		if oursAt < 0 && track.Full(s.at(n)) {
			oursAt = n
		}
	}
	require.Equal(t, 5, theirsAt, "at the first answer: a minute is over, of which 15 seconds were seen to be bad")
	require.Equal(t, 8, oursAt, "four slots later, as many as were lost")
}

// The same for a partial answer: Prometheus takes what it got.
func TestDifferencePartialAnswers(t *testing.T) {
	s, _ := both(t, 0, "")
	got := s.rule.Judge(t.Context(), partly{s}, s.at(0))
	require.Equal(t, gatekeeper.NoAnswer, got.Verdict)
	require.Contains(t, got.Detail, "partial answer")
}

type partly struct{ *script }

func (partly) Query(context.Context, string, time.Time) (rules.Vector, error) {
	return rules.Vector{Samples: []gatekeeper.Sample{{Value: 1}}, Warnings: []string{"one store is away"}}, nil
}

// And for nothing at all: Prometheus takes the absence of every series for healthy, and forgets what
// was pending.
func TestDifferenceNoData(t *testing.T) {
	s, prometheus := both(t, time.Minute, "")
	s.slots = []promql.Vector{bad("a"), nil, bad("a"), bad("a"), bad("a"), bad("a")}
	empty := &away{s, 1}
	track := gatekeeper.Track{For: gatekeeper.Duration(s.rule.For)}
	var oursAt, theirsAt []int
	for n := range s.slots {
		_, err := prometheus.Eval(t.Context(), 0, s.at(n), s.answer, address, 0)
		require.NoError(t, err)
		reading := s.rule.Judge(t.Context(), empty, s.at(n))
		require.Equal(t, n == 1, reading.Verdict == gatekeeper.NoData)
		track = track.Next(reading, every)
		if track.Full(s.at(n)) {
			oursAt = append(oursAt, n)
		}
		if firing(prometheus) {
			theirsAt = append(theirsAt, n)
		}
	}
	require.Equal(t, []int{5}, oursAt, "bad since the first slot, less the one without data")
	require.Empty(t, theirsAt, "bad since the third slot")
}

// away has no series at all at one slot.
type away struct {
	*script
	slot int
}

func (a *away) Query(ctx context.Context, expr string, at time.Time) (rules.Vector, error) {
	if at.Equal(a.at(a.slot)) {
		return rules.Vector{}, nil
	}
	return a.script.Query(ctx, expr, at)
}

// Difference 2: the extra look where `for` runs out between two slots. Prometheus waits for the next
// slot.
func TestDifferenceExtraLook(t *testing.T) {
	s, prometheus := both(t, 40*time.Second, "")
	for range 4 {
		s.slots = append(s.slots, bad("a"))
	}
	track := gatekeeper.Track{For: gatekeeper.Duration(s.rule.For)}
	for n := range 3 {
		_, err := prometheus.Eval(t.Context(), 0, s.at(n), s.answer, address, 0)
		require.NoError(t, err)
		track = track.Next(s.rule.Judge(t.Context(), s, s.at(n)), every)
	}
	due := track.Due()
	require.Equal(t, s.at(0).Add(40*time.Second), due, "10 seconds after the last slot")
	require.False(t, firing(prometheus))
	require.True(t, track.Confirm(s.rule.Judge(t.Context(), s, due)).Full(due))
	_, err := prometheus.Eval(t.Context(), 0, s.at(3), s.answer, address, 0)
	require.NoError(t, err)
	require.True(t, firing(prometheus), "5 seconds later than we")
}

// Difference 3: a group's limit. Prometheus drops all alerts of a rule that has more, so that the worst
// outage is the quietest.
func TestDifferenceLimit(t *testing.T) {
	s, prometheus := both(t, 15*time.Second, "limit: 2,")
	s.slots = []promql.Vector{bad("a", "b"), bad("a", "b", "c")}
	track := gatekeeper.Track{For: gatekeeper.Duration(s.rule.For)}
	for n := range s.slots {
		_, err := prometheus.Eval(t.Context(), 0, s.at(n), s.answer, address, 2)
		require.Equal(t, n == 1, err != nil)
		reading := s.rule.Judge(t.Context(), s, s.at(n))
		require.Equal(t, n == 1, reading.Detail != "")
		track = track.Next(reading, every)
	}
	require.Empty(t, prometheus.ActiveAlerts())
	require.True(t, track.Full(s.at(1)))
}

// Difference 4: a template sees a native histogram as its text. What is printed is the same; what a
// function for numbers says of it is not.
func TestDifferenceHistogramInTemplate(t *testing.T) {
	s, prometheus := both(t, 0, "")
	s.slots = []promql.Vector{{{H: &histogram.FloatHistogram{Count: 1, Sum: 2, ZeroCount: 1, ZeroThreshold: 0.5}}}}
	_, err := prometheus.Eval(t.Context(), 0, s.at(0), s.answer, address, 0)
	require.NoError(t, err)
	active, err := s.rule.Active(t.Context(), s, s.at(0))
	require.NoError(t, err)
	require.Contains(t, prometheus.ActiveAlerts()[0].Annotations.Get("summary"), "can't convert *histogram.FloatHistogram to float")
	require.Contains(t, active[0].Annotations["summary"], "error calling humanize")
	require.Contains(t, active[0].Annotations["summary"], "{count:1, sum:2, [-0.5,0.5]:1}")
}

// Difference 5: a template does not run as long as it likes, see the caps in package rules. What Prometheus
// finds when the alert fires, after a while or never, is told when the file is read.
func TestDifferenceCapsOfTemplates(t *testing.T) {
	for text, says := range map[string]string{
		`{{ range 1000000000 }}{{ end }}`:                                           "takes more than 100000 steps",
		`{{ range 1000000000 }}0123456789{{ end }}`:                                 "more than 65536 bytes",
		`{{ define "a" }}{{ template "a" }}{{ end }}`:                               "templates call themselves without end: a → a",
		`{{ template "no" }}`:                                                       `template "no" is not defined`,
		`{{ define "x" }}1{{ end }}{{ (toTime 1).Format "1" | (toTime 1).Format }}`: "Format takes its layout as a text in quotes only",
	} {
		require.NoError(t, template.NewTemplateExpander(t.Context(), text, "__alert_A", nil, 0, nil, address, nil).ParseTest(), text)
		_, err := rules.Load(rules.Bundle{File: fmt.Sprintf(`groups: [{name: g, rules: [{alert: A, expr: x, annotations: {summary: '%s'}}]}]`, text)})
		require.ErrorContains(t, err, says)
	}
}

// keep_firing_for keeps an alert of Prometheus; a release's breach it only keeps waiting: it decides
// nothing, see Rule.Calm.
func TestDifferenceKeepFiringDecidesNothing(t *testing.T) {
	f, err := rules.Load(rules.Bundle{File: "groups: [{name: g, rules: [{alert: A, expr: sum(x), for: 1m, keep_firing_for: 5m}]}]"})
	require.NoError(t, err)
	require.Equal(t, 5*time.Minute, f.Rules[0].Calm())
	var track gatekeeper.Track
	at := time.Unix(0, 0).UTC()
	for n, verdict := range []gatekeeper.Verdict{gatekeeper.Unhealthy, gatekeeper.Unhealthy, gatekeeper.Healthy} {
		track = track.Next(gatekeeper.Reading{At: at.Add(time.Duration(n) * time.Minute), Verdict: verdict, Active: []string{"a"}}, time.Minute)
	}
	require.Empty(t, track.Active)
}
