package timeline

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

var update = flag.Bool("update", false, "write the golden files")

var opened = time.Date(2026, 11, 3, 2, 14, 5, 0, time.UTC)

// story collects facts at offsets from the deploy, which is 12 s after the opening.
type story []gatekeeper.Fact

func (s *story) add(at time.Duration, actor string, b gatekeeper.Body) {
	*s = append(*s, gatekeeper.Fact{
		Seq: int64(len(*s) + 1), At: opened.Add(12*time.Second + at), Actor: actor, Body: b,
	})
}

func at(d time.Duration) time.Time { return opened.Add(12*time.Second + d) }

func reading(at time.Time, v gatekeeper.Verdict, value float64) gatekeeper.Reading {
	return gatekeeper.Reading{
		At: at, Verdict: v, Count: 1, Limit: "> 0.01",
		Operand: []gatekeeper.Sample{{Value: gatekeeper.Float(value)}},
	}
}

func begin(rungs ...gatekeeper.Rung) story {
	var s story
	s.add(-12*time.Second, "ci (alice)", gatekeeper.Opened{
		Service: "checkout", Environment: "production", Version: "1.4.2", PreviousVersion: "1.4.1",
		Purpose: gatekeeper.PurposeDeploy, File: "f", Rungs: rungs,
		Window: gatekeeper.Duration(30 * time.Minute), StartWithin: gatekeeper.Duration(10 * time.Minute),
	})
	return s
}

func twoRungs() []gatekeeper.Rung {
	return []gatekeeper.Rung{{Action: "flag/set", Connection: "flags"}, {Action: "haproxy/switch", Connection: "edge"}}
}

func (s *story) deploy() {
	s.add(-11*time.Second, "", gatekeeper.Prepared{Rungs: []gatekeeper.Pinned{
		{Rung: 0, Target: &gatekeeper.Target{Kind: gatekeeper.Set, Version: 1, Says: "flag new-checkout = off"}},
		{Rung: 1, Problem: "dial unix /run/haproxy.sock: no such file"},
	}})
	s.add(-11*time.Second, "", gatekeeper.Judged{
		Track: gatekeeper.Track{Rule: "HighErrorRate", Verdict: gatekeeper.Healthy}, Reading: reading(at(-11*time.Second), gatekeeper.Healthy, 0.002),
	})
	s.add(0, "ci", gatekeeper.Deployed{How: "pipeline"})
}

func pendingTrack(from time.Time) gatekeeper.Track {
	return gatekeeper.Track{
		Rule: "HighErrorRate", Verdict: gatekeeper.Unhealthy,
		Active: []gatekeeper.Active{{Identity: "{}", ActiveAt: from}},
	}
}

func rolledBack() story {
	s := begin(twoRungs()...)
	s.deploy()
	bad := reading(at(185*time.Second), gatekeeper.Unhealthy, 0.0512345)
	bad.Summary = "5xx ratio 5.12% is above 1%"
	breach := gatekeeper.Breach{Rule: "HighErrorRate", Since: at(185 * time.Second), For: gatekeeper.Duration(2 * time.Minute), Reading: bad}
	s.add(185*time.Second, "", gatekeeper.Judged{Track: pendingTrack(at(185 * time.Second)), Reading: bad})
	s.add(200*time.Second, "", gatekeeper.Judged{Track: pendingTrack(at(185 * time.Second)), Reading: bad}) // kept, no news
	s.add(305*time.Second, "", gatekeeper.Decided{Cause: gatekeeper.CauseBreach, Breaches: []gatekeeper.Breach{breach}, Says: "HighErrorRate is 0.05123 (bad: > 0.01) for 2m"})
	s.add(305*time.Second+3*time.Millisecond, "", gatekeeper.Attempting{Rung: 0, Key: "k"})
	s.add(305*time.Second+15*time.Millisecond, "", gatekeeper.Attempted{Rung: 0, Result: gatekeeper.ResultDone, Receipt: &gatekeeper.Receipt{Says: "flag new-checkout set to off"}})
	s.add(306*time.Second+200*time.Millisecond, "", gatekeeper.Reached{Rung: 0, Live: gatekeeper.Live{Position: gatekeeper.AtTarget, Says: "flag new-checkout is off"}})
	s.add(336*time.Second, "", gatekeeper.Recovered{Says: "HighErrorRate is healthy on 1.4.1, with traffic"})
	s.add(336*time.Second, "", gatekeeper.Closed{Outcome: gatekeeper.OutcomeRolledBack, Why: "HighErrorRate: 0.05123, limit > 0.01"})
	return s
}

