package chart

import (
	"bytes"
	"encoding/xml"
	"errors"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

var deployed = time.Date(2026, 11, 3, 2, 14, 0, 0, time.UTC)

const (
	sec = time.Second
	mnt = time.Minute
)

// tale collects the facts of a release that was deployed at its zero.
type tale struct {
	facts []gatekeeper.Fact
	limit string
}

func begin(limit string) *tale {
	t := &tale{limit: limit}
	t.add(-12*sec, gatekeeper.Opened{
		Service: "checkout", Environment: "production", Version: "1.4.2", PreviousVersion: "1.4.1", Purpose: gatekeeper.PurposeDeploy,
		Rungs:  []gatekeeper.Rung{{Action: "flag/set", Connection: "flags"}},
		Window: gatekeeper.Duration(30 * mnt), StartWithin: gatekeeper.Duration(10 * mnt),
	})
	t.add(-11*sec, gatekeeper.Prepared{Rungs: []gatekeeper.Pinned{{Target: &gatekeeper.Target{Kind: gatekeeper.Set, Version: 1, Says: "flag off"}}}})
	t.add(0, gatekeeper.Deployed{How: "pipeline"})
	return t
}

func (t *tale) add(at time.Duration, b gatekeeper.Body) *tale {
	t.facts = append(t.facts, gatekeeper.Fact{Seq: int64(len(t.facts) + 1), At: deployed.Add(at), Body: b})
	return t
}

// rule judges a rule every 15 seconds from from up to to.
func (t *tale) rule(name string, from, to time.Duration, say func(at time.Duration) (float64, gatekeeper.Verdict)) *tale {
	var trail []gatekeeper.Point
	track := gatekeeper.Track{Rule: name}
	for at := from; at <= to; at += 15 * sec {
		v, verdict := say(at)
		p := gatekeeper.Point{At: deployed.Add(at), Verdict: verdict}
		if verdict.Answered() {
			value := gatekeeper.Float(v)
			p.Value = &value
		}
		if verdict == gatekeeper.Unhealthy {
			p.Active = []string{"{}"}
		}
		trail = append(trail, p)
	}
	track = track.Along(trail, 15*sec)
	last := trail[len(trail)-1]
	reading := gatekeeper.Reading{At: last.At, Verdict: last.Verdict, Limit: t.limit}
	return t.add(to, gatekeeper.Judged{Track: track, Reading: reading, Trail: gatekeeper.Folded(trail)})
}

func (t *tale) release(tb testing.TB) gatekeeper.Release {
	tb.Helper()
	r, err := gatekeeper.Replay("01K9", t.facts)
	require.NoError(tb, err)
	return r
}

func noise(at time.Duration) float64 { return 0.0015 * (2 + math.Sin(float64(at)/float64(37*sec))) / 2 }

func healthy(at time.Duration) (float64, gatekeeper.Verdict) { return noise(at), gatekeeper.Healthy }

func badFrom(from time.Duration) func(time.Duration) (float64, gatekeeper.Verdict) {
	return func(at time.Duration) (float64, gatekeeper.Verdict) {
		if at < from {
			return healthy(at)
		}
		return 0.05 + 8*noise(at)/3, gatekeeper.Unhealthy
	}
}

func (t *tale) rollback(at time.Duration) *tale {
	return t.add(at, gatekeeper.Decided{Cause: gatekeeper.CauseBreach, Breaches: []gatekeeper.Breach{{Rule: "HighErrorRate"}}}).
		add(at+10*time.Millisecond, gatekeeper.Attempting{Key: "k"}).
		add(at+40*time.Millisecond, gatekeeper.Attempted{Result: gatekeeper.ResultDone}).
		add(at+1200*time.Millisecond, gatekeeper.Reached{})
}

func gallery() map[string]*tale {
	all := map[string]*tale{}
	all["healthy"] = begin("> 0.01").rule("HighErrorRate", 0, 30*mnt, healthy).add(30*mnt, gatekeeper.Closed{Outcome: gatekeeper.OutcomePassed})
	all["rolled_back"] = begin("> 0.01").rule("HighErrorRate", 0, 5*mnt, badFrom(3*mnt)).rollback(5*mnt).
		rule("HighErrorRate", 5*mnt+5*sec, 6*mnt+20*sec, func(at time.Duration) (float64, gatekeeper.Verdict) {
			if at < 5*mnt+30*sec {
				return 0.03, gatekeeper.Unhealthy
			}
			return healthy(at)
		}).
		add(6*mnt+20*sec, gatekeeper.Recovered{}).add(6*mnt+20*sec, gatekeeper.Closed{Outcome: gatekeeper.OutcomeRolledBack})
	all["blind"] = begin("> 0.01").rule("HighErrorRate", 0, 9*mnt, func(at time.Duration) (float64, gatekeeper.Verdict) {
		switch {
		case at >= 3*mnt+45*sec && at < 6*mnt+45*sec:
			return 0, gatekeeper.NoAnswer
		case at >= 8*mnt:
			return 0, gatekeeper.NoTraffic
		}
		return badFrom(3 * mnt)(at)
	})
	all["blind"].facts = append(all["blind"].facts[:3:3], append([]gatekeeper.Fact{
		{Seq: 4, At: deployed.Add(5*mnt + 40*sec), Body: gatekeeper.Held{Reason: gatekeeper.HoldBlind}},
		{Seq: 5, At: deployed.Add(6*mnt + 45*sec), Body: gatekeeper.Resumed{}},
	}, gatekeeper.Fact{Seq: 6, At: deployed.Add(9 * mnt), Body: all["blind"].facts[3].Body})...)
	all["no_limit"] = begin("").rule("QueueIsGrowing", 0, 4*mnt, func(at time.Duration) (float64, gatekeeper.Verdict) {
		return 200 + float64(at/sec), gatekeeper.Healthy
	})
	all["one_point"] = begin("> 0.01").rule("HighErrorRate", 0, 0, healthy)
	all["no_point"] = begin("> 0.01")
	all["huge"] = begin("> 5e+06").rule("BytesInFlight", 0, 10*mnt, func(at time.Duration) (float64, gatekeeper.Verdict) {
		return 3e6 + 2.5e9*math.Exp(-math.Pow(float64(at-6*mnt)/float64(mnt), 2)), gatekeeper.Unhealthy
	})
	all["astronomic"] = begin("> 1e+30").rule("Overflow", 0, 2*mnt, func(at time.Duration) (float64, gatekeeper.Verdict) {
		return 1.7e308 * math.Sin(float64(at)), gatekeeper.Unhealthy
	})
	all["odd"] = begin("> 0.01").rule("HighErrorRate", 0, 5*mnt, func(at time.Duration) (float64, gatekeeper.Verdict) {
		if odd, ok := map[time.Duration]float64{mnt: math.Inf(1), 2 * mnt: math.NaN(), 3 * mnt: math.Inf(-1)}[at]; ok {
			return odd, gatekeeper.Unhealthy
		}
		return healthy(at)
	})
	all["success"] = begin("< 0.99").rule("LowSuccessRatio", 0, 10*mnt, func(at time.Duration) (float64, gatekeeper.Verdict) {
		return 1 - noise(at), gatekeeper.Healthy
	})
	all["negative"] = begin("< -2").rule("Balance", 0, 10*mnt, func(at time.Duration) (float64, gatekeeper.Verdict) {
		return -1.5 + math.Sin(float64(at)/float64(90*sec)), gatekeeper.Healthy
	})
	all["long"] = begin("> 0.123456789").rule(`Latency of the <b>"very"</b> long name & `+strings.Repeat("Percentile ", 30)+"\x1b[2J", 0, 26*time.Hour, healthy)
	all["ladder"] = begin("> 0.01").rule("HighErrorRate", 0, 5*mnt, badFrom(3*mnt)).rollback(5*mnt).
		rule("HighErrorRate", 5*mnt+5*sec, 7*mnt+20*sec, badFrom(0)).
		add(7*mnt+20*sec, gatekeeper.NotRecovered{}).add(7*mnt+20*sec, gatekeeper.Closed{Outcome: gatekeeper.OutcomeRollbackFailed})
	return all
}

func (t *tale) chart(tb testing.TB) Chart {
	tb.Helper()
	rule := "HighErrorRate"
	if names := Rules(t.facts); len(names) > 0 {
		rule = names[0]
	}
	return Of(t.release(tb), t.facts, rule)
}

// Every chart can be drawn at every size; CHART_GALLERY names a folder to look at them in.
func TestDraw(t *testing.T) {
	for name, tale := range gallery() {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // pages draw many at once
			c := tale.chart(t)
			for _, size := range [][2]int{{900, 360}, {390, 300}, {MinWidth, MinHeight}} {
				var svg, picture bytes.Buffer
				require.NoError(t, c.SVG(&svg, size[0], size[1]))
				wellFormed(t, svg.String())
				require.NotContains(t, svg.String(), "NaN,", "a path without a place")
				require.NotContains(t, svg.String(), "Inf,")
				require.NoError(t, c.PNG(&picture, size[0], size[1]))
				decoded, err := png.Decode(bytes.NewReader(picture.Bytes()))
				require.NoError(t, err)
				require.Equal(t, 2*size[0], decoded.Bounds().Dx())
				if dir := os.Getenv("CHART_GALLERY"); dir != "" {
					at := filepath.Join(dir, name+"-"+strings.TrimSpace(time.Duration(size[0]).String()))
					require.NoError(t, os.WriteFile(at+".svg", svg.Bytes(), 0o644))
					require.NoError(t, os.WriteFile(at+".png", picture.Bytes(), 0o644))
				}
			}
		})
	}
}

