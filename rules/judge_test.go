package rules

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

const (
	errorRatio   = `sum(rate(req{version="${version}",code=~"5.."}[1m])) / sum(rate(req{version="${version}"}[1m])) > 0.01`
	successRatio = `sum(rate(req{version="${version}",code=~"2.."}[1m])) / sum(rate(req{version="${version}"}[1m])) < 0.99`
	floorOf1     = `min_traffic: 'sum(rate(req{version="${version}"}[1m])) > 1'`

	fine      = "load 15s\n req{version=\"v2\",code=\"200\"} 0+150x40\n req{version=\"v2\",code=\"500\"} 0+0x40\n"
	failing   = "load 15s\n req{version=\"v2\",code=\"200\"} 0+150x40\n req{version=\"v2\",code=\"500\"} 0+30x40\n"
	noErrors  = "load 15s\n req{version=\"v2\",code=\"200\"} 0+150x40\n"
	allFail   = "load 15s\n req{version=\"v2\",code=\"500\"} 0+150x40\n"
	stopped   = "load 15s\n req{version=\"v2\",code=\"200\"} 0+150x10 1500x30\n req{version=\"v2\",code=\"500\"} 0+0x40\n"
	trickle   = "load 15s\n req{version=\"v2\",code=\"200\"} 0+2x40\n req{version=\"v2\",code=\"500\"} 0+1x40\n"
	otherOnly = "load 15s\n req{version=\"v1\",code=\"200\"} 0+150x40\n"
)