func passed() story {
	s := begin(twoRungs()...)
	s.deploy()
	s.add(time.Minute, "ci", gatekeeper.Released{Live: []gatekeeper.Live{{Says: "flag new-checkout is on for 50%"}, {Says: "blue=50 green=50"}}})
	from := at(90 * time.Second)
	s.add(90*time.Second, "", gatekeeper.Judged{Track: pendingTrack(from), Reading: reading(from, gatekeeper.Unhealthy, 0.02)})
	s.add(2*time.Minute, "", gatekeeper.Judged{Track: gatekeeper.Track{Rule: "HighErrorRate", Verdict: gatekeeper.Healthy}, Reading: reading(at(2*time.Minute), gatekeeper.Healthy, 0.001)})
	s.add(5*time.Minute, "bob", gatekeeper.Extended{Until: at(90 * time.Minute), Why: "low traffic"})
	s.add(90*time.Minute, "", gatekeeper.Closed{Outcome: gatekeeper.OutcomePassed, Why: "healthy for the whole window"})
	return s
}

func heldBlind() story {
	s := begin(twoRungs()...)
	s.deploy()
	none := gatekeeper.Reading{At: at(220 * time.Second), Verdict: gatekeeper.NoAnswer, Detail: "prometheus: connection refused"}
	track := gatekeeper.Track{Rule: "HighErrorRate", Verdict: gatekeeper.NoAnswer, BlindSince: none.At}
	s.add(220*time.Second, "", gatekeeper.Judged{Track: track, Reading: none})
	s.add(340*time.Second, "", gatekeeper.Held{Reason: gatekeeper.HoldBlind, Blind: []string{"HighErrorRate"}, Says: "HighErrorRate has seen nothing for 2m", Until: at(2140 * time.Second)})
	return s
}

func ladder() story {
	s := begin(twoRungs()...)
	s.add(-11*time.Second, "", gatekeeper.Prepared{Rungs: []gatekeeper.Pinned{
		{Rung: 0, Target: &gatekeeper.Target{Kind: gatekeeper.Set, Says: "flag new-checkout = off"}},
		{Rung: 1, Target: &gatekeeper.Target{Kind: gatekeeper.Restore, Says: "servers blue=100 green=0 of backend shop"}},
	}})
	s.add(0, "", gatekeeper.Deployed{How: "traffic"})
	alert := gatekeeper.Alert{Key: "k", Name: "CheckoutDown", Sender: "alertmanager", Firing: true, Summary: "checkout\x1b[2J is\ndown"}
	s.add(30*time.Second, "", gatekeeper.Alerted{Alert: alert})
	breach := gatekeeper.Breach{Rule: "CheckoutDown", Since: at(20 * time.Second), External: true, Says: "checkout is down"}
	s.add(31*time.Second, "", gatekeeper.Held{Reason: gatekeeper.HoldVeto, Breaches: []gatekeeper.Breach{breach}, Says: "CheckoutDown", Until: at(61 * time.Second)})
	s.add(61*time.Second, "", gatekeeper.Decided{Cause: gatekeeper.CauseBreach, Breaches: []gatekeeper.Breach{breach}, Says: "nobody vetoed"})
	s.add(61*time.Second, "", gatekeeper.Attempting{Rung: 0, Key: "k"})
	s.add(91*time.Second, "", gatekeeper.Attempted{Rung: 0, Result: gatekeeper.ResultUnknown, Error: "no answer within 30s"})
	s.add(92*time.Second, "", gatekeeper.Reached{Rung: 0, Live: gatekeeper.Live{Position: gatekeeper.AtTarget, Says: "off"}})
	s.add(95*time.Second, "", gatekeeper.Judged{Track: pendingTrack(at(95 * time.Second)), Reading: reading(at(95*time.Second), gatekeeper.Unhealthy, 0.5)})
	s.add(212*time.Second, "", gatekeeper.NotRecovered{Rung: 0, Breaches: []gatekeeper.Breach{breach}})
	s.add(212*time.Second, "", gatekeeper.Attempting{Rung: 1, Key: "k2"})
	s.add(213*time.Second, "", gatekeeper.Attempted{Rung: 1, Result: gatekeeper.ResultFailed, Error: "connection refused"})
	s.add(214*time.Second, "", gatekeeper.GaveUp{Rung: 1, Why: "3 attempts failed"})
	s.add(214*time.Second, "", gatekeeper.Closed{Outcome: gatekeeper.OutcomeRollbackFailed, Why: "every rung of the plan was tried"})
	return s
}