func wellFormed(t *testing.T, text string) {
	t.Helper()
	dec := xml.NewDecoder(strings.NewReader(text))
	for {
		_, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
	}
}

func TestOf(t *testing.T) {
	c := gallery()["rolled_back"].chart(t)
	require.Equal(t, Percent, c.Unit)
	require.Equal(t, &Limit{">", 0.01}, c.Limit)
	require.Equal(t, []string{"on 1.4.2", "on 1.4.1"}, []string{c.Lines[0].Name, c.Lines[1].Name})
	require.Len(t, c.Lines[0].Points, 21)
	require.Equal(t, deployed, c.From)
	require.Equal(t, deployed.Add(6*mnt+20*sec), c.To)
	require.Equal(t, []Span{
		{deployed.Add(3 * mnt), deployed.Add(5 * mnt), Pending},
		{deployed.Add(5*mnt + 5*sec), deployed.Add(5*mnt + 35*sec), StillBad},
	}, c.Spans)
	var marks []string
	for _, m := range c.Marks {
		marks = append(marks, m.Label+" "+c.clock(m.At))
	}
	require.Equal(t, []string{"deployed 0:00", "decided 5:00", "target reached 5:01", "recovered 6:20", "rolled back 6:20"}, marks)

	blind := gallery()["blind"].chart(t)
	require.Equal(t, 3*mnt, blind.total(Blind))
	require.Equal(t, mnt, blind.total(NoTraffic))
	require.Equal(t, mnt+5*sec, blind.total(Held))
	require.Equal(t, 2*mnt, blind.total(Pending))
}

