package engine_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

// trail gives the rule's slots as the journal has them.
func (w *world) trail(id string) []gatekeeper.Point {
	w.t.Helper()
	facts, err := w.e.Facts(w.t.Context(), id)
	require.NoError(w.t, err)
	return gatekeeper.Trail(facts, "R", false)
}

// fullAt gives when the slots up to then fill `for`.
func fullAt(trail []gatekeeper.Point, wait, interval time.Duration) time.Time {
	for i, p := range trail {
		track := gatekeeper.Track{For: gatekeeper.Duration(wait)}.Along(trail[:i+1], interval)
		if p.Verdict == gatekeeper.Unhealthy && track.Full(p.At) {
			return p.At
		}
	}
	return time.Time{}
}

func TestTrail_HasEverySlotOfAHealthyRelease(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		id := w.opened(ruleR + flagPlan)
		w.to(5 * mnt)
		require.Empty(t, w.trail(id)[1:], "nothing changed: only the first slot is journaled")
		unwritten, err := w.e.Unwritten(t.Context(), id)
		require.NoError(t, err)
		require.Len(t, unwritten, 1)
		require.Len(t, unwritten[0].Trail, 20)
		w.to(31 * mnt)
		trail := w.trail(id)
		require.Len(t, trail, 121)
		for i, p := range trail {
			require.Equal(t, time.Duration(i)*15*sec, w.since(p.At))
			require.InDelta(t, 0.002, float64(*p.Value), 1e-9)
		}
		_, facts := w.facts(id, gatekeeper.KindJudged)
		require.Less(t, len(facts), 8)
	})
}

func TestTrail_ReplaysTheDecision(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		id := w.opened(replace(ruleR, "for: 2m", "for: 100s") + flagPlan)
		w.to(6 * mnt)
		trail := w.trail(id)
		last := trail[len(trail)-1]
		require.True(t, last.Extra)
		require.NotEmpty(t, last.Active, "what it confirmed")
		require.Equal(t, 3*mnt+100*sec, w.since(last.At))
		require.Equal(t, last.At, fullAt(trail, 100*sec, 15*sec))
		facts, err := w.e.Facts(t.Context(), id)
		require.NoError(t, err)
		require.NotEmpty(t, gatekeeper.Trail(facts, "R", true), "the recovery was judged too")
	})
}

func TestTrail_AfterAnOutageHasTheLastAnswers(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		w.outage(3*mnt+40*sec, 4*mnt+10*sec)
		id := w.opened(ruleR + flagPlan)
		w.to(4*mnt + 9*sec)
		unwritten, err := w.e.Unwritten(t.Context(), id)
		require.NoError(t, err)
		require.Len(t, unwritten[0].Trail, 1, "the outage was journaled when it began; a slot is told once while it lasts")
		w.to(6 * mnt)
		for _, p := range w.trail(id) {
			require.True(t, p.Verdict.Answered(), "%s: %s", w.since(p.At), p.Verdict)
			known := w.since(p.At)
			if known >= 3*mnt+45*sec && known < 4*mnt+15*sec {
				known = 4*mnt + 15*sec
			}
			require.Equal(t, known, w.since(p.Known()), "%s", w.since(p.At))
		}
		require.Equal(t, 5*mnt, w.since(fullAt(w.trail(id), 2*mnt, 15*sec)))
	})
}

// What was bad for most of `for` is not confirmed by another series that is bad where it ends.
func TestExtra_AnotherSeriesConfirmsNothing(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		w.mu.Lock()
		w.serves["v3"] = true
		w.mu.Unlock()
		w.script(func(name, version string, at time.Duration) (float64, bool) {
			first := version == "v2" && at >= 3*mnt && at < 4*mnt+35*sec
			second := version == "v3" && at >= 4*mnt+35*sec
			if name == "errors" && (first || second) {
				return 5, true
			}
			return 0, true
		})
		id := w.opened(`
service: checkout
groups: [{name: g, interval: 15s, rules: [{alert: R, expr: 'errors{service="${service}"} > 1', for: 100s}]}]
` + flagPlan)
		w.to(4*mnt + 44*sec)
		require.Equal(t, gatekeeper.Watching, w.release(id).State, w.story(id))
		w.to(7 * mnt)
		at, _ := w.one(id, gatekeeper.KindDecided)
		require.Equal(t, 4*mnt+45*sec+100*sec, at, w.story(id))
	})
}

// What was heard while an answer of the journal is lost is not lost with it.
func TestTrail_SurvivesALostAnswer(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		w.stop()
		j := &dying{Journal: w.journal}
		w.cfg.Journal = j
		w.boot()
		id := w.opened(ruleR + flagPlan)
		w.to(3*mnt - sec)
		j.dieAfter(gatekeeper.KindJudged)
		w.to(4*mnt + sec)
		j.dieAfter("")
		w.to(6 * mnt)
		w.outcome(id, gatekeeper.OutcomeRolledBack)
		for i, p := range w.trail(id) {
			require.Equal(t, time.Duration(i)*15*sec, w.since(p.At))
		}
	})
}

func TestTrail_HasWhyTheServiceDidNotRecover(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		w.script(func(name, _ string, at time.Duration) (float64, bool) { // the old version as well
			if name == "errors" && at >= 3*mnt {
				return 0.5, true
			}
			return 10, name == "requests"
		})
		id := w.opened(ruleR + flagPlan)
		w.to(20 * mnt)
		at, _ := w.one(id, gatekeeper.KindNotRecovered)
		require.Equal(t, 7*mnt, at.Truncate(15*sec), w.story(id))
		facts, err := w.e.Facts(t.Context(), id)
		require.NoError(t, err)
		trail := gatekeeper.Trail(facts, "R", true)
		require.Len(t, trail, 9, "two minutes of slots, both ends included")
	})
}

// A hold may last for hours, in which nothing changes.
func TestTrail_IsJournaledInAHold(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		id := w.opened(ruleR + flagPlan)
		w.to(mnt + sec)
		_, err := w.e.Hold(t.Context(), id, alice)
		require.NoError(t, err)
		w.to(20*mnt + sec)
		require.Greater(t, len(w.trail(id)), gatekeeper.MaxTrail)
	})
}
