package rules

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

// recorder is a backend that evaluates one instant of recording rules: what they record at a question's
// instant, kept in a store of the question's own.
type recorder struct {
	*backend
	all    []Recording
	ranges []time.Duration // the steps of the ranges that were asked
}

func (r *recorder) WithRecordings(all []Recording) (Querier, error) {
	r.all = all
	return r, nil
}

func (r *recorder) QueryRange(_ context.Context, expr string, from, to time.Time, step time.Duration) (Matrix, error) {
	r.ranges = append(r.ranges, step)
	line := Series{Labels: map[string]string{"expr": expr}}
	for at := from; !at.After(to); at = at.Add(step) {
		line.Points = append(line.Points, Point{At: at, Value: gatekeeper.Float(at.Unix())})
	}
	return Matrix{Series: []Series{line}, Warnings: []string{"w"}}, nil
}

const recordedRatio = `
groups:
- name: g
  interval: 30s
  query_offset: 10s
  rules:
  - {record: requests, expr: 'sum by (version) (rate(req[1m]))'}
  - {record: ratio, expr: 'sum by (version) (rate(req{code=~"5.."}[1m])) / requests', labels: {team: shop}}
  - {record: good, expr: 'sum by (version) (rate(req{code=~"2.."}[1m])) / requests'}
  - {record: all, expr: 'sum(rate(req[1m]))'}
  - {alert: Bound, expr: 'ratio{version="${version}"} > 0.01', for: 1m}
  - {alert: Unbound, expr: 'ratio > 0.01'}
  - {alert: Good, expr: 'good{version="${version}"} < 0.99'}
  - {alert: Part, expr: 'ratio{version="${version}",pod="x"} > 0.01'}
- name: other
  rules:
  - {alert: Now, expr: 'avg_over_time(all[2m]) > 1000'}
`

func TestRulesSeeThroughWhatIsRecorded(t *testing.T) {
	b := bound(t, Bundle{File: "min_traffic: 'sum(requests{version=\"${version}\"}) > 1'\n" + recordedRatio})
	require.True(t, b.floor.versionBound)
	rule := map[string]*BoundRule{}
	for _, r := range b.Rules {
		rule[r.Name] = r
	}
	require.Equal(t, []bool{true, false, true, true, false}, []bool{
		rule["Bound"].VersionBound, rule["Unbound"].VersionBound, rule["Good"].VersionBound, rule["Part"].VersionBound, rule["Now"].VersionBound,
	})
	require.Equal(t, 2*time.Minute+20*time.Second, rule["Unbound"].Range, "the ratio's interval, the requests', and their offsets")
	require.Equal(t, 2*time.Minute+time.Minute+40*time.Second, rule["Now"].Range)
	require.Equal(t, `ratio{version="v2"} > 0.01`, rule["Bound"].Expr)
	require.Equal(t, []string{
		`count(rate(req{code=~"5..",version="v2"}[1m]))`, `count(rate(req{version="v2"}[1m]))`,
	}, rule["Bound"].probes)
	require.Equal(t, `(sum by (version) (rate(req{version="v2"}[1m])))`, "("+rule["Bound"].ratio.Denominator+")")
	require.Equal(t, `max(timestamp(req{code=~"5..",version="v2"}) or timestamp(req{version="v2"}))`, rule["Bound"].newest)
	require.Nil(t, rule["Part"].ratio, "of a part nothing can be told")
	require.Equal(t, []string{`count(ratio{pod="x",version="v2"})`}, rule["Part"].probes, "what is dropped is never there")
	require.Equal(t, []string{`sum(rate(req{version="v2"}[1m]))`, `sum(rate(req{code=~"5..",version="v2"}[1m]))`, `sum(rate(req{code=~"2..",version="v2"}[1m]))`}, b.signals)
}

// A recorded ratio without a value tells what the ratio itself would tell.
func TestJudgeOverWhatIsRecorded(t *testing.T) {
	for load, want := range map[string]map[string]gatekeeper.Verdict{
		fine:      {"Bound": gatekeeper.NoData, "Good": gatekeeper.NoData},
		noErrors:  {"Bound": gatekeeper.Healthy},
		allFail:   {"Good": gatekeeper.Lopsided},
		otherOnly: {"Bound": gatekeeper.NoData, "Part": gatekeeper.NoData},
	} {
		q := &recorder{backend: newBackend(t, load)} // which records nothing at all
		for _, r := range bound(t, Bundle{File: recordedRatio}).Rules {
			verdict, ok := want[r.Name]
			if load == fine {
				verdict, ok = gatekeeper.Healthy, r.Name == "Bound"
			}
			if ok {
				require.Equal(t, verdict, r.Judge(t.Context(), q, minute(8)).Verdict, "%s over %s", r.Name, load)
			}
		}
	}
}

func TestABackendThatCannotRecord(t *testing.T) {
	f, err := Load(Bundle{Name: "health.yml", File: recordedRatio})
	require.NoError(t, err)
	plain := newBackend(t, fine)
	err = f.CheckBackend(plain)
	require.ErrorContains(t, err, `health.yml:7: the health file has the recording rule "requests", and its backend can't evaluate it`)
	require.Contains(t, gatekeeper.HintOf(err), "a rule file of Prometheus itself")
	require.NoError(t, f.CheckBackend(&recorder{backend: plain}))
	b, err := f.Bind(Vars{Version: "v2"})
	require.NoError(t, err)
	reading := b.Rules[0].Judge(t.Context(), plain, minute(5))
	require.Equal(t, gatekeeper.NoAnswer, reading.Verdict)
	require.Equal(t, minute(5), reading.At)
	for _, r := range b.Rules[0].JudgeRange(t.Context(), plain, minute(4), minute(5), 30*time.Second) {
		require.Equal(t, gatekeeper.NoAnswer, r.Verdict)
	}
	_, known, err := b.Traffic(t.Context(), plain, minute(5))
	require.True(t, known)
	require.Error(t, err)
	_, err = b.Rules[0].Active(t.Context(), plain, minute(5))
	require.Error(t, err)
	require.NoError(t, (&File{}).CheckBackend(plain))
}