// What is not journaled yet is drawn with the rest.
func TestOfWithUnwritten(t *testing.T) {
	tale := begin("> 0.01").rule("HighErrorRate", 0, mnt, healthy)
	r := tale.release(t)
	tale.rule("HighErrorRate", mnt+15*sec, 2*mnt, badFrom(0))
	c := Of(r, tale.facts, "HighErrorRate")
	require.Len(t, c.Lines[0].Points, 9)
	require.Equal(t, deployed.Add(2*mnt), c.To)
}

func TestRulesWorstFirst(t *testing.T) {
	tale := begin("> 1")
	for name, verdict := range map[string]gatekeeper.Verdict{"Zealous": gatekeeper.Healthy, "Ample": gatekeeper.Healthy, "Bad": gatekeeper.Unhealthy, "Blind": gatekeeper.NoData, "Worse": gatekeeper.Unhealthy, "Worst": gatekeeper.Unhealthy} {
		tale.rule(name, 0, mnt, func(time.Duration) (float64, gatekeeper.Verdict) { return 1, verdict })
	}
	tale.add(2*mnt, gatekeeper.Breached{Breaches: []gatekeeper.Breach{{Rule: "Worse"}}})
	tale.add(3*mnt, gatekeeper.Decided{Breaches: []gatekeeper.Breach{{Rule: "Worst"}, {Rule: "an alert from elsewhere", External: true}}})
	require.Equal(t, []string{"Worst", "Worse", "Bad", "Blind", "Ample", "Zealous"}, Rules(tale.facts))
}

