package engine_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/engine"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

func TestFault_OpenWhileTheEngineStops(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		w.slowly(func() time.Duration { return 5 * sec })
		result := make(chan error, 1)
		go func() {
			r, err := w.e.Open(t.Context(), engine.OpenRequest{ID: "x", Version: "v2", PreviousVersion: "v1", Bundle: bundle(ruleR + flagPlan)})
			t.Logf("state %s", r.State)
			result <- err
		}()
		w.to(sec)
		w.stop()
		require.Equal(t, gatekeeper.CodeUnavailable, gatekeeper.CodeOf(<-result))
		w.start()
	})
}

func TestFault_WriteThatLandedAllTheSame(t *testing.T) {
	for _, kind := range []gatekeeper.Kind{gatekeeper.KindOpened, gatekeeper.KindPrepared, gatekeeper.KindDeployed, gatekeeper.KindAttempting, gatekeeper.KindAttempted} {
		t.Run(string(kind), func(t *testing.T) {
			timeline(t, func(t *testing.T, w *world) {
				bad(w)
				j := w.hook()
				j.set(once(kind, true))
				ctx, cancel := context.WithTimeout(t.Context(), mnt)
				defer cancel()
				r, err := w.e.Open(ctx, engine.OpenRequest{ID: "x", Version: "v2", PreviousVersion: "v1", Bundle: bundle(ruleR + replace(flagPlan, "switch/set", "switch/once"))})
				require.NoError(t, err)
				require.Equal(t, gatekeeper.Waiting, r.State)
				w.deploy("x")
				w.to(6 * mnt)
				w.outcome("x", gatekeeper.OutcomeRolledBack)
				require.Equal(t, []string{"v1"}, w.targets["one"].done())
			})
		})
	}
}

func TestFault_OpeningInDoubt(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		w.stop()
		j := &dying{Journal: w.journal, after: gatekeeper.KindOpened}
		w.cfg.Journal = j
		w.boot()
		req := engine.OpenRequest{ID: "x", Version: "v2", PreviousVersion: "v1", Bundle: bundle(ruleR + flagPlan)}
		_, err := w.e.Open(t.Context(), req)
		require.Equal(t, gatekeeper.CodeUnavailable, gatekeeper.CodeOf(err))
		j.dieAfter("none")
		time.Sleep(mnt)
		r, err := w.e.Open(t.Context(), req)
		require.NoError(t, err)
		require.Equal(t, gatekeeper.Waiting, r.State, w.story("x"))
	})
}

func TestFault_JournalBackAgain(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		j := w.hook()
		j.set(once(gatekeeper.KindOpened, false))
		req := engine.OpenRequest{Version: "v2", PreviousVersion: "v1", Bundle: bundle(ruleR + flagPlan)}
		_, err := w.e.Open(t.Context(), req)
		require.Equal(t, gatekeeper.CodeUnavailable, gatekeeper.CodeOf(err))
		time.Sleep(mnt)
		require.NoError(t, w.e.Ready(), "nothing is open, so nothing but an open would ever write again")
		_, err = w.e.Open(t.Context(), req)
		require.NoError(t, err)
	})
}

func TestFault_ClosedWhileDeployedIsNoted(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		id := w.open(ruleR + flagPlan).ID
		w.targets["one"].stuck = 4 * sec
		result := make(chan error, 1)
		go func() {
			_, err := w.e.Deployed(t.Context(), id, engine.By{})
			result <- err
		}()
		time.Sleep(sec)
		_, err := w.e.Close(t.Context(), id, engine.By{Actor: "a"})
		require.NoError(t, err)
		defer time.Sleep(mnt)
		select {
		case err := <-result:
			require.Equal(t, gatekeeper.CodeConflict, gatekeeper.CodeOf(err))
		case <-time.After(time.Hour):
			t.Fatal("hangs")
		}
	})
}