// What a rule's questions keep of query_offset already is not kept twice.
func TestOffsetsOfGroups(t *testing.T) {
	q := &recorder{backend: newBackend(t, fine)}
	b := bound(t, Bundle{File: recordedRatio})
	b.Rules[0].Judge(t.Context(), q, minute(5))
	require.Zero(t, q.all[0].QueryOffset)
	b.Rules[4].Judge(t.Context(), q, minute(5))
	require.Equal(t, 10*time.Second, q.all[0].QueryOffset)
	require.Equal(t, 10*time.Second, b.recordings[0].QueryOffset)
}

func TestWhatIsBehindAnExpression(t *testing.T) {
	f, err := Load(Bundle{File: recordedRatio})
	require.NoError(t, err)
	for expr, want := range map[string][]string{
		`ratio{version="v2"} > 0.01`: {"requests", "ratio"}, `all > 1`: {"all"}, `{__name__=~"goo.*"}`: {"requests", "good"}, `up`: nil, `(`: nil,
	} {
		var names []string
		for _, r := range f.Behind(expr) {
			names = append(names, r.Record)
		}
		require.Equal(t, want, names, expr)
	}
}

// A range is asked so that each of its instants has recorded samples of its own.
func TestRangesInStep(t *testing.T) {
	for _, c := range []struct {
		intervals []time.Duration
		step      time.Duration
		want      []time.Duration
	}{
		{[]time.Duration{15 * time.Second}, 15 * time.Second, []time.Duration{15 * time.Second}},
		{[]time.Duration{15 * time.Second, 5 * time.Second}, 30 * time.Second, []time.Duration{30 * time.Second}},
		{[]time.Duration{30 * time.Second}, 15 * time.Second, []time.Duration{30 * time.Second, 30 * time.Second}},
		{[]time.Duration{10 * time.Second, 15 * time.Second}, 10 * time.Second, []time.Duration{30 * time.Second, 30 * time.Second, 30 * time.Second}},
		{[]time.Duration{time.Hour}, time.Minute, []time.Duration{7 * time.Minute, 7 * time.Minute, 7 * time.Minute, 7 * time.Minute, 7 * time.Minute, 7 * time.Minute, 7 * time.Minute}},
	} {
		q := &recorder{}
		var all []Recording
		for _, i := range c.intervals {
			all = append(all, Recording{Record: "r", Expr: "x", Interval: i})
		}
		with, err := over(q, all, 0)
		require.NoError(t, err)
		m, err := with.QueryRange(t.Context(), "e", minute(0), minute(0).Add(6*c.step), c.step)
		require.NoError(t, err)
		require.Equal(t, c.want, q.ranges)
		require.Equal(t, []string{"w"}, m.Warnings)
		require.Len(t, m.Series, 1)
		require.Len(t, m.Series[0].Points, 7)
		for n, p := range m.Series[0].Points {
			require.Equal(t, minute(0).Add(time.Duration(n)*c.step), p.At)
		}
	}
}

func TestBadRecordingRules(t *testing.T) {
	for text, says := range map[string]string{
		"{record: a, expr: b}, {record: b, expr: up}":                                  `h.yml:1:46: error: the recording rule "a" uses "b", which is recorded further down, in line 1`,
		`{record: a, expr: sum(a)}`:                                                    `"a" uses "a", which is recorded by this very rule`,
		`{record: a, expr: '{__name__="a"}'}`:                                          `"a" uses "a"`,
		"{record: a, expr: up, labels: {l: x}}, {record: a, expr: up, labels: {l: x}}": `a{l="x"} is recorded in h.yml:1 already`,
		`{record: a, expr: 'up{version="${verson}"}'}`:                                 `unknown variable ${verson}`,
		`{record: a, expr: up, labels: {version: "${version}"}}`:                       `variable ${version} can't stand here`,
		`{record: a, expr: up, for: 1m}`:                                               `a recording rule can't have "for"`,
	} {
		_, err := Load(Bundle{Name: "h.yml", File: "groups: [{name: g, rules: [" + text + ", {alert: A, expr: up > 1}]}]"})
		require.ErrorContains(t, err, says)
	}
	many := "groups:\n- name: g\n  rules:\n  - {alert: A, expr: up > 1}\n"
	for n := range MaxRules {
		many += fmt.Sprintf("  - {record: r%d, expr: up}\n", n)
	}
	_, err := Load(Bundle{File: many})
	require.ErrorContains(t, err, "more than 300")
	f, err := Load(Bundle{File: `groups: [{name: g, rules: [{record: a, expr: 'up{version="${version}"}'}, {record: a, expr: up, labels: {l: x}}, {alert: A, expr: a > 1}]}]`})
	require.NoError(t, err)
	_, err = f.Bind(Vars{})
	require.ErrorContains(t, err, "no value for ${version} (in a)")
	b, err := f.Bind(Vars{Version: "2"})
	require.NoError(t, err)
	require.Equal(t, `up{version="2"}`, b.recordings[0].Expr)
}
