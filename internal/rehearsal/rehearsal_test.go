package rehearsal_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
	"github.com/gatekeeper-engine/gatekeeper/actions/builtin"
	"github.com/gatekeeper-engine/gatekeeper/engine"
	"github.com/gatekeeper-engine/gatekeeper/internal/rehearsal"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// One test proves what becomes of a script that can never end; its goroutines can't either.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("testing/synctest.testingSynctestTest"),
		goleak.IgnoreTopFunction("github.com/gatekeeper-engine/gatekeeper/internal/rehearsal.TestADeadlockIsAnError.func1"))
}

const health = `
service: shop
window: 10m
groups:
  - name: g
    interval: 15s
    rules:
      - {alert: Bad, expr: 'bad{version="${version}"} > 0', for: 1m}
rollback:
  - {action: flag/set, connection: flags, with: {flag: f, enabled: false}, recover_within: 1m}
`

// sick answers that v2 is bad from an instant on, and everything else well; v2 has no data before time 0.
type sick struct{ from time.Time }

func (s sick) value(expr string, at time.Time) gatekeeper.Float {
	if !at.Before(s.from) && strings.Contains(expr, `"v2"`) {
		return 1
	}
	return 0
}

func (s sick) knows(expr string, at time.Time) bool {
	return !strings.Contains(expr, `"v2"`) || !at.Before(rehearsal.Epoch)
}

func (s sick) Query(_ context.Context, expr string, at time.Time) (v rules.Vector, err error) {
	if s.knows(expr, at) {
		v.Samples = []gatekeeper.Sample{{Value: s.value(expr, at)}}
	}
	return v, nil
}

func (s sick) QueryRange(_ context.Context, expr string, from, to time.Time, step time.Duration) (rules.Matrix, error) {
	var one rules.Series
	for at := from; !at.After(to); at = at.Add(step) {
		if s.knows(expr, at) {
			one.Points = append(one.Points, rules.Point{At: at, Value: s.value(expr, at)})
		}
	}
	return rules.Matrix{Series: []rules.Series{one}}, nil
}

func at(d time.Duration) *time.Duration { return &d }

func specs(t *testing.T) []actions.Spec {
	t.Helper()
	registry, err := builtin.Registry(nil)
	require.NoError(t, err)
	return registry.Specs()
}

func script(t *testing.T, r rehearsal.Release) rehearsal.Script {
	t.Helper()
	if r.Request.Bundle == nil {
		r.Request = engine.OpenRequest{Version: "v2", PreviousVersion: "v1", Bundle: &rules.Bundle{File: health}}
	}
	return rehearsal.Script{Actions: specs(t), Backend: sick{rehearsal.Epoch.Add(2 * time.Minute)}, Releases: []rehearsal.Release{r}}
}

func run(t *testing.T, s rehearsal.Script) rehearsal.Story {
	t.Helper()
	story, err := rehearsal.Run(t.Context(), s)
	require.NoError(t, err)
	return story
}

// find gives the facts of one type with their times since the start.
func find[B gatekeeper.Body](story rehearsal.Story, release int) (times []time.Duration, bodies []B) {
	for _, f := range story.Releases[release].Facts {
		if b, ok := f.Body.(B); ok {
			times, bodies = append(times, f.At.Sub(story.Start)), append(bodies, b)
		}
	}
	return times, bodies
}

func TestHalfAnHourTakesMilliseconds(t *testing.T) {
	began := time.Now()
	story := run(t, script(t, rehearsal.Release{Opened: -time.Second, Deployed: at(0)}))
	require.Less(t, time.Since(began), 5*time.Second)
	times, _ := find[gatekeeper.Decided](story, 0)
	require.Equal(t, []time.Duration{3 * time.Minute}, times)
	_, closed := find[gatekeeper.Closed](story, 0)
	require.Equal(t, gatekeeper.OutcomeRolledBack, closed[0].Outcome)
}