func TestFault_OldReleasePassesWhileTheNextIsOpened(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		restore := replace(flagPlan, "{name: one}", "{name: one, restore: true}")
		j := w.hook()
		id := w.opened(ruleR + restore)
		w.to(30*mnt - sec)
		j.putting = func() { time.Sleep(2 * sec) }
		r3 := w.open(ruleR+restore, func(r *engine.OpenRequest) { r.Version, r.PreviousVersion = "v3", "" })
		w.outcome(id, gatekeeper.OutcomePassed)
		require.Empty(t, r3.Supersedes)
		require.Equal(t, "v2", r3.PreviousVersion)
		require.Equal(t, "one at v2", r3.Rungs[0].Target.Says)
	})
}

type loudBackend struct{ rules.Querier }

func (q loudBackend) Query(ctx context.Context, expr string, at time.Time) (rules.Vector, error) {
	v, err := q.Querier.Query(ctx, expr, at)
	if err != nil || len(v.Samples) == 0 || v.Samples[0].Value < 0.01 {
		return v, err
	}
	var many rules.Vector
	for i := range 20 {
		l := map[string]string{"i": fmt.Sprint(i)}
		for n := range 31 {
			l[fmt.Sprintf("%s%d", strings.Repeat("l", 250), n)] = strings.Repeat("é", 150)
		}
		many.Samples = append(many.Samples, gatekeeper.Sample{Labels: l, Value: v.Samples[0].Value})
	}
	return many, nil
}

func TestFault_ManyLongLabels(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		w.reconfigure(func(c *engine.Config) { c.Backends = map[string]rules.Querier{"": loudBackend{w.backend()}} })
		file := ruleR
		for i := range 9 {
			file += strings.Replace(ruleS, "alert: S", fmt.Sprintf("alert: S%d", i), 1)
		}
		id := w.opened(strings.ReplaceAll(file, "130s", "2m") + flagPlan)
		w.to(6 * mnt)
		at, _ := w.one(id, gatekeeper.KindDecided)
		require.Equal(t, 5*mnt, at)
	})
}

func TestFault_PrepareHangs(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		w.targets["one"].stuck = 2 * time.Hour
		result := make(chan error, 1)
		go func() {
			_, err := w.e.Open(t.Context(), engine.OpenRequest{Version: "v2", PreviousVersion: "v1", Bundle: bundle(ruleR + flagPlan)})
			result <- err
		}()
		defer time.Sleep(3 * time.Hour)
		select {
		case err := <-result:
			require.Equal(t, gatekeeper.CodeRefused, gatekeeper.CodeOf(err))
		case <-time.After(time.Hour):
			t.Error("hangs")
		}
	})
}

// fileless is a journal that gives one of its files and no other.
type fileless struct {
	gatekeeper.Journal
	file string
}

func (f *fileless) File(ctx context.Context, hash string) ([]byte, error) {
	if hash == f.file {
		return f.Journal.File(ctx, hash)
	}
	return nil, fmt.Errorf("disk on fire")
}

func TestFault_NothingRunsAfterAFailedStart(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		id := w.opened(ruleR + flagPlan)
		w.open("service: other\n" + replace(ruleR, "service: checkout\n", "") + flagPlan)
		r := w.release(id)
		w.stop()
		w.cfg.Journal = &fileless{Journal: w.journal, file: r.File}
		e, err := engine.New(w.cfg)
		require.NoError(t, err)
		require.ErrorContains(t, e.Run(t.Context()), "disk on fire")
		before := w.release(id).Seq
		w.to(40 * mnt)
		require.Equal(t, before, w.release(id).Seq, "runs beside the one that will be started next")
		w.start()
	})
}

// The answer of a write is lost while an Apply hangs: no second Apply beside it.
func TestFault_NeverTwoAppliesAtOnce(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		j := w.hook()
		j.set(once(gatekeeper.KindAttempted, false))
		w.targets["one"].hang = time.Hour
		id := w.opened(ruleR + twoRungs)
		w.to(10 * mnt)
		w.outcome(id, gatekeeper.OutcomeRolledBack)
		require.Len(t, w.release(id).Rungs[0].Attempts, 1)
		w.to(2 * time.Hour)
	})
}