func TestUnits(t *testing.T) {
	for v, want := range map[float64][2]string{
		0: {"0", "0%"}, 0.0512345: {"0.0512", "5.12%"}, 1: {"1", "100%"}, 0.9999: {"1", "100%"}, 1536: {"1.54k", "154k%"}, 2.5e9: {"2.5G", ""},
		-12: {"-12", "-1200%"}, 0.00003: {"3e-05", "0.003%"}, 1e25: {"1e+25", ""}, 250: {"250", "25000%"},
	} {
		require.Equal(t, want[0], Plain.Format(v))
		if want[1] != "" && v != 1536 {
			require.Equal(t, want[1], Percent.Format(v))
		}
	}
	require.Equal(t, []string{"NaN", "Inf", "-Inf"}, []string{Plain.Format(math.NaN()), Percent.Format(math.Inf(1)), Plain.Format(math.Inf(-1))})

	named := func(name, limit, summary string) Unit {
		return unitOf([]gatekeeper.Fact{{Body: gatekeeper.Judged{Track: gatekeeper.Track{Rule: name}, Reading: gatekeeper.Reading{Limit: limit, Summary: summary}}}}, name)
	}
	require.Equal(t, Percent, named("HighErrorRate", "> 0.01", ""))
	require.Equal(t, Percent, named("Errors", "> 0.01", "5% of the requests fail"))
	require.Equal(t, Plain, named("Latency", "> 0.5", "0.7 s"))
	require.Equal(t, Plain, named("HighErrorRate", "> 10", ""))
	require.Equal(t, Plain, named("HighErrorRate", "> on () vector(0.1)", ""))
}

// Labels of an axis are different, and tell the values at which they stand.
func TestTicks(t *testing.T) {
	for _, s := range []span{{0, 0.06}, {0.98, 1}, {0, 1e300}, {-3, 4}, {0, 2.7e9}, {0, 3e-9}, {999, 1001}} {
		for _, u := range []Unit{Plain, Percent} {
			seen := map[string]bool{}
			ticks := u.ticks(s, 5)
			require.GreaterOrEqual(t, len(ticks), 2, "%v", s)
			for _, tick := range ticks {
				require.False(t, seen[tick.label], "%q twice in %v", tick.label, s)
				seen[tick.label] = true
				require.GreaterOrEqual(t, tick.at, s.low)
				require.LessOrEqual(t, tick.at, s.high)
			}
		}
	}
}

