package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
)

// change has f run on the release's goroutine and gives the release after it. A closed release is
// refused with its outcome.
func (e *Engine) change(ctx context.Context, id, verb string, f func(u *run) error) (gatekeeper.Release, error) {
	u, ok := e.find(id)
	if !ok {
		return e.refuseClosed(ctx, id, verb)
	}
	var r gatekeeper.Release
	err := u.do(ctx, func() error {
		err := f(u)
		r = u.r
		return err
	})
	if errors.Is(err, errRunOver) {
		return e.refuseClosed(ctx, id, verb)
	}
	return r, err
}

func (e *Engine) refuseClosed(ctx context.Context, id, verb string) (gatekeeper.Release, error) {
	r, err := e.Release(ctx, id)
	if err != nil {
		return r, err
	}
	if !r.Closed() {
		return r, gatekeeper.Errorf(gatekeeper.CodeUnavailable, "try again in a moment", "release %s is not being run now", id)
	}
	return r, gatekeeper.Errorf(gatekeeper.CodeConflict, "see: gatekeeper release show "+id, "release %s is closed (%s: %s): there is nothing to %s", id, r.Outcome, r.Why, verb)
}

// wrongState refuses a verb, and says why the release is where it is.
func (u *run) wrongState(verb string) error {
	return gatekeeper.Errorf(gatekeeper.CodeConflict, "see: gatekeeper release show "+u.id, "release %s is %s: there is nothing to %s%s", u.id, u.r.State, verb, u.resumedWhy())
}

func (u *run) resumedWhy() string {
	if u.resumed == "" {
		return ""
	}
	return " (the last hold ended: " + u.resumed + ")"
}

// Deployed starts the window. Said again, as after each step of a stepwise rollout, it notes what
// is live at the rungs by then as the released state.
func (e *Engine) Deployed(ctx context.Context, id string, by By) (gatekeeper.Release, error) {
	at, done := time.Now(), make(chan error, 1)
	var over <-chan struct{}
	r, err := e.byPipeline(ctx, id, "mark as deployed", by, func(u *run) error {
		over = u.done
		u.signs.promised = false // until it beats while it waits
		switch u.r.State {
		case gatekeeper.Waiting, gatekeeper.Watching, gatekeeper.Holding:
			u.deploy(at, "pipeline", by.Actor, func(err error) { done <- err })
			return nil
		default:
			return u.wrongState("mark as deployed")
		}
	})
	if err != nil {
		return r, err
	}
	select {
	case err = <-done:
	case <-over:
		return e.refuseClosed(ctx, id, "mark as deployed")
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return r, err
	}
	return e.Release(ctx, id)
}

// Approve lets a held release's rollback through. The kill switch can't be overruled.
func (e *Engine) Approve(ctx context.Context, id string, by By) (gatekeeper.Release, error) {
	return e.change(ctx, id, "approve", func(u *run) error {
		switch {
		case u.r.State != gatekeeper.Holding:
			return u.wrongState("approve")
		case len(u.r.Rungs) == 0:
			return gatekeeper.Errorf(gatekeeper.CodeConflict, "take it back by hand", "release %s has no rollback plan to approve", id)
		}
		if err := e.neverActs(u.r); err != nil {
			return err
		}
		if says := u.guardKillSwitch(time.Now(), nil); says != "" {
			return gatekeeper.Errorf(gatekeeper.CodeRefused, "turn it off first: gatekeeper kill-switch off", "the rollback of %s is not approved: %s", id, says)
		}
		h := u.r.Hold
		return u.decide(gatekeeper.CauseApproved, by.Actor, h.Breaches, join2("approved by "+by.Name(), by.Why))
	})
}

// Veto ends a hold with a no: what breached is muted for this release.
func (e *Engine) Veto(ctx context.Context, id string, by By) (gatekeeper.Release, error) {
	return e.change(ctx, id, "veto", func(u *run) error {
		if u.r.State != gatekeeper.Holding {
			return u.wrongState("veto")
		}
		h := u.r.Hold
		if h.Inconclusive() {
			return u.recordBy(by.Actor, time.Now(), gatekeeper.Closed{Outcome: gatekeeper.OutcomeInconclusive, Why: join2("rollback vetoed by "+by.Name(), by.Why)})
		}
		v := gatekeeper.Vetoed{Rules: slices.Clone(h.Blind), Why: by.Why}
		for _, b := range h.Breaches {
			v.Rules = append(v.Rules, b.Rule)
		}
		return u.recordBy(by.Actor, time.Now(), v)
	})
}