// severed is a journal that writes but loses its answers and can't be read, while it is cut off.
type severed struct {
	gatekeeper.Journal
	off atomic.Bool
}

func (j *severed) Commit(ctx context.Context, entries ...gatekeeper.Entry) error {
	return errors.Join(j.Journal.Commit(ctx, entries...), j.err())
}

func (j *severed) Facts(ctx context.Context, id string) ([]gatekeeper.Fact, error) {
	facts, err := j.Journal.Facts(ctx, id)
	return facts, errors.Join(err, j.err())
}

func (j *severed) err() error {
	if j.off.Load() {
		return errDown
	}
	return nil
}

// Somebody approves, and nobody can tell whether that was written: it was, so it is done as soon as the
// journal can be read, and shown.
func TestFault_ApprovedWhileTheJournalIsCutOff(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		bad(w)
		w.stop()
		j := &severed{Journal: w.journal}
		w.cfg.Journal = j
		w.boot()
		id := w.opened(ruleR + flagPlan + holdRoute)
		w.to(6 * mnt)
		require.Equal(t, gatekeeper.Holding, w.release(id).State, w.story(id))
		j.off.Store(true)
		_, err := w.e.Approve(t.Context(), id, engine.By{Actor: "alice"})
		require.Error(t, err)
		j.off.Store(false)
		w.to(6*mnt + 2*sec)
		r, err := w.e.Release(t.Context(), id)
		require.NoError(t, err)
		require.NotNil(t, r.Decision)
		require.Equal(t, gatekeeper.CauseApproved, r.Decision.Cause)
		w.to(10 * mnt)
		w.outcome(id, gatekeeper.OutcomeRolledBack)
	})
}

// The pipeline reports the version in time, and the rungs take a while to say what is there.
func TestFault_DeployedAtTheLastMoment(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		w.script(func(_, version string, at time.Duration) (float64, bool) { return 0, version == "v1" || at > 0 })
		id := w.open(ruleR + flagPlan).ID
		w.to(10*mnt - sec)
		w.targets["one"].stuck = 3 * sec
		w.deploy(id)
		require.Equal(t, gatekeeper.Watching, w.release(id).State, w.story(id))
	})
}

func TestFault_OpenedAgainWhileAPassedOneIsTakenBack(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		id := w.opened(ruleR + flagPlan)
		w.to(31 * mnt)
		w.outcome(id, gatekeeper.OutcomePassed)
		w.targets["one"].hang = 20 * sec
		_, err := w.e.Rollback(t.Context(), id, engine.By{Actor: "a"})
		require.NoError(t, err)
		_, err = w.e.Open(t.Context(), engine.OpenRequest{Version: "v2", PreviousVersion: "v1", Bundle: bundle(ruleR + flagPlan)})
		require.Equal(t, gatekeeper.CodeConflict, gatekeeper.CodeOf(err))
		w.to(3 * time.Hour)
	})
}

// An alert for a release that is still being prepared is kept, and was there before it.
func TestFault_AlertWhilePreparing(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		w.targets["one"].stuck = 5 * sec
		go func() {
			_, err := w.e.Open(t.Context(), engine.OpenRequest{ID: "x", Version: "v2", PreviousVersion: "v1", Bundle: bundle(external + flagPlan)})
			assert.Error(t, err, "it dies before it is prepared")
		}()
		w.to(sec)
		got, err := w.e.Receive(t.Context(), "prometheus", "prom", []gatekeeper.Alert{alert("k", time.Now(), time.Time{}, true)})
		require.NoError(t, err)
		require.Equal(t, 1, got.Matched)
		w.kill()
		w.start()
		w.to(10 * sec)
		r := w.release("x")
		require.Equal(t, gatekeeper.Waiting, r.State)
		require.True(t, r.Alerts["k"].Preexisting)
	})
}