func TestSVGIsSafeAndDarkToo(t *testing.T) {
	tale := gallery()["long"]
	opened := tale.facts[0].Body.(gatekeeper.Opened)
	opened.Service, opened.Version = "<script>alert(1)</script>", "\x00\xff&\u202e"
	tale.facts[0].Body = opened
	var svg bytes.Buffer
	require.NoError(t, tale.chart(t).SVG(&svg, 900, 360))
	wellFormed(t, svg.String())
	require.NotContains(t, svg.String(), "<script")
	require.NotContains(t, svg.String(), "<b>")
	require.NotContains(t, svg.String(), "\x1b")

	seen := map[string]bool{}
	pictures := []picture{swept()}
	for _, tale := range gallery() {
		pictures = append(pictures, tale.chart(t))
	}
	for _, one := range pictures {
		var svg bytes.Buffer
		require.NoError(t, writeSVG(&svg, 900, 360, one))
		_, drawn, _ := strings.Cut(svg.String(), "</style>")
		for _, s := range shades {
			seen[code(s.light)] = seen[code(s.light)] || strings.Contains(drawn, code(s.light))
		}
		for _, color := range regexp.MustCompile("#[0-9A-F]{6}").FindAllString(drawn, -1) {
			require.True(t, slices.ContainsFunc(shades, func(s shade) bool { return code(s.light) == color }), "%s has no dark colour", color)
		}
	}
	for color, used := range seen {
		require.True(t, used, "%s is never drawn", color)
	}
}

func TestSizes(t *testing.T) {
	c := gallery()["healthy"].chart(t)
	for _, size := range [][2]int{{0, 0}, {-1, 300}, {MaxWidth + 1, 300}, {300, MaxHeight + 1}, {MinWidth - 1, 300}} {
		require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(c.SVG(io.Discard, size[0], size[1])))
		require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(c.PNG(io.Discard, size[0], size[1])))
	}
}

func TestText(t *testing.T) {
	for name, tale := range gallery() {
		t.Run(name, func(t *testing.T) {
			c := tale.chart(t)
			for _, term := range []Terminal{{Columns: 90, Rows: 12}, {Columns: 60, Rows: 8, ASCII: true}, {Columns: 1, Rows: 1, Color: true}} {
				var out bytes.Buffer
				require.NoError(t, c.Text(&out, term))
				wide := 0
				for _, line := range strings.Split(strings.TrimRight(out.String(), "\n"), "\n") {
					if term.Color {
						line = regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(line, "")
					}
					if strings.TrimSpace(line) == "" {
						break // below are the keys
					}
					wide = max(wide, len([]rune(line)))
				}
				require.LessOrEqual(t, wide, max(term.Columns, 40), out.String())
				require.Contains(t, out.String(), "deployed 0:00")
				if term.ASCII {
					require.Equal(t, -1, strings.IndexFunc(out.String(), func(r rune) bool { return r > 127 }), out.String())
				}
			}
		})
	}
}

// A release of some seconds has room to the right, where nothing is known yet: no stretch goes there.
func TestOfIsSilentAboutTheFuture(t *testing.T) {
	r, at := gatekeeper.Release{ID: "r1"}, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var facts []gatekeeper.Fact
	for i, body := range []gatekeeper.Body{
		gatekeeper.Opened{Service: "shop", Version: "v2"},
		gatekeeper.Prepared{},
		gatekeeper.Deployed{How: "pipeline"},
		gatekeeper.Judged{Track: gatekeeper.Track{Rule: "R"}, Trail: []gatekeeper.Point{{At: at.Add(time.Second), Verdict: gatekeeper.Unhealthy, Active: []string{"a"}}}},
		gatekeeper.Held{Reason: gatekeeper.HoldPerson, Until: at.Add(time.Hour)},
		gatekeeper.Noted{Text: "still held"},
	} {
		f := gatekeeper.Fact{Seq: int64(i + 1), At: at.Add(time.Duration(i) * time.Second), Body: body}
		var err error
		r, err = r.With(f)
		require.NoError(t, err)
		facts = append(facts, f)
	}
	c := Of(r, facts, "R")
	require.NotEmpty(t, c.Spans)
	for _, s := range c.Spans {
		require.False(t, s.To.After(at.Add(5*time.Second)), "%s until %s", s.Kind, s.To)
	}
	require.True(t, c.To.After(at.Add(5*time.Second)))
}
