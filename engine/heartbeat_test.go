package engine_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/engine"
)

func beating(req *engine.OpenRequest) { req.ID, req.Heartbeat = "p1", 2*time.Minute }

// beat gives a sign of life.
func (w *world) beat(id string) {
	w.t.Helper()
	_, err := w.e.Heartbeat(w.t.Context(), id, engine.By{Actor: "ci"})
	require.NoError(w.t, err)
}

// notes gives when people were told of the pipeline and whether it was missing.
func (w *world) notes(id string) (at []time.Duration, missing []bool) {
	w.t.Helper()
	times, bodies := w.facts(id, gatekeeper.KindNoted)
	for i, b := range bodies {
		n := b.(gatekeeper.Noted)
		require.NotNil(w.t, n.Pipeline, n.Text)
		require.Equal(w.t, n.Loud, !n.Pipeline.SilentSince.IsZero(), n.Text)
		at, missing = append(at, times[i]), append(missing, n.Loud)
	}
	return at, missing
}

func quiet(w *world) {
	w.script(func(string, string, time.Duration) (float64, bool) { return 0, false })
}

func TestHeartbeat_MissingIsToldOnceAndTheReleaseGoesOn(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		quiet(w)
		id := w.open(ruleR+flagPlan, beating).ID
		for at := time.Minute; at <= 4*mnt; at += time.Minute {
			w.to(at)
			w.beat(id)
		}
		require.EqualValues(t, 3, w.release(id).Seq, "beats are not journaled; %s", w.story(id))
		w.to(6*mnt - sec)
		require.True(t, w.release(id).SilentSince.IsZero())
		w.to(9 * mnt)
		at, missing := w.notes(id)
		require.Equal(t, []time.Duration{6 * mnt}, at)
		require.Equal(t, []bool{true}, missing)
		_, body := w.one(id, gatekeeper.KindNoted)
		require.Contains(t, body.(gatekeeper.Noted).Text, "since "+w.d.Add(4*mnt).UTC().Format(time.RFC3339))
		require.Equal(t, 4*mnt, w.since(w.release(id).SilentSince))
		require.Equal(t, gatekeeper.Waiting, w.release(id).State)
		w.to(11 * mnt)
		closed, _ := w.one(id, gatekeeper.KindClosed)
		require.Equal(t, 10*mnt, closed)
		w.outcome(id, gatekeeper.OutcomeInconclusive)
	})
}

func TestHeartbeat_BackIsNoted(t *testing.T) {
	for name, sign := range map[string]func(w *world, id string){
		"heartbeat": func(w *world, id string) { w.beat(id) },
		"open":      func(w *world, _ string) { w.open(ruleR+flagPlan, beating) },
		"mark": func(w *world, id string) {
			_, err := w.e.Mark(w.t.Context(), id, engine.By{Actor: "ci"})
			require.NoError(w.t, err)
		},
		"deployed": func(w *world, id string) {
			_, err := w.e.Deployed(w.t.Context(), id, engine.By{Actor: "ci"})
			require.NoError(w.t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			timeline(t, func(t *testing.T, w *world) {
				quiet(w)
				id := w.open(ruleR+flagPlan, beating).ID
				w.to(5 * mnt)
				sign(w, id)
				at, missing := w.notes(id)
				require.Equal(t, []time.Duration{2 * mnt, 5 * mnt}, at, w.story(id))
				require.Equal(t, []bool{true, false}, missing)
				_, bodies := w.facts(id, gatekeeper.KindNoted)
				require.Contains(t, bodies[1].(gatekeeper.Noted).Text, "after 5m0s of silence")
				require.True(t, w.release(id).SilentSince.IsZero())
			})
		})
	}
}

func TestHeartbeat_AfterDeployedOnlyWhoWaitsOwesSigns(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		id := w.open(ruleR+flagPlan, beating).ID
		w.deploy(id)
		w.to(5 * mnt)
		at, _ := w.notes(id)
		require.Empty(t, at, w.story(id))
		w.beat(id)
		w.to(6 * mnt)
		_, err := w.e.Extend(t.Context(), id, mnt, engine.By{})
		require.NoError(t, err)
		w.to(9 * mnt)
		at, _ = w.notes(id)
		require.Equal(t, []time.Duration{8 * mnt}, at, w.story(id))
		w.to(32 * mnt)
		w.outcome(id, gatekeeper.OutcomePassed)
	})
}

func TestHeartbeat_CountsFromARestart(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		quiet(w)
		id := w.open(ruleR+flagPlan, beating).ID
		w.to(time.Minute)
		w.kill()
		w.to(4 * mnt)
		w.start()
		w.to(7 * mnt)
		at, _ := w.notes(id)
		require.Equal(t, []time.Duration{6 * mnt}, at, w.story(id))
		w.kill()
		w.start()
		w.to(9 * mnt)
		w.beat(id)
		at, missing := w.notes(id)
		require.Equal(t, []time.Duration{6 * mnt, 9 * mnt}, at, w.story(id))
		require.Equal(t, []bool{true, false}, missing)
	})
}

func TestHeartbeat_OnlyWhereItWasPromised(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		quiet(w)
		id := w.open(ruleR + flagPlan).ID
		w.beat(id)
		w.to(9 * mnt)
		at, _ := w.notes(id)
		require.Empty(t, at)
	})
}

func TestHeartbeat_Refusals(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		for _, d := range []time.Duration{-1, time.Millisecond, 25 * time.Hour} {
			_, err := w.e.Open(t.Context(), engine.OpenRequest{Version: "v2", Heartbeat: d, Bundle: bundle(ruleR + flagPlan)})
			require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(err), d)
		}
		id := w.open(ruleR+flagPlan, beating).ID
		_, err := w.e.Close(t.Context(), id, engine.By{})
		require.NoError(t, err)
		_, err = w.e.Heartbeat(t.Context(), id, engine.By{})
		require.Equal(t, gatekeeper.CodeConflict, gatekeeper.CodeOf(err))
	})
}
