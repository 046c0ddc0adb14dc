package explain

import (
	"bytes"
	"encoding/json"
	"flag"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/chart"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

var update = flag.Bool("update", false, "write the golden files")

// record reads what the engine's tests journaled for a timeline of the specification: run them
// with RECORDS set to a folder to write these anew.
func record(t testing.TB, name string) ([]gatekeeper.Fact, *rules.File) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	require.NoError(t, err)
	var read struct {
		Bundle rules.Bundle      `json:"bundle"`
		Facts  []gatekeeper.Fact `json:"facts"`
	}
	require.NoError(t, json.Unmarshal(data, &read))
	file, err := rules.Load(read.Bundle)
	require.NoError(t, err)
	return read.Facts, file
}

func records(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	names := make([]string, len(paths))
	for i, p := range paths {
		names[i] = strings.TrimSuffix(filepath.Base(p), ".json")
	}
	return names
}

func TestGolden(t *testing.T) {
	for _, name := range records(t) {
		t.Run(name, func(t *testing.T) {
			facts, file := record(t, name)
			e, err := Of("01K9", facts, file)
			require.NoError(t, err)
			require.True(t, e.Replay.Same(), e.Replay.Says())
			var out bytes.Buffer
			require.NoError(t, e.Write(&out, Options{Terminal: chart.Terminal{Columns: 90, Rows: 8}}))
			path := filepath.Join("testdata", name+".golden")
			if *update {
				require.NoError(t, os.WriteFile(path, out.Bytes(), 0o644))
			}
			want, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, string(want), out.String())
		})
	}
}

// A journal from before tracks told of their rule's `for` is explained as a later one is, while the release is open too.
func TestTracksOfOlderJournals(t *testing.T) {
	text := func(facts []gatekeeper.Fact, file *rules.File, knows bool) string {
		facts = slices.Clone(facts)
		for i, f := range facts {
			if j, ok := f.Body.(gatekeeper.Judged); ok {
				j.Track.For = 0
				for _, rule := range file.Rules {
					if knows && rule.Name == j.Track.Rule {
						j.Track.For = gatekeeper.Duration(rule.For)
					}
				}
				facts[i].Body = j
			}
		}
		e, err := Of("01K9", facts, file)
		require.NoError(t, err)
		var out bytes.Buffer
		require.NoError(t, e.Write(&out, Options{}))
		return out.String()
	}
	told := false
	for _, name := range records(t) {
		facts, file := record(t, name)
		for n := 1; n <= len(facts); n++ {
			later := text(facts[:n], file, true)
			require.Equal(t, later, text(facts[:n], file, false), "%s: %d facts", name, n)
			told = told || strings.Contains(later, "if it stays so")
		}
	}
	require.True(t, told)
}

// Without the health file the same is told but for what only the file knows.
func TestWithoutFile(t *testing.T) {
	for _, name := range records(t) {
		facts, file := record(t, name)
		with, err := Of("01K9", facts, file)
		require.NoError(t, err)
		without, err := Of("01K9", facts, nil)
		require.NoError(t, err)
		require.Nil(t, without.Replay)
		require.Equal(t, with.Answer[:10], without.Answer[:10], name)
		var out bytes.Buffer
		nameless, err := Of("", facts, nil)
		require.NoError(t, err)
		require.NoError(t, nameless.Write(&out, Options{}))
		require.Contains(t, out.String(), "\nopened 2")
		require.Equal(t, with.Guards, without.Guards)
		require.Equal(t, with.Done, without.Done)
	}
}

// tampered gives the record after change was made to each of its facts.
func tampered(facts []gatekeeper.Fact, change func(i int, b gatekeeper.Body) gatekeeper.Body) []gatekeeper.Fact {
	out := make([]gatekeeper.Fact, len(facts))
	for i, f := range facts {
		f.Body = change(i, f.Body)
		out[i] = f
	}
	return out
}

func trails(change func(p *gatekeeper.Point)) func(int, gatekeeper.Body) gatekeeper.Body {
	return func(_ int, b gatekeeper.Body) gatekeeper.Body {
		j, ok := b.(gatekeeper.Judged)
		if !ok {
			return b
		}
		j.Trail = gatekeeper.Unfolded(j.Trail)
		for i := range j.Trail {
			change(&j.Trail[i])
		}
		return j
	}
}