// Hold stops automatic decisions until Resume, Approve or the deadline.
func (e *Engine) Hold(ctx context.Context, id string, by By) (gatekeeper.Release, error) {
	return e.change(ctx, id, "hold", func(u *run) error {
		if u.r.State != gatekeeper.Watching {
			return u.wrongState("hold")
		}
		now := time.Now()
		return u.recordBy(by.Actor, now, gatekeeper.Held{Reason: gatekeeper.HoldPerson, Says: join2("held by "+by.Name(), by.Why), Until: now.Add(time.Duration(u.r.HoldFor)).UTC()})
	})
}

// Resume ends a hold without muting anything: what still breaches is considered again.
func (e *Engine) Resume(ctx context.Context, id string, by By) (gatekeeper.Release, error) {
	return e.change(ctx, id, "resume", func(u *run) error {
		if u.r.State != gatekeeper.Holding {
			return u.wrongState("resume")
		}
		return u.recordBy(by.Actor, time.Now(), gatekeeper.Resumed{Why: join2("resumed by "+by.Name(), by.Why)})
	})
}

// Extend lengthens the window by d.
func (e *Engine) Extend(ctx context.Context, id string, d time.Duration, by By) (gatekeeper.Release, error) {
	return e.byPipeline(ctx, id, "extend", by, func(u *run) error {
		switch {
		case !u.r.Takes(gatekeeper.KindExtended):
			return u.wrongState("extend")
		case d <= 0 || d > 7*24*time.Hour:
			return invalid("extend by up to 7 days", "an extension of %s", d)
		}
		return u.recordBy(by.Actor, time.Now(), gatekeeper.Extended{Until: u.r.WindowEnd.Add(d), Why: join2("extended by "+by.Name(), by.Why)})
	})
}

// Mark tells that from here on going back may do harm: rollbacks ask a person first.
func (e *Engine) Mark(ctx context.Context, id string, by By) (gatekeeper.Release, error) {
	return e.byPipeline(ctx, id, "mark", by, func(u *run) error {
		if !u.r.Takes(gatekeeper.KindMarked) {
			return u.wrongState("mark")
		}
		return u.recordBy(by.Actor, time.Now(), gatekeeper.Marked{Why: join2("marked by "+by.Name(), by.Why)})
	})
}

// Close ends a release as aborted. A rollback under way can't be stopped by it.
func (e *Engine) Close(ctx context.Context, id string, by By) (gatekeeper.Release, error) {
	return e.change(ctx, id, "close", func(u *run) error {
		switch u.r.State {
		case gatekeeper.Applying, gatekeeper.Verifying:
			return gatekeeper.Errorf(gatekeeper.CodeConflict, "wait for it: gatekeeper release wait "+id, "release %s is being rolled back (%s): it can't be closed now", id, u.r.State)
		default:
			return u.recordBy(by.Actor, time.Now(), gatekeeper.Closed{Outcome: gatekeeper.OutcomeAborted, Why: join2("closed by "+by.Name(), by.Why)})
		}
	})
}

// Rollback is a person's decision. An open release is rolled back at once; of a closed, passed one
// a new release of purpose rollback is opened with the same targets, while they still make sense.
func (e *Engine) Rollback(ctx context.Context, id string, by By) (gatekeeper.Release, error) {
	if err := e.Ready(); err != nil {
		return gatekeeper.Release{}, err
	}
	if s := e.killSwitch.state(); s.On {
		return gatekeeper.Release{}, gatekeeper.Errorf(gatekeeper.CodeRefused, "turn it off first: gatekeeper kill-switch off", "the kill switch is on: %s is not rolled back", id)
	}
	if _, open := e.find(id); !open {
		return e.rollbackClosed(ctx, id, by)
	}
	return e.change(ctx, id, "roll back", func(u *run) error {
		if err := e.neverActs(u.r); err != nil {
			return err
		}
		switch {
		case !u.r.Takes(gatekeeper.KindDecided):
			return u.wrongState("roll back")
		case !slices.ContainsFunc(u.r.Rungs, gatekeeper.Rung.Usable):
			return gatekeeper.Errorf(gatekeeper.CodeConflict, "take it back by hand", "release %s has no rollback plan with a pinned target", id)
		}
		return u.decide(gatekeeper.CausePerson, by.Actor, nil, join2("rollback asked for by "+by.Name(), by.Why))
	})
}