func TestEffectsOfRungs(t *testing.T) {
	for effect, want := range map[rehearsal.Effect][]gatekeeper.Result{
		rehearsal.Works:      {gatekeeper.ResultDone},
		rehearsal.LosesReply: {gatekeeper.ResultUnknown},
		rehearsal.Hangs:      {gatekeeper.ResultUnknown},
		rehearsal.Refuses:    {gatekeeper.ResultFailed},
		rehearsal.Fails:      {gatekeeper.ResultUnknown},
	} {
		t.Run(string(effect), func(t *testing.T) {
			story := run(t, script(t, rehearsal.Release{Opened: -time.Second, Deployed: at(0), Rungs: []rehearsal.Rung{{Apply: effect}}}))
			_, attempts := find[gatekeeper.Attempted](story, 0)
			require.NotEmpty(t, attempts)
			require.Equal(t, want[0], attempts[0].Result)
			_, closed := find[gatekeeper.Closed](story, 0)
			reaches := effect == rehearsal.Works || effect == rehearsal.LosesReply
			require.Equal(t, reaches, closed[0].Outcome == gatekeeper.OutcomeRolledBack, closed[0].Outcome)
		})
	}
}

func TestRungsThatCantBePrepared(t *testing.T) {
	two := health + "  - {action: flag/set, connection: flags, with: {flag: g, enabled: false}}\n"
	r := rehearsal.Release{Opened: -time.Minute, Deployed: at(0), Rungs: []rehearsal.Rung{{Set: true, Prepare: rehearsal.Fails, Until: -30 * time.Second}}}
	r.Request = engine.OpenRequest{Version: "v2", PreviousVersion: "v1", Bundle: &rules.Bundle{File: two}}
	story := run(t, script(t, r))
	_, prepared := find[gatekeeper.Prepared](story, 0)
	require.Len(t, prepared[0].Rungs, 2)
	require.Nil(t, prepared[0].Rungs[0].Target)
	require.Contains(t, prepared[0].Rungs[0].Problem, "the test's script")
	times, pinned := find[gatekeeper.Pinned](story, 0)
	require.NotEmpty(t, pinned)
	require.GreaterOrEqual(t, times[0], -30*time.Second)
}

func TestTargetsOfAPlan(t *testing.T) {
	changed := rehearsal.Rung{Changed: at(time.Minute)}
	story := run(t, script(t, rehearsal.Release{Opened: -time.Second, Deployed: at(0), Rungs: []rehearsal.Rung{changed}}))
	_, held := find[gatekeeper.Held](story, 0)
	require.Equal(t, gatekeeper.HoldTarget, held[0].Reason, "what was found at open is not put over somebody's change")

	changed.Set = true
	story = run(t, script(t, rehearsal.Release{Opened: -time.Second, Deployed: at(0), Rungs: []rehearsal.Rung{changed}}))
	_, held = find[gatekeeper.Held](story, 0)
	require.Empty(t, held, "what a plan sets is set whatever is there")

	slow := rehearsal.Rung{Takes: 20 * time.Second}
	story = run(t, script(t, rehearsal.Release{Opened: -time.Second, Deployed: at(0), Rungs: []rehearsal.Rung{slow}}))
	times, _ := find[gatekeeper.Reached](story, 0)
	require.WithinRange(t, story.Start.Add(times[0]), story.Start.Add(3*time.Minute+20*time.Second), story.Start.Add(3*time.Minute+40*time.Second))
}

func TestFaultsOfTheBackend(t *testing.T) {
	for _, kind := range []rehearsal.FaultKind{rehearsal.FaultError, rehearsal.FaultSlow, rehearsal.FaultEmpty, rehearsal.FaultPartial, rehearsal.FaultBusy} {
		t.Run(string(kind), func(t *testing.T) {
			s := script(t, rehearsal.Release{Opened: -time.Second, Deployed: at(0)})
			s.Faults = []rehearsal.Fault{{Span: rehearsal.Span{From: time.Minute, To: 8 * time.Minute}, Kind: kind}}
			story := run(t, s)
			_, held := find[gatekeeper.Held](story, 0)
			require.Equal(t, gatekeeper.HoldBlind, held[0].Reason)
			times, _ := find[gatekeeper.Decided](story, 0)
			require.GreaterOrEqual(t, times[0], 8*time.Minute, "nothing is decided blindly")
		})
	}
}