// A record that does not lead to what was done says so, loudly and where.
func TestReplayTellsDifferences(t *testing.T) {
	facts, file := record(t, "T02_Bad")
	good, err := Replay(facts, file)
	require.NoError(t, err)
	require.True(t, good.Same())
	require.Len(t, good.Fulls, 1)
	require.Equal(t, gatekeeper.KindDecided, good.Fulls[0].Led)
	deployed := good.Fulls[0].Since.Add(-3 * time.Minute)
	at := func(p *gatekeeper.Point, d time.Duration) bool { return p.At.Equal(deployed.Add(d)) }

	for name, c := range map[string]struct {
		change func(int, gatekeeper.Body) gatekeeper.Body
		says   string
	}{
		"a slot was healthy": {trails(func(p *gatekeeper.Point) {
			if at(p, 4*time.Minute) {
				p.Verdict, p.Active = gatekeeper.Healthy, nil
			}
		}), "the record does not make its `for` full"},
		"it was bad before": {trails(func(p *gatekeeper.Point) {
			if !p.At.After(deployed.Add(3*time.Minute)) && !at(p, 0) {
				p.Verdict, p.Active = gatekeeper.Unhealthy, []string{"{}"}
			}
		}), "the daemon knew 13 slots up to 3:00, bad since 3:00 with 0s unanswered, and the record gives 13 slots up to 3:00, bad since 0:15"},
		"nobody answered for a slot": {trails(func(p *gatekeeper.Point) {
			if at(p, 4*time.Minute) {
				p.Verdict, p.Active = gatekeeper.NoAnswer, nil
			}
		}), "the record does not make its `for` full"},
		"the decision names another instant": {func(_ int, b gatekeeper.Body) gatekeeper.Body {
			if d, ok := b.(gatekeeper.Decided); ok {
				d.Breaches = append([]gatekeeper.Breach(nil), d.Breaches...)
				d.Breaches[0].Since = d.Breaches[0].Since.Add(15 * time.Second)
				return d
			}
			return b
		}, "as bad since 3:15, and the record has it since 3:00"},
		"the decision names nothing": {func(_ int, b gatekeeper.Body) gatekeeper.Body {
			if d, ok := b.(gatekeeper.Decided); ok {
				d.Breaches = nil
				return d
			}
			return b
		}, "the decision at 5:00 does not name it"},
		"it passed instead": {func(i int, b gatekeeper.Body) gatekeeper.Body {
			if _, ok := b.(gatekeeper.Decided); ok {
				return gatekeeper.Closed{Outcome: gatekeeper.OutcomePassed, Why: "healthy"}
			}
			return b
		}, "full at 5:00, and the release passed"},
	} {
		t.Run(name, func(t *testing.T) {
			facts := tampered(facts, c.change)
			for i, f := range facts {
				if f.Body.Kind() == gatekeeper.KindClosed {
					facts = facts[:i+1]
					break
				}
			}
			got, err := Replay(facts, file)
			require.NoError(t, err)
			require.False(t, got.Same())
			require.Contains(t, got.Says(), c.says)
			require.Contains(t, got.Says(), "DOES NOT LEAD")
		})
	}
}

// What was decided late is told: a rule whose `for` is full waits for nothing but the guards.
func TestReplayTellsLateness(t *testing.T) {
	facts, file := record(t, "T02_Bad")
	for i := range file.Rules {
		file.Rules[i].For = time.Minute
	}
	got, err := Replay(facts, file)
	require.NoError(t, err)
	require.Contains(t, got.Says(), "its `for` was full at 4:00 and that was known at 4:00, and it was decided only at 5:00")
}

func TestReplayTellsMissingSlots(t *testing.T) {
	facts, file := record(t, "T01_Healthy")
	lost := tampered(facts, func(_ int, b gatekeeper.Body) gatekeeper.Body {
		if j, ok := b.(gatekeeper.Judged); ok && len(j.Trail) > 20 {
			j.Trail = append(append([]gatekeeper.Point(nil), j.Trail[:10]...), j.Trail[12:]...)
			return j
		}
		return b
	})
	got, err := Replay(lost, file)
	require.NoError(t, err)
	require.True(t, got.Same())
	require.Contains(t, got.Says(), "lacks slots of R")
	require.NotEmpty(t, got.Missing)
	require.Equal(t, 15*time.Second, got.Missing[0].To.Sub(got.Missing[0].From))
}

func TestHalfTrustedTextCannotDriveTheTerminal(t *testing.T) {
	facts, file := record(t, "T14_Vetoed")
	e, err := Of("01K9\x1b[2J", tampered(facts, func(_ int, b gatekeeper.Body) gatekeeper.Body {
		switch b := b.(type) {
		case gatekeeper.Opened:
			b.Service = "check\x1b[2Jout"
			return b
		case gatekeeper.Vetoed:
			b.Why = "\x1b]0;x\x07 because\nof it"
			return b
		}
		return b
	}), file)
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, e.Write(&out, Options{}))
	require.NotContains(t, out.String(), "\x1b")
	require.NotContains(t, out.String(), "\x07")
}

// What is told as the worst is a value, of a slot that counted.
func TestWorst(t *testing.T) {
	point := func(value float64, early bool) gatekeeper.Point {
		v := gatekeeper.Float(value)
		return gatekeeper.Point{Value: &v, Early: early}
	}
	trail := []gatekeeper.Point{point(math.NaN(), false), point(9, true), point(-9, true), {}, point(2, false), point(3, false), point(1, false), point(math.NaN(), false)}
	require.InDelta(t, 3, float64(*worst(trail, nil).Value), 0)
	require.InDelta(t, 3, float64(*worst(trail, &chart.Limit{Operator: ">"}).Value), 0)
	require.InDelta(t, 1, float64(*worst(trail, &chart.Limit{Operator: "<"}).Value), 0)
	require.Nil(t, worst(trail[:4], nil))
}

func TestNoFacts(t *testing.T) {
	_, err := Of("x", nil, nil)
	require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(err))
}

func TestUnit(t *testing.T) {
	limit := &chart.Limit{Operator: ">", Value: 0.5}
	for expr, want := range map[string]chart.Unit{
		`sum(rate(errors_total[1m])) / sum(rate(requests_total[1m])) > 0.5`:     chart.Percent,
		`rate(latency_seconds_sum[1m]) / rate(latency_seconds_count[1m]) > 0.5`: chart.Plain,
		`histogram_quantile(0.99, rate(latency_seconds_bucket[1m])) > 0.5`:      chart.Plain,
		`absent(up)`: chart.Plain,
	} {
		require.Equal(t, want, unitOf(expr, chart.Chart{Limit: limit}), expr)
	}
	require.Equal(t, chart.Plain, unitOf(`a / b > 2`, chart.Chart{Limit: &chart.Limit{Value: 2}, Unit: chart.Plain}))
}
