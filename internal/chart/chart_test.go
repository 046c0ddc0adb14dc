package chart

import (
	"bytes"
	"encoding/xml"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
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
		switch at {
		case mnt:
			return math.Inf(1), gatekeeper.Unhealthy
		case 2 * mnt:
			return math.NaN(), gatekeeper.Unhealthy
		case 3 * mnt:
			return math.Inf(-1), gatekeeper.Healthy
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
	for dec := xml.NewDecoder(strings.NewReader(text)); ; {
		switch _, err := dec.Token(); err {
		case nil:
		case io.EOF:
			return
		default:
			require.NoError(t, err)
		}
	}
}

func TestText(t *testing.T) {
	for name, tale := range gallery() {
		t.Run(name, func(t *testing.T) {
			c := tale.chart(t)
			for _, term := range []Terminal{{Columns: 90, Rows: 12}, {Columns: 60, Rows: 8, ASCII: true}, {Columns: 1, Rows: 1, Color: true}} {
				var out bytes.Buffer
				require.NoError(t, c.Text(&out, term))
				if testing.Verbose() {
					t.Log("\n" + out.String())
				}
			}
		})
	}
}