func TestJudge(t *testing.T) {
	tests := map[string]struct {
		load, expr, more, top string
		verdict               gatekeeper.Verdict
		detail                string
		queries               int
	}{
		"healthy":                             {load: fine, expr: errorRatio, verdict: gatekeeper.Healthy, queries: 1},
		"healthy above min_traffic":           {load: fine, expr: errorRatio, top: floorOf1, verdict: gatekeeper.Healthy, queries: 2},
		"unhealthy":                           {load: failing, expr: errorRatio, top: floorOf1, verdict: gatekeeper.Unhealthy, queries: 2},
		"T08 no error series at all":          {load: noErrors, expr: errorRatio, verdict: gatekeeper.Healthy, queries: 2},
		"T10 traffic stops":                   {load: stopped, expr: errorRatio, verdict: gatekeeper.NoTraffic, detail: "0/0", queries: 1},
		"T10 traffic stops, no error series":  {load: strings.Split(stopped, "\n req{version=\"v2\",code=\"500\"}")[0], expr: errorRatio, verdict: gatekeeper.NoTraffic, detail: "divided by is 0"},
		"T11 below min_traffic":               {load: trickle, expr: errorRatio, top: floorOf1, verdict: gatekeeper.NoTraffic, detail: "0.2, and min_traffic asks for > 1", queries: 2},
		"T11 without min_traffic":             {load: trickle, expr: errorRatio, verdict: gatekeeper.Unhealthy},
		"min_traffic as a number":             {load: fine, expr: errorRatio, top: `min_traffic: 'sum(rate(req{version="${version}"}[1m])) > bool 100'`, verdict: gatekeeper.NoTraffic},
		"no data":                             {load: otherOnly, expr: errorRatio, verdict: gatekeeper.NoData},
		"no data is told apart from too few":  {load: otherOnly, expr: errorRatio, top: floorOf1, verdict: gatekeeper.NoData},
		"lopsided":                            {load: allFail, expr: successRatio, verdict: gatekeeper.Lopsided, detail: "missing_success"},
		"lopsided, turned round":              {load: allFail, expr: "1 - " + strings.Replace(successRatio, "< 0.99", "> 0.01", 1), verdict: gatekeeper.Lopsided},
		"lopsided, number first":              {load: allFail, expr: "0.99 > " + strings.Replace(successRatio, " < 0.99", "", 1), verdict: gatekeeper.Lopsided},
		"lopsided counts as unhealthy":        {load: allFail, expr: successRatio, more: "    missing_success: unhealthy", verdict: gatekeeper.Unhealthy},
		"success ratio with successes":        {load: fine, expr: successRatio, verdict: gatekeeper.Healthy},
		"success ratio too low":               {load: failing, expr: successRatio, verdict: gatekeeper.Unhealthy},
		"sides that never match":              {load: fine, expr: `sum by (code) (rate(req{code=~"2.."}[1m])) / sum by (version) (rate(req[1m])) < 0.9`, verdict: gatekeeper.Healthy, detail: "do not match"},
		"a range too short for a rate":        {load: fine, expr: `sum(rate(req{version="${version}"}[15s])) > 5`, verdict: gatekeeper.NoData},
		"NaN is active":                       {load: stopped, expr: strings.Replace(errorRatio, "> 0.01", "!= 0", 1), verdict: gatekeeper.Unhealthy},
		"scalar":                              {load: fine, expr: "vector(1)", verdict: gatekeeper.Unhealthy},
		"number":                              {load: fine, expr: "1 > bool 2", verdict: gatekeeper.Unhealthy},
		"constants":                           {load: fine, expr: "vector(1) > 2", verdict: gatekeeper.Healthy},
		"bool makes every value active":       {load: fine, expr: strings.Replace(errorRatio, "> 0.01", "> bool 0.01", 1), verdict: gatekeeper.Unhealthy},
		"bool compared again":                 {load: fine, expr: "(" + strings.Replace(errorRatio, "> 0.01", "> bool 0.01", 1) + ") == 1", verdict: gatekeeper.Healthy},
		"guard holds back":                    {load: trickle, expr: errorRatio + " and on() sum(rate(req[1m])) > 1", verdict: gatekeeper.Healthy, detail: "guard", queries: 2},
		"guard lets through":                  {load: failing, expr: errorRatio + " and on() sum(rate(req[1m])) > 1", verdict: gatekeeper.Unhealthy, queries: 2},
		"guarded and healthy":                 {load: fine, expr: errorRatio + " and on() sum(rate(req[1m])) > 1", verdict: gatekeeper.Healthy, queries: 1},
		"guard on the left":                   {load: failing, expr: "sum(rate(req[1m])) and on() (" + errorRatio + ")", verdict: gatekeeper.Unhealthy},
		"unless":                              {load: failing, expr: errorRatio + " unless on() vector(1)", verdict: gatekeeper.Healthy},
		"two vectors":                         {load: failing, expr: `rate(req{code="500"}[1m]) > on(version) 0.1 * rate(req{code="200"}[1m])`, verdict: gatekeeper.Unhealthy, queries: 2},
		"two vectors, healthy":                {load: fine, expr: `rate(req{code="500"}[1m]) > on(version) 0.1 * rate(req{code="200"}[1m])`, verdict: gatekeeper.Healthy, queries: 2},
		"chained":                             {load: failing, expr: errorRatio + " < 0.1", verdict: gatekeeper.Healthy, queries: 1},
		"absent, and there":                   {load: fine, expr: `absent(req{version="${version}"})`, verdict: gatekeeper.Healthy},
		"absent":                              {load: otherOnly, expr: `absent(req{version="${version}"})`, verdict: gatekeeper.Unhealthy},
		"absent_over_time, and there":         {load: fine, expr: `absent_over_time(req{version="${version}"}[5m])`, verdict: gatekeeper.Healthy},
		"comparison inside":                   {load: fine, expr: `count(req > 1e9) > 0`, verdict: gatekeeper.Healthy},
		"or: one side bad":                    {load: failing, expr: `(` + errorRatio + `) or sum(rate(req[1m])) > 1e9`, verdict: gatekeeper.Unhealthy},
		"or: no side bad":                     {load: fine, expr: `(` + errorRatio + `) or sum(rate(req[1m])) > 1e9`, verdict: gatekeeper.Healthy},
		"or: nothing there":                   {load: "load 15s\n other 1x40", expr: `(` + errorRatio + `) or sum(rate(req[1m])) > 1e9`, verdict: gatekeeper.NoData},
		"subquery":                            {load: fine, expr: `max_over_time(sum(rate(req{code="500"}[1m]))[2m:15s]) > 1`, verdict: gatekeeper.Healthy},
		"subquery without data":               {load: otherOnly, expr: `max_over_time(rate(req{version="v2"}[1m])[2m:15s]) > 1`, verdict: gatekeeper.NoData},
		"a rule's label makes two alerts one": {load: failing, expr: `rate(req[1m]) > 0`, more: "    labels: {code: all}", verdict: gatekeeper.NoAnswer, detail: "two samples are one alert"},
		"many to many":                        {load: failing, expr: `rate(req[1m]) > on(version) rate(req[1m])`, verdict: gatekeeper.NoAnswer, detail: "found duplicate series"},
		"offset finds nothing":                {load: fine, expr: `sum(rate(req[1m] offset 1h)) > 1`, verdict: gatekeeper.NoData},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t, test.load)
			r := oneRule(t, test.expr, test.more, test.top)
			got := r.Judge(t.Context(), b, minute(5))
			require.Equal(t, test.verdict, got.Verdict, "%+v", got)
			require.Contains(t, got.Detail, test.detail)
			require.Equal(t, minute(5), got.At)
			require.Equal(t, test.verdict == gatekeeper.Unhealthy, len(got.Active) > 0)
			if asked := b.queries(); test.queries > 0 {
				require.Equal(t, test.queries, asked)
			}
			ranged := r.JudgeRange(t.Context(), b, minute(4), minute(6), 30*time.Second)
			require.Len(t, ranged, 5)
			require.Equal(t, got.Verdict, ranged[2].Verdict)
			require.Equal(t, got.Active, ranged[2].Active)
		})
	}
}