func TestWhatPeopleDo(t *testing.T) {
	deeds := []rehearsal.Deed{
		{At: 30 * time.Second, Do: rehearsal.Hold, Who: "a"},
		{At: 40 * time.Second, Do: rehearsal.Resume, Who: "a"},
		{At: 41 * time.Second, Do: rehearsal.Extend, Who: "a", For: time.Minute},
		{At: 42 * time.Second, Do: rehearsal.KillSwitchOn, Who: "a"},
		{At: 4 * time.Minute, Do: rehearsal.Approve, Who: "a"},
		{At: 5 * time.Minute, Do: rehearsal.KillSwitchOff, Who: "a"},
		{At: 6 * time.Minute, Do: rehearsal.Mark, Who: "a"},
		{At: 7 * time.Minute, Do: "bury", Who: "a"},
		{At: 8 * time.Minute, Do: rehearsal.Rollback, Who: "a"},
		{At: 9 * time.Minute, Do: rehearsal.Veto, Who: "a"},
	}
	s := script(t, rehearsal.Release{Opened: -time.Second, Deployed: at(0), Deeds: deeds, Closed: at(9 * time.Minute)})
	told := run(t, s).Releases[0]
	for i := range 4 {
		require.NoError(t, told.Deeds[i], deeds[i].Do)
	}
	require.ErrorContains(t, told.Deeds[4], "kill switch", "it can't be overruled")
	require.NoError(t, told.Deeds[5])
	require.ErrorContains(t, told.Deeds[7], "nobody can")
	require.Error(t, told.Closing, "it has ended before")
	require.Error(t, told.Deeds[9])
}

func TestScriptsThatCantBePlayed(t *testing.T) {
	one := script(t, rehearsal.Release{Opened: -time.Second})
	early := one
	early.Start = rehearsal.Epoch.Add(-time.Second)
	long := script(t, rehearsal.Release{Opened: -25 * time.Hour})
	frozen := one
	frozen.Freezes = []rehearsal.Freeze{{Span: rehearsal.Span{From: time.Second, To: time.Minute}}}
	dead := one
	dead.Faults = []rehearsal.Fault{{Kind: rehearsal.Killed, Span: rehearsal.Span{From: time.Minute}}}
	many := script(t, rehearsal.Release{Rungs: make([]rehearsal.Rung, 2)})
	other := script(t, rehearsal.Release{Rungs: []rehearsal.Rung{{Action: "exec/run"}}})
	for name, s := range map[string]rehearsal.Script{
		"earliest instant": early, "before its time 0": long, "freeze 1": frozen, "can't be killed": dead, "2 rungs": many, "exec/run": other,
	} {
		_, err := rehearsal.Run(t.Context(), s)
		require.ErrorContains(t, err, name)
	}
}

func TestPanicsAreErrors(t *testing.T) {
	s := script(t, rehearsal.Release{Opened: -time.Second, Deployed: at(0)})
	s.Releases[0].Request.Bundle = nil // which the script's reader never leaves out
	_, err := rehearsal.Run(t.Context(), s)
	require.ErrorContains(t, err, "panic in virtual time")
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := rehearsal.Run(ctx, script(t, rehearsal.Release{Opened: -time.Second, Deployed: at(0)}))
	require.ErrorIs(t, err, context.Canceled)
}

// Releases of one script act on the same systems.
func TestTwoReleases(t *testing.T) {
	s := script(t, rehearsal.Release{Opened: -time.Second, Deployed: at(0)})
	s.Releases = append(s.Releases, rehearsal.Release{
		Request: engine.OpenRequest{Version: "v3", Bundle: &rules.Bundle{File: health}},
		Opened:  time.Minute, Deployed: at(90 * time.Second),
		Deeds: []rehearsal.Deed{{At: 5 * time.Minute, Do: rehearsal.Rollback, Who: "a"}},
	})
	story := run(t, s)
	_, closed := find[gatekeeper.Closed](story, 0)
	require.Equal(t, gatekeeper.OutcomeSuperseded, closed[0].Outcome)
	_, reached := find[gatekeeper.Reached](story, 1)
	require.Contains(t, reached[0].Live.Says, "v1")
}
