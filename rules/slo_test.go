package rules

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

const sloFile = `
window: 30m
slos:
  - name: Availability
    objective: 99.9%
    errors: req{service="${service}", version="${version}", code=~"5.."}
    total: req{service="${service}", version="${version}"}
    labels: {severity: critical}
`

func TestSLOBecomesRules(t *testing.T) {
	f, err := Load(Bundle{File: sloFile + `
  - name: Latency
    objective: 0.99
    budget: 2%
    period: 7d
    interval: 5s
    errors: |
      took_count{version="${version}"} # all of them
        - took_bucket{version="${version}", le="0.3"}
    total: (took_count{version="${version}"})
`})
	require.NoError(t, err)
	var out strings.Builder
	for _, r := range f.Rules {
		fmt.Fprintf(&out, "%s %s every %s for %s, %d routes %s\n%s\n%v\n%s\n\n",
			r.SLO, r.Name, r.Interval, r.For, len(r.Labels), r.Response.Do, r.Expr, r.Labels, r.Annotations["summary"])
		require.True(t, r.VersionBound)
	}
	for _, s := range f.SLOs {
		for _, b := range s.Burns {
			fmt.Fprintf(&out, "%s: %s %s share %.4g rate %.4g ratio %.4g\n", b.Rule, b.Long, b.Short, b.Share, b.Rate, b.Ratio)
		}
	}
	golden(t, "testdata/slo/rules.golden", out.String())
}

func TestSLOOfAShortWindowIsOneRule(t *testing.T) {
	f, err := Load(Bundle{File: strings.Replace(sloFile, "30m", "10m", 1)})
	require.NoError(t, err)
	require.Len(t, f.Rules, 1)
	f, err = Load(Bundle{File: strings.Replace(sloFile, "30m", "1d", 1)})
	require.NoError(t, err)
	require.Equal(t, time.Hour, f.SLOs[0].Burns[0].Long, "of a long window any hour is measured")
}

func TestSLOTellsWhatIsWrong(t *testing.T) {
	for name, c := range map[string][2]string{
		"rate":      {`code=~"5.."}`, `code=~"5.."} * 2`},
		"ratio":     {"99.9%", "999"},
		"all":       {"99.9%", "100%"},
		"function":  {`total: req{service="${service}", version="${version}"}`, `total: sum(rate(req[5m]))`},
		"no total":  {`    total: req{service="${service}", version="${version}"}` + "\n", ""},
		"stray":     {"name: Availability", "name: Availability ${version}"},
		"duplicate": {"slos:\n", "slos:\n  - {name: Availability, objective: 99%, errors: a, total: b}\n"},
	} {
		t.Run(name, func(t *testing.T) {
			b := Bundle{Name: "health.yml", File: strings.Replace(sloFile, c[0], c[1], 1)}
			require.NotEqual(t, sloFile, b.File)
			_, err := Load(b)
			var problems Problems
			require.ErrorAs(t, err, &problems)
			golden(t, "testdata/slo/"+strings.ReplaceAll(name, " ", "_")+".golden", rendered(t, problems, b))
		})
	}
}

// burning is a version that begins at born, with 100 requests a second of which a share fails.
func burning(born time.Duration, share float64) string {
	var good, bad strings.Builder
	for at := time.Duration(0); at <= time.Hour; at += 15 * time.Second {
		if at < born {
			good.WriteString(" _")
			bad.WriteString(" _")
			continue
		}
		requests := 100 * (at - born).Seconds()
		fmt.Fprintf(&good, " %g", requests*(1-share))
		fmt.Fprintf(&bad, " %g", requests*share)
	}
	const labels = `service="shop", version="v2"`
	return fmt.Sprintf("load 15s\n  req{%s, code=\"200\"}%s\n  req{%s, code=\"500\"}%s\n", labels, good.String(), labels, bad.String())
}

// decidedAfter gives when the first of the rules has been unhealthy for its `for`.
func decidedAfter(t *testing.T, b *Bound, q Querier, born, window time.Duration) (rule string, after time.Duration) {
	t.Helper()
	first := born + window
	for _, r := range b.Rules {
		track := gatekeeper.Track{For: gatekeeper.Duration(r.For)}
		for _, reading := range r.JudgeRange(t.Context(), q, epoch.Add(born), epoch.Add(born+window), r.Interval) {
			if track = track.Next(reading, r.Interval); track.Full(reading.At) {
				if at := reading.At.Sub(epoch); at < first {
					rule, first = r.Name, at
				}
				break
			}
		}
	}
	return rule, first - born
}

// The arithmetic of Burn, against Prometheus's engine, on a version that has just begun.
func TestSLODecidesWhenTheBudgetIsSpent(t *testing.T) {
	const born = 20 * time.Minute
	b := bound(t, Bundle{File: sloFile})
	for _, c := range []struct {
		share float64
		rule  string
	}{
		{0.0005, ""},
		{0.01, ""},
		{0.02, "AvailabilitySlowBurn"},
		{0.03, "AvailabilitySlowBurn"},
		{0.05, "AvailabilityFastBurn"},
		{0.1, "AvailabilityFastBurn"},
		{0.3, "AvailabilitySlowBurn"},
		{1, "AvailabilitySlowBurn"}, // younger than the short window
	} {
		t.Run(fmt.Sprint(c.share), func(t *testing.T) {
			rule, after := decidedAfter(t, b, newBackend(t, burning(born, c.share)), born, 30*time.Minute)
			require.Equal(t, c.rule, rule)
			if rule == "" {
				return
			}
			f, err := Load(Bundle{File: sloFile})
			require.NoError(t, err)
			for _, burn := range f.SLOs[0].Burns {
				if burn.Rule == rule {
					expected := time.Duration(float64(burn.Long)*burn.Ratio/c.share) + 30*time.Second
					require.LessOrEqual(t, after, expected+45*time.Second)
					require.GreaterOrEqual(t, after, expected-burn.Short)
				}
			}
		})
	}
}