func TestJudgeEvidence(t *testing.T) {
	b := newBackend(t, failing)
	r := oneRule(t, errorRatio, `
    labels: {severity: critical, v: "{{ $value | humanize }}"}
    annotations: {description: no, summary: "{{ $value | humanizePercentage }} of {{ $labels.version }} in {{ query \"up\" }}"}`, "")
	got := r.Judge(t.Context(), b, minute(5))
	require.Equal(t, "> 0.01", got.Limit)
	require.InDelta(t, 1.0/6, float64(got.Operand[0].Value), 1e-9)
	require.Equal(t, got.Samples, got.Operand)
	require.Equal(t, 1, got.Count)
	require.Equal(t, []string{`{alertname="A", severity="critical", v="166.7m"}`}, got.Active)
	require.Equal(t, "16.67% of  in []", got.Summary)

	r = oneRule(t, errorRatio, `    annotations: {summary: "{{ $value | humanizePercentage }} bad"}`, "")
	require.Equal(t, "16.67% bad", r.Judge(t.Context(), b, minute(5)).Summary)

	healthy := oneRule(t, errorRatio, "", "").Judge(t.Context(), newBackend(t, fine), minute(5))
	require.Equal(t, []gatekeeper.Sample{{Value: 0}}, healthy.Operand, "a healthy rule has evidence too")
	require.Equal(t, "> 0.01", healthy.Limit)
	require.Empty(t, healthy.Samples)
}

func TestJudgeLopsidedAsUnhealthy(t *testing.T) {
	r := oneRule(t, strings.ReplaceAll(successRatio, "sum(", "sum by (version) ("), "    missing_success: unhealthy", "")
	got := r.Judge(t.Context(), newBackend(t, allFail), minute(5))
	require.Equal(t, []string{`{alertname="A", version="v2"}`}, got.Active, "the identity that a low ratio has")
	require.Equal(t, []gatekeeper.Sample{{Labels: map[string]string{"version": "v2"}, Value: 0}}, got.Samples)
	low := r.Judge(t.Context(), newBackend(t, failing), minute(5))
	require.Equal(t, got.Active, low.Active)
}

func TestJudgeManySeries(t *testing.T) {
	var load strings.Builder
	load.WriteString("load 15s\n")
	long := strings.Repeat("x", 2*gatekeeper.MaxEvidenceText)
	for i := range 300 {
		load.WriteString(` load_now{pod="p` + string(rune('a'+i%26)) + strings.Repeat("y", i/26) + `",why="` + long + `"} ` + "1x40\n")
	}
	load.WriteString(" load_now{pod=\"worst\"} 9x40\n load_now{pod=\"nan\"} " + strings.Repeat("NaN ", 40) + "\n")
	got := oneRule(t, "load_now != 0", `    annotations: {summary: "{{ $labels.pod }}"}`, "").Judge(t.Context(), newBackend(t, load.String()), minute(5))
	require.Equal(t, gatekeeper.Unhealthy, got.Verdict)
	require.Equal(t, 302, got.Count)
	require.Len(t, got.Active, 302)
	require.Len(t, got.Samples, gatekeeper.MaxEvidenceSamples)
	require.Len(t, got.Operand, gatekeeper.MaxEvidenceSamples)
	require.Equal(t, "worst", got.Summary)
	require.Equal(t, "worst", got.Samples[0].Labels["pod"])
	require.LessOrEqual(t, len(got.Samples[1].Labels["why"]), gatekeeper.MaxEvidenceText)
	require.Contains(t, got.Active[301], `pod="nan"`, "NaN is the least telling")
	require.Less(t, len(got.Active[1]), 2*gatekeeper.MaxEvidenceText)
}