func TestWriteGolden(t *testing.T) {
	tests := map[string]struct {
		facts story
		now   time.Duration
		color bool
	}{
		"rolled_back":       {rolledBack(), time.Hour, false},
		"rolled_back_color": {rolledBack(), time.Hour, true},
		"passed":            {passed(), 2 * time.Hour, false},
		"held_blind":        {heldBlind(), 6 * time.Minute, false},
		"ladder":            {ladder(), time.Hour, false},
		"watching":          {rolledBack()[:5], 200 * time.Second, false},
		"waiting":           {rolledBack()[:2], 0, false},
		"verifying":         {rolledBack()[:10], 310 * time.Second, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			require.NoError(t, Write(&out, "01K9", tt.facts, at(tt.now), Options{Color: tt.color}))
			golden(t, name, out.Bytes())
		})
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		require.NoError(t, os.WriteFile(path, got, 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))
}

// Every kind of fact has something to say, or is told by the lines around it.
func TestEveryKindIsTold(t *testing.T) {
	silent := map[gatekeeper.Kind]bool{gatekeeper.KindClosed: true, gatekeeper.KindJudged: true}
	rungs := twoRungs()
	for _, kind := range gatekeeper.Kinds() {
		var f gatekeeper.Fact
		require.NoError(t, json.Unmarshal([]byte(`{"seq":9,"kind":"`+string(kind)+`","body":{}}`), &f))
		tl := New(&bytes.Buffer{}, "r", Options{})
		tl.release.Rungs = rungs
		tl.release.Rungs[0].Attempts = []gatekeeper.Attempt{{}}
		require.Equal(t, silent[kind], len(tl.lines(tl.release, f)) == 0, kind)
	}
}

// A sender repeats an alert while it fires, and a decision names what it is about.
func TestAlertsAreToldOnce(t *testing.T) {
	s := begin(twoRungs()...)
	s.deploy()
	alert := gatekeeper.Alert{Key: `Down{team="shop"}`, Name: "Down", Sender: "prometheus", Firing: true, Summary: "too many errors"}
	for i := range 3 {
		alert.EndsAt = at(time.Duration(i+4) * time.Minute)
		s.add(time.Duration(i+1)*time.Minute, "", gatekeeper.Alerted{Alert: alert})
	}
	breach := gatekeeper.Breach{Rule: alert.Key, External: true, Says: "Down is firing"}
	s.add(4*time.Minute, "", gatekeeper.Decided{Cause: gatekeeper.CauseBreach, Breaches: []gatekeeper.Breach{breach}, Says: breach.Says})
	alert.Firing = false
	s.add(5*time.Minute, "", gatekeeper.Alerted{Alert: alert})
	var out bytes.Buffer
	require.NoError(t, Write(&out, "01K9", s, at(6*time.Minute), Options{}))
	for _, once := range []string{"Down fires", "too many errors", "roll back: Down is firing", "resolved"} {
		require.Equal(t, 1, strings.Count(out.String(), once), "%q in\n%s", once, &out)
	}
	require.NotContains(t, out.String(), alert.Key, "the decision's sentence has told it")
}

func TestLiveRepeatsNothing(t *testing.T) {
	facts := rolledBack()
	var once, twice bytes.Buffer
	a, b := New(&once, "01K9", Options{}), New(&twice, "01K9", Options{})
	for i, f := range facts {
		require.NoError(t, a.Add(f))
		require.NoError(t, b.Add(f))
		require.NoError(t, b.Add(facts[i/2])) // a resumed stream repeats
	}
	require.Equal(t, once.String(), twice.String())
	require.True(t, b.Release().Closed())
	require.Error(t, New(&once, "01K9", Options{}).Add(facts[3]), "a gap is an error")
}

func TestHalfTrustedTextCannotDriveTheTerminal(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, Write(&out, "01K9", ladder(), at(0), Options{}))
	require.NotContains(t, out.String(), "\x1b")
	require.Contains(t, out.String(), "checkout[2J is down")
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("pipe closed") }

func TestAddReportsWriteErrors(t *testing.T) {
	require.ErrorContains(t, New(brokenWriter{}, "r", Options{}).Add(rolledBack()[0]), "pipe closed")
}

func TestClockAndSpan(t *testing.T) {
	require.Equal(t, []string{"0:00", "-0:12", "3:05", "1:02:03"},
		[]string{Clock(-time.Millisecond), Clock(-12 * time.Second), Clock(185 * time.Second), Clock(time.Hour + 123*time.Second)})
	require.Equal(t, []string{"12ms", "1.2s", "45s", "2m5s", "30m", "1h", "1h30m", "0s", "-1s"},
		[]string{
			Span(12 * time.Millisecond), Span(1234 * time.Millisecond), Span(45*time.Second + 300*time.Millisecond), Span(125 * time.Second),
			Span(30 * time.Minute), Span(time.Hour), Span(90 * time.Minute), Span(0), Span(-time.Second),
		})
}