// A version that fails every request has no series of successes, and perhaps of one kind of errors
// only: what is added and subtracted counts all the same.
func TestSLOOfSeveralCounters(t *testing.T) {
	const born = 20 * time.Minute
	of := func(more string) string { return `req{service="${service}", version="${version}"` + more + `}` }
	only := func(code string) string {
		return "load 15s\n  req{service=\"shop\", version=\"v2\", code=\"" + code + "\"} 0+1500x240\n"
	}
	bad, good := newBackend(t, only("500")), newBackend(t, only("200"))
	for name, slo := range map[string]string{
		"all but the good":    "errors: " + of("") + " - " + of(`, code=~"2.."`) + "\n    total: " + of(""),
		"several errors":      "errors: " + of(`, code="500"`) + " + " + of(`, code="501"`) + " + " + of(`, code="502"`) + "\n    total: " + of(""),
		"a total of the two":  "errors: " + of(`, code="500"`) + "\n    total: " + of(`, code="200"`) + " + " + of(`, code="500"`),
		"the two the others'": "errors: " + of(`, code="500"`) + " + " + of(`, code="501"`) + "\n    total: " + of(`, code="501"`) + " + " + of(`, code="500"`),
	} {
		t.Run(name, func(t *testing.T) {
			b := bound(t, Bundle{File: "window: 30m\nslos:\n  - name: Availability\n    objective: 99.9%\n    " + slo + "\n"})
			for _, r := range b.Rules {
				require.True(t, r.VersionBound)
			}
			rule, _ := decidedAfter(t, b, bad, born, 30*time.Minute)
			require.NotEmpty(t, rule)
			rule, _ = decidedAfter(t, b, good, born, 30*time.Minute)
			require.Empty(t, rule)
		})
	}
}

// A burst that is over is not decided on, though it spent much: the short window is clean again.
func TestSLOForgivesWhatIsOver(t *testing.T) {
	b := bound(t, Bundle{File: sloFile})
	load := "load 15s\n  req{service=\"shop\", version=\"v2\", code=\"200\"} 0+1500x240\n" +
		"  req{service=\"shop\", version=\"v2\", code=\"500\"} 0x80 0+1000x2 2000x158\n"
	rule, _ := decidedAfter(t, b, newBackend(t, load), 20*time.Minute+4*time.Minute, 30*time.Minute)
	require.Empty(t, rule)
}

// What is expanded is what is judged: it loads to the same rules.
func TestSLOExpands(t *testing.T) {
	f, err := Load(Bundle{File: sloFile})
	require.NoError(t, err)
	expanded, err := f.ExpandSLOs()
	require.NoError(t, err)
	golden(t, "testdata/slo/expanded.yml", expanded)
	again, err := Load(Bundle{File: "window: 30m\n" + expanded})
	require.NoError(t, err)
	require.Len(t, again.Rules, len(f.Rules))
	for i, r := range again.Rules {
		written := f.Rules[i]
		written.SLO, written.Line = "", r.Line
		require.Equal(t, written, r)
	}
	none, err := again.ExpandSLOs()
	require.NoError(t, err)
	require.Empty(t, none)
}

// A budget that no release can spend would let every release pass.
func TestSLOThatCannotBreachIsRefused(t *testing.T) {
	_, err := Load(Bundle{File: strings.Replace(sloFile, "99.9%", "90%", 1)})
	require.ErrorContains(t, err, "SLO \"Availability\" can never breach: nothing but errors for 30m spends 0.694444% of what 90% allows in 30d, and a release may spend 1%")
	f, err := Load(Bundle{File: strings.Replace(sloFile, "99.9%", "97%", 1)})
	require.NoError(t, err)
	require.Len(t, f.SLOs[0].Burns, 1, "nothing but errors for 5m spend less than 0.4%")
	require.InDelta(t, 0.432, f.SLOs[0].Burns[0].Ratio, 1e-9)
}

func TestSLOBesideARuleOfItsName(t *testing.T) {
	_, err := Load(Bundle{File: strings.Replace(sloFile, "    labels: {severity: critical}\n", "", 1) +
		"groups: [{name: g, rules: [{alert: AvailabilitySlowBurn, expr: up == 0}]}]\n"})
	require.ErrorContains(t, err, "AvailabilitySlowBurn stands in")
	f, err := Load(Bundle{File: sloFile + "groups: [{name: g, rules: [{alert: AvailabilitySlowBurn, expr: up == 0}]}]\n"})
	require.NoError(t, err)
	require.Len(t, f.Rules, 3)
	for i, a := range f.Rules {
		for _, b := range f.Rules[:i] {
			require.NotEqual(t, a.Name, b.Name)
		}
	}
	text, err := f.ExpandSLOs()
	require.NoError(t, err)
	require.NotContains(t, text, "up == 0")
}