func TestJudgeLabelChangeIsANewAlert(t *testing.T) {
	b := newBackend(t, "load 15s\n restarts{pod=\"a\"} 5x20 _x20\n restarts{pod=\"b\"} _x20 5x20\n")
	r := oneRule(t, "last_over_time(restarts[15s]) > 3", "    for: 2m", "")
	first, second := r.Judge(t.Context(), b, minute(4)), r.Judge(t.Context(), b, minute(7))
	require.Equal(t, []string{`{alertname="A", pod="a"}`}, first.Active)
	require.Equal(t, []string{`{alertname="A", pod="b"}`}, second.Active)
}

func TestJudgeQueryOffset(t *testing.T) {
	b := newBackend(t, "load 15s\n bad 0x20 1x20\n")
	file := "groups:\n- name: g\n  query_offset: 1m\n  rules:\n  - {alert: A, expr: bad > 0}\n"
	r := bound(t, Bundle{File: file}).Rules[0]
	require.Equal(t, gatekeeper.Healthy, r.Judge(t.Context(), b, minute(5.5)).Verdict)
	require.Equal(t, gatekeeper.Unhealthy, r.Judge(t.Context(), b, minute(6.5)).Verdict)
	var verdicts []gatekeeper.Verdict
	for _, one := range r.JudgeRange(t.Context(), b, minute(5.5), minute(6.5), time.Minute) {
		verdicts = append(verdicts, one.Verdict)
	}
	require.Equal(t, []gatekeeper.Verdict{gatekeeper.Healthy, gatekeeper.Unhealthy}, verdicts)
}

// scripted answers by a function; its range answers are those of the instants.
type scripted func(ctx context.Context, expr string) (Vector, error)

func (s scripted) Query(ctx context.Context, expr string, _ time.Time) (Vector, error) {
	return s(ctx, expr)
}

func (s scripted) QueryRange(ctx context.Context, expr string, from, to time.Time, step time.Duration) (Matrix, error) {
	v, err := s(ctx, expr)
	m := Matrix{Warnings: v.Warnings}
	for _, one := range v.Samples {
		line := Series{Labels: one.Labels}
		for at := from; !at.After(to); at = at.Add(step) {
			line.Points = append(line.Points, Point{At: at, Value: one.Value})
		}
		m.Series = append(m.Series, line)
	}
	return m, err
}

func TestJudgeNoAnswer(t *testing.T) {
	good := Vector{Samples: []gatekeeper.Sample{{Value: 5}}}
	tests := map[string]struct {
		answer scripted
		detail string
	}{
		"error": {func(context.Context, string) (Vector, error) { return Vector{}, errors.New("backend is down") }, "backend is down"},
		"partial": {func(context.Context, string) (Vector, error) {
			return Vector{Samples: good.Samples, Warnings: []string{"one store is away"}}, nil
		}, "partial answer: one store is away"},
		"min_traffic fails": {func(_ context.Context, expr string) (Vector, error) {
			if strings.Contains(expr, "req") {
				return Vector{}, errors.New("refused")
			}
			return good, nil
		}, "min_traffic: refused"},
		"presence fails": {func(_ context.Context, expr string) (Vector, error) {
			if strings.Contains(expr, "count") {
				return Vector{}, errors.New("refused")
			}
			return Vector{}, nil
		}, "refused"},
		"long message": {func(context.Context, string) (Vector, error) { return Vector{}, errors.New(strings.Repeat("ü", 5000)) }, "ü"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := oneRule(t, "latency > 1", "", `min_traffic: 'sum(rate(req[1m])) > 0'`)
			for _, got := range append(r.JudgeRange(t.Context(), test.answer, minute(1), minute(2), time.Minute), r.Judge(t.Context(), test.answer, minute(1))) {
				require.Equal(t, gatekeeper.NoAnswer, got.Verdict)
				require.Contains(t, got.Detail, test.detail)
				require.LessOrEqual(t, len(got.Detail), gatekeeper.MaxEvidenceText)
				require.Empty(t, got.Active)
			}
		})
	}
}

func TestJudgeDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs := scripted(func(ctx context.Context, _ string) (Vector, error) {
			<-ctx.Done()
			return Vector{}, ctx.Err()
		})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		got := oneRule(t, "a > b", "", "min_traffic: c").Judge(ctx, hangs, minute(1))
		require.Equal(t, gatekeeper.NoAnswer, got.Verdict)
		require.Contains(t, got.Detail, "no answer in time")
		require.Equal(t, gatekeeper.Duration(10*time.Second), got.Took)
	})
}

func TestJudgeRange(t *testing.T) {
	t.Run("asks once for each expression", func(t *testing.T) {
		b := newBackend(t, fine)
		readings := oneRule(t, errorRatio, "", floorOf1).JudgeRange(t.Context(), b, minute(2), minute(8), 15*time.Second)
		require.Len(t, readings, 25)
		require.Equal(t, 2, b.queries())
	})
	t.Run("a hole has no data", func(t *testing.T) {
		b := newBackend(t, "load 15s\n bad 1x8 _x8 1x8\n")
		got := map[gatekeeper.Verdict]int{}
		for _, r := range oneRule(t, "last_over_time(bad[30s]) > 0", "", "").JudgeRange(t.Context(), b, minute(0.25), minute(6), 15*time.Second) {
			got[r.Verdict]++
		}
		require.Equal(t, map[gatekeeper.Verdict]int{gatekeeper.Unhealthy: 17, gatekeeper.NoData: 7}, got)
	})
	t.Run("@ end() is asked instant by instant", func(t *testing.T) {
		b := newBackend(t, "load 15s\n bad 0x8 1x32\n")
		r := oneRule(t, "bad @ end() > 0", "", "")
		readings := r.JudgeRange(t.Context(), b, minute(1), minute(5), 2*time.Minute)
		require.Equal(t, gatekeeper.Healthy, readings[0].Verdict)
		require.Equal(t, gatekeeper.Unhealthy, readings[2].Verdict)
	})
	t.Run("nothing to do", func(t *testing.T) {
		r := oneRule(t, "bad > 0", "", "")
		require.Empty(t, r.JudgeRange(t.Context(), nil, minute(2), minute(1), time.Second))
		require.Empty(t, r.JudgeRange(t.Context(), nil, minute(1), minute(2), 0))
	})
}

// What is compared here must be what Prometheus would have compared.
func TestOperandAgreesWithPrometheus(t *testing.T) {
	b := newBackend(t, "load 15s\n x{i=\"a\"} -1x40\n x{i=\"b\"} 0x40\n x{i=\"c\"} 0.5x40\n x{i=\"d\"} "+strings.Repeat("NaN ", 40)+"\n x{i=\"e\"} "+strings.Repeat("Inf ", 40)+"\n y{i=\"c\"} 1x40\n y{i=\"a\"} 1x40\n")
	for _, expr := range []string{
		"x > 0", "x >= 0", "x < 0", "x <= 0", "x == 0", "x != 0", "0 < x", "0.5 <= x", "0 != x", "x > -(2 - 1)", "x > 2 ^ -1 < 9",
		"(x > 0) < 1", "x > 0 and y", "y and x > 0", "(y and x < 0) < 2", "x > 0 unless y", "(x > 0 and y) < 0.7", "x > bool 0", "(x > bool 0) == 1",
		"(x > bool 0) != 1", "(x > 0) > bool 1", "x > on(i) y", "x < on(i) y > -5", "(x < on(i) y) > -5 and y", "x > scalar(sum(y))", "x > vector(0)", "1 > bool 0",
		"x > 0 or y > 0", "-x > 0", "x * 2 > 0", "(y unless x > 0) > 0", "((x)) > ((0))",
	} {
		t.Run(expr, func(t *testing.T) {
			ast, err := parsed(expr)
			require.NoError(t, err)
			active, _, err := newCondition(ast).ask(t.Context(), b, minute(2))
			require.NoError(t, err)
			want, err := b.Query(t.Context(), expr, minute(2))
			require.NoError(t, err)
			require.ElementsMatch(t, texts(want.Samples), texts(active))
		})
	}
}

func texts(samples []gatekeeper.Sample) []string {
	var all []string
	for _, s := range samples {
		if math.IsNaN(float64(s.Value)) {
			s.Value = -42
		}
		all = append(all, identity(s.Labels)+s.Value.String())
	}
	return all
}

