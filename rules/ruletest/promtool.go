package ruletest

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// Failure is one expectation that did not hold, or what kept a test from being run to its end.
type Failure struct {
	Place
	Says     string   `json:"says"` // one line
	Expected []string `json:"expected,omitempty"`
	Happened []string `json:"happened,omitempty"`

	missed *Expectation // of a release
}

// rulesHold runs the part of a test that promtool has.
func (t *Test) rulesHold(ctx context.Context, f *File) ([]Failure, error) {
	start := t.StartTimestamp.Time
	if start.IsZero() {
		start = time.Unix(0, 0).UTC()
	}
	s, err := newStore(f, t, start, samplesOfPromtool)
	if err != nil {
		return nil, err
	}
	defer s.close() //nolint:errcheck // a folder of temporary files; the test has its result
	e, err := newEvaluation(f, t, s)
	if err != nil {
		return []Failure{{Place: t.Place, Says: err.Error()}}, nil
	}
	var failures []Failure
	step, last := time.Duration(f.EvaluationInterval), time.Duration(t.lastEval())
	for since := time.Duration(0); since <= last; since += step {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		failed := e.at(ctx, start.Add(since), since)
		for _, err := range failed {
			failures = append(failures, Failure{Place: t.Place, Says: err.Error()})
		}
		if len(failed) > 0 {
			return failures, nil
		}
		for _, a := range t.Alerts {
			if at := time.Duration(a.EvalTime); since <= at && at < since+step {
				failures = append(failures, a.holds(e.firing(a.Alertname))...)
			}
		}
	}
	for _, one := range t.Exprs {
		failures = append(failures, one.holds(ctx, s, start, f.FuzzyCompare)...)
	}
	return failures, nil
}

// alertLine is an alert in one text, by which lists of alerts are compared.
type alertLine struct{ set, annotations labels.Labels }

func (a alertLine) String() string {
	if a.annotations.IsEmpty() {
		return a.set.String()
	}
	return a.set.String() + " annotations " + a.annotations.String()
}

func sorted(lines []alertLine) []string {
	slices.SortStableFunc(lines, func(a, b alertLine) int {
		return cmp.Or(labels.Compare(a.set, b.set), labels.Compare(a.annotations, b.annotations))
	})
	out := make([]string, len(lines))
	for i, one := range lines {
		out[i] = one.String()
	}
	return out
}

// holds compares the alerts that fire with those expected.
func (a AlertTest) holds(firing []rules.Alert) []Failure {
	var expected, happened []alertLine
	for _, one := range a.ExpAlerts {
		b := labels.NewScratchBuilder(len(one.Labels) + 1)
		for name, value := range one.Labels {
			if name != labels.AlertName {
				b.Add(name, value)
			}
		}
		b.Add(labels.AlertName, a.Alertname)
		b.Sort()
		expected = append(expected, alertLine{b.Labels(), labels.FromMap(one.Annotations)})
	}
	for _, one := range firing {
		happened = append(happened, alertLine{labels.FromMap(one.Labels), labels.FromMap(one.Annotations)})
	}
	want, got := sorted(expected), sorted(happened)
	if slices.Equal(want, got) {
		return nil
	}
	return []Failure{{
		Place: a.Place, Says: fmt.Sprintf("at %s: the firing alerts %s are not those expected", clock(a.EvalTime), a.Alertname),
		Expected: want, Happened: got,
	}}
}

// shown is one sample in a form that can be compared.
type shown struct {
	set  labels.Labels
	f    float64
	hist string
}

func (v shown) String() string {
	if v.hist != "" {
		return v.set.String() + " " + v.hist
	}
	return v.set.String() + " " + strconv.FormatFloat(v.f, 'g', -1, 64)
}

// same says whether two samples are one; with fuzzy, floats may differ in their last bit. As in
// promtool, NaN is nothing's equal.
func (v shown) same(o shown, fuzzy bool) bool {
	equal := v.f == o.f || fuzzy && (math.Nextafter(v.f, math.Inf(-1)) == o.f || math.Nextafter(v.f, math.Inf(1)) == o.f)
	return labels.Equal(v.set, o.set) && equal && v.hist == o.hist
}

// holds compares what an expression gives with what is expected.
func (one ExprTest) holds(ctx context.Context, s *store, start time.Time, fuzzy bool) []Failure {
	at := fmt.Sprintf("at %s: %s", clock(one.EvalTime), strings.Join(strings.Fields(one.Expr), " "))
	got, err := s.asked(false).query(ctx, one.Expr, start.Add(time.Duration(one.EvalTime)))
	if err != nil {
		return []Failure{{Place: one.Place, Says: fmt.Sprintf("%s: %v", at, err)}}
	}
	expected, happened := make([]shown, len(one.ExpSamples)), make([]shown, len(got))
	for i, e := range one.ExpSamples {
		expected[i] = shown{e.set, e.Value, e.hist}
	}
	for i, g := range got {
		happened[i] = shown{set: g.Metric, f: g.F}
		if g.H != nil {
			happened[i].hist = g.H.TestExpression()
		}
	}
	byLabels := func(a, b shown) int { return labels.Compare(a.set, b.set) }
	slices.SortStableFunc(expected, byLabels)
	slices.SortStableFunc(happened, byLabels)
	if slices.EqualFunc(expected, happened, func(a, b shown) bool { return a.same(b, fuzzy) }) {
		return nil
	}
	return []Failure{{Place: one.Place, Says: at + " gives something else", Expected: lines(expected), Happened: lines(happened)}}
}

func lines[T fmt.Stringer](all []T) []string {
	out := make([]string, len(all))
	for i, one := range all {
		out[i] = one.String()
	}
	return out
}
