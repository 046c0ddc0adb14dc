package tsdb

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

const ofARelease = `
min_traffic: sum(requests{version="${version}"}) > 1
groups:
- name: g
  rules:
  - {record: requests, expr: 'sum by (version) (rate(req_total[1m]))'}
  - {record: ratio, expr: 'sum by (version) (rate(req_total{code="500"}[1m])) / requests'}
  - {alert: Errors, expr: 'ratio{version="${version}"} > 0.1'}
  - {alert: Lasting, expr: 'min_over_time(ratio{version="${version}"}[2m]) > 0.1'}
`

// filled is a store with the counters of two versions, of which the second is bad.
func filled(t *testing.T, now time.Time) *Store {
	s := open(t, Config{Path: t.TempDir()}, nil)
	app := s.db.Appender(t.Context())
	for i := range 40 {
		for series, each := range map[[2]string]float64{{"v1", "200"}: 150, {"v2", "200"}: 100, {"v2", "500"}: 50} {
			set := labels.FromStrings("__name__", "req_total", "version", series[0], "code", series[1])
			_, err := app.Append(0, set, now.Add(time.Duration(i-40)*15*time.Second).UnixMilli(), each*float64(i))
			require.NoError(t, err)
		}
	}
	require.NoError(t, app.Commit())
	return s
}

func bind(t *testing.T, text, version string) []*rules.BoundRule {
	f, err := rules.Load(rules.Bundle{File: text})
	require.NoError(t, err)
	b, err := f.Bind(rules.Vars{Version: version})
	require.NoError(t, err)
	return b.Rules
}

// Releases that are open at once have recorded series of their own, from before they were opened.
func TestRecordingRulesOfReleases(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	s := filled(t, now)
	other := strings.Replace(ofARelease, `{code="500"}`, `{code="404"}`, 1)
	for version, want := range map[string]gatekeeper.Verdict{"v1": gatekeeper.Healthy, "v2": gatekeeper.Unhealthy, "v3": gatekeeper.NoData} {
		for _, r := range bind(t, ofARelease, version) {
			require.Equal(t, want, r.Judge(t.Context(), s, now).Verdict, "%s of %s", r.Name, version)
			for _, reading := range r.JudgeRange(t.Context(), s, now.Add(-time.Minute), now, 15*time.Second) {
				require.Equal(t, want, reading.Verdict, "%s of %s: %s", r.Name, version, reading.Detail)
			}
		}
		require.NotEqual(t, gatekeeper.Unhealthy, bind(t, other, version)[0].Judge(t.Context(), s, now).Verdict, "another file's ratio is another")
	}
	v, err := s.Query(t.Context(), "ratio", now)
	require.NoError(t, err)
	require.Empty(t, v.Samples, "nothing is written")
}

// What a rule can't record is the answer's error, and says which rule.
func TestRecordingRuleThatFails(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	s := filled(t, now)
	for expr, says := range map[string]string{
		`req_total * on () req_total`:       "recording rule requests (health file:8): ",
		`sum(sum_over_time(requests2[7d]))`: "at more than 50000 instants",
	} {
		text := strings.Replace(ofARelease, "sum by (version) (rate(req_total[1m]))", expr, 1)
		text = strings.Replace(text, "  - {record: requests,", "  - {record: requests2, expr: vector(1)}\n  - {record: requests,", 1)
		r := bind(t, strings.Replace(text, "- name: g\n", "- name: g\n  interval: 1s\n", 1), "v2")[0]
		reading := r.Judge(t.Context(), s, now)
		require.Equal(t, gatekeeper.NoAnswer, reading.Verdict)
		require.Contains(t, reading.Detail, says)
	}
}

// A long outage is asked again as it would have been asked in time: neither all of its slots together,
// nor one instant at which a rule fails, make the others ones without an answer.
func TestRangesOverRecordedSeries(t *testing.T) {
	now := time.Now().Truncate(time.Minute)
	s := filled(t, now)
	far := strings.Replace(ofARelease, `min_over_time(ratio{version="${version}"}[2m]) > 0.1`, `count_over_time(requests{version="${version}"}[820m]) > 1`, 1)
	r := bind(t, strings.Replace(far, "- name: g\n", "- name: g\n  interval: 1s\n", 1), "v2")[1]
	readings := r.JudgeRange(t.Context(), s, now.Add(-20*time.Minute), now, time.Second)
	require.Len(t, readings, 1201)
	for _, at := range []int{0, 600, 1199, 1200} {
		in := r.Judge(t.Context(), s, readings[at].At)
		require.NotEqual(t, gatekeeper.NoAnswer, in.Verdict, in.Detail)
		require.Equal(t, in.Verdict, readings[at].Verdict, readings[at].Detail)
	}
	bad := now.Add(-2 * time.Minute).Unix()
	once := strings.Replace(ofARelease, "sum by (version) (rate(req_total[1m]))",
		fmt.Sprintf("sum by (version) (rate(req_total[1m])) * on () group_left () (sum(vector(1)) or (req_total and on () vector(time()) == %d))", bad), 1)
	r = bind(t, once, "v2")[0]
	for _, reading := range r.JudgeRange(t.Context(), s, now.Add(-4*time.Minute), now, 15*time.Second) {
		in := r.Judge(t.Context(), s, reading.At)
		require.Equal(t, reading.At.Unix() == bad, in.Verdict == gatekeeper.NoAnswer, in.Detail)
		require.Equal(t, in.Verdict, reading.Verdict, reading.Detail)
	}
}

// Of rules that use each other the one that fails is named, and why: what names them all is cut before
// it comes to that.
func TestWhichRecordingRuleFails(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	text := strings.Replace(ofARelease, "sum by (version) (rate(req_total[1m]))", "req_total * on () req_total", 1)
	deep := "ratio"
	for range 40 {
		text = strings.Replace(text, "  - {alert: Errors", "  - {record: "+deep+"x, expr: "+deep+" + 0}\n  - {alert: Errors", 1)
		deep += "x"
	}
	r := bind(t, strings.Replace(text, "expr: 'ratio{", "expr: '"+deep+"{", 1), "v2")[0]
	reading := r.Judge(t.Context(), filled(t, now), now)
	require.Equal(t, gatekeeper.NoAnswer, reading.Verdict)
	require.Contains(t, reading.Detail, "recording rule requests (health file:6): ")
	require.Contains(t, reading.Detail, "found duplicate series")
	require.NotContains(t, reading.Detail, "recording rule ratiox")
}