func TestTraffic(t *testing.T) {
	unboundRule := "errors > 1"
	tests := map[string]struct {
		load, expr, top string
		seen, known     bool
	}{
		"traffic":                    {load: fine, expr: errorRatio, seen: true, known: true},
		"no traffic":                 {load: stopped, expr: errorRatio, known: true},
		"the old version only":       {load: otherOnly, expr: errorRatio, known: true},
		"failing traffic":            {load: allFail, expr: successRatio, seen: true, known: true},
		"min_traffic decides":        {load: trickle, expr: errorRatio, top: floorOf1, known: true},
		"min_traffic alone":          {load: fine, expr: unboundRule, top: floorOf1, seen: true, known: true},
		"unbound":                    {load: fine, expr: unboundRule},
		"unbound min_traffic":        {load: fine, expr: errorRatio, top: `min_traffic: 'sum(rate(req[1m])) > 1e9'`, seen: true, known: true},
		"a gauge":                    {load: fine, expr: `req{version="${version}"} > 1e9`, seen: true, known: true},
		"a gauge of nothing":         {load: otherOnly, expr: `req{version="${version}"} > 1e9`, known: true},
		"a rate beside a gauge":      {load: stopped, expr: `rate(req{version="${version}"}[1m]) > on() group(req{version="${version}"})`, known: true},
		"not this version's":         {load: fine, expr: `req{version!="${version}"} > 1`},
		"the previous version's":     {load: fine, expr: `req{version="${previous_version}"} > 1`},
		"one of two bound in a rule": {load: fine, expr: errorRatio + ` and on() up{job="x"} == 1`, seen: true, known: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := bound(t, Bundle{File: test.top + "\ngroups: [{name: g, rules: [{alert: A, expr: '" + test.expr + "'}]}]"})
			seen, known, err := b.Traffic(t.Context(), newBackend(t, test.load), minute(8))
			require.NoError(t, err)
			require.Equal(t, test.seen, seen)
			require.Equal(t, test.known, known)
		})
	}
	t.Run("error", func(t *testing.T) {
		b := bound(t, Bundle{File: "groups: [{name: g, rules: [{alert: A, expr: '" + errorRatio + "'}]}]"})
		_, known, err := b.Traffic(t.Context(), scripted(func(context.Context, string) (Vector, error) { return Vector{}, errors.New("away") }), minute(8))
		require.ErrorContains(t, err, "away")
		require.True(t, known)
	})
}

// What fails is often written as all less what succeeds. Where nothing succeeds there is nothing to
// subtract, and the expression is as empty as on the best of days.
func TestJudgeADifferenceWithoutItsPart(t *testing.T) {
	const expr = `(sum(rate(req{version="${version}"}[1m])) - sum(rate(req{version="${version}", code="200"}[1m]))) / sum(rate(req{version="${version}"}[1m])) > 0.5`
	all := newBackend(t, "load 15s\n  req{version=\"v2\", code=\"500\"} 0+10x40\n")
	got := oneRule(t, expr, "", "").Judge(t.Context(), all, minute(5))
	require.Equal(t, gatekeeper.Lopsided, got.Verdict)
	require.Contains(t, got.Detail, "what is subtracted has no series at all")
	got = oneRule(t, expr, "    missing_success: unhealthy\n", "").Judge(t.Context(), all, minute(5))
	require.Equal(t, gatekeeper.Unhealthy, got.Verdict)
	require.NotEmpty(t, got.Active)

	some := newBackend(t, "load 15s\n  req{version=\"v2\", code=\"200\"} 0+10x40\n")
	require.Equal(t, gatekeeper.Healthy, oneRule(t, expr, "", "").Judge(t.Context(), some, minute(5)).Verdict)
	idle := newBackend(t, "load 15s\n  req{version=\"v2\", code=\"500\"} 7x40\n")
	require.Equal(t, gatekeeper.NoTraffic, oneRule(t, expr, "", "").Judge(t.Context(), idle, minute(5)).Verdict)
	none := newBackend(t, "load 15s\n  req{version=\"v1\", code=\"500\"} 0+10x40\n")
	require.Equal(t, gatekeeper.NoData, oneRule(t, expr, "", "").Judge(t.Context(), none, minute(5)).Verdict)
}