// neverActs refuses to roll back what was opened to be watched only, and dry runs: a person's word
// does not change what everybody was told would happen.
func (e *Engine) neverActs(r gatekeeper.Release) error {
	what := "a dry run"
	switch {
	case r.WatchOnly:
		what = "only watched"
	case r.DryRun || e.dryRun(r.Service):
	default:
		return nil
	}
	return gatekeeper.Errorf(gatekeeper.CodeConflict, "take it back by hand", "release %s is %s: nothing is rolled back", r.ID, what)
}

func (e *Engine) rollbackClosed(ctx context.Context, id string, by By) (gatekeeper.Release, error) {
	e.opens.Lock()
	defer e.opens.Unlock()
	old, err := e.Release(ctx, id)
	if err != nil {
		return old, err
	}
	if old.Outcome != gatekeeper.OutcomePassed {
		return e.refuseClosed(ctx, id, "roll back")
	}
	if err := e.neverActs(old); err != nil {
		return old, err
	}
	if other := e.openOf(old.Service, old.Environment); other != nil {
		return old, gatekeeper.Errorf(gatekeeper.CodeConflict, "roll that one back, or close it first", "release %s of version %s is open for the same service", other.id, other.subject.Version)
	}
	if err := e.stillMakesSense(ctx, old); err != nil {
		return old, err
	}
	o := old.Opened
	pinned := make([]gatekeeper.Pinned, len(old.Rungs))
	o.Rungs = make([]gatekeeper.Rung, len(old.Rungs))
	for i, rung := range old.Rungs {
		pinned[i] = gatekeeper.Pinned{Rung: i, Target: rung.Target, Problem: rung.Problem}
		rung.Target, rung.Problem, rung.Released, rung.Attempts, rung.GaveUp, rung.ReachedAt = nil, "", nil, nil, "", time.Time{}
		o.Rungs[i] = rung
	}
	o.Purpose, o.RollbackOf, o.Supersedes, o.Request, o.Heartbeat, o.Labels = gatekeeper.PurposeRollback, id, "", "", 0, maps.Clone(o.Labels)
	return e.beginRollback(ctx, o, pinned, by)
}

func (e *Engine) beginRollback(ctx context.Context, o gatekeeper.Opened, pinned []gatekeeper.Pinned, by By) (gatekeeper.Release, error) {
	r, entry := gatekeeper.Release{ID: rand.Text()}, gatekeeper.Entry{}
	entry.Release = r.ID
	var err error
	for _, body := range []gatekeeper.Body{
		o,
		gatekeeper.Prepared{Rungs: pinned},
		gatekeeper.Decided{Cause: gatekeeper.CausePerson, Says: join2(fmt.Sprintf("rollback of the passed release %s asked for by %s", o.RollbackOf, by.Name()), by.Why)},
	} {
		f := gatekeeper.Fact{Seq: r.Seq + 1, At: time.Now().UTC(), Actor: by.Actor, Body: body}
		if r, err = r.With(f); err != nil {
			return r, err
		}
		entry.Facts = append(entry.Facts, f)
	}
	u, err := e.newRun(ctx, r)
	if err != nil {
		return r, err
	}
	if err := e.commit(ctx, entry); err != nil {
		e.beside(func() { e.settle(r) })
		return r, unavailable(err)
	}
	for _, f := range entry.Facts {
		u.seen(r, f)
	}
	e.start(u)
	return r, nil
}

// stillMakesSense refuses targets that are live already, or that somebody has changed since.
func (e *Engine) stillMakesSense(ctx context.Context, old gatekeeper.Release) error {
	ctx, cancel := context.WithTimeout(ctx, observeLimit)
	defer cancel()
	if says := compareTargets(old.Rungs, observeAll(ctx, old.Rungs, e.openRungs(old))); says != "" {
		return gatekeeper.Errorf(gatekeeper.CodeConflict, "take it back by hand, or open a release of the version to return to", "the targets of release %s make no sense any more: %s", old.ID, says)
	}
	if !slices.ContainsFunc(old.Rungs, gatekeeper.Rung.Usable) {
		return gatekeeper.Errorf(gatekeeper.CodeConflict, "take it back by hand", "release %s has no rollback plan with a pinned target", old.ID)
	}
	return nil
}

func join2(what, why string) string {
	if why == "" {
		return what
	}
	return what + ": " + why
}
