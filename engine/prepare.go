package engine

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// prepare pins what each rung returns to and judges the rules once, for what breaches already
// can't be the release's doing. All at once, for a pipeline waits.
func (u *run) prepare(now time.Time) error {
	pinned := make([]gatekeeper.Pinned, len(u.r.Rungs))
	readings := make([]gatekeeper.Reading, len(u.watches))
	r := u.r
	u.job("prepare", u.e.cfg.ActionTimeout, func(ctx context.Context) {
		inherited := u.inherited(ctx, r)
		var all sync.WaitGroup
		for i := range r.Rungs {
			all.Go(func() { pinned[i] = u.pin(ctx, r, i, inherited) })
		}
		for i, w := range u.watches {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(ctx, u.e.cfg.QueryTimeout)
				defer cancel()
				readings[i] = w.Rule.Judge(ctx, u.q, now)
			})
		}
		all.Wait()
	}, func() {
		if err := u.recordPrepared(pinned, readings); err != nil {
			u.failed(time.Now(), err)
		}
	})
	return nil
}

func (u *run) recordPrepared(pinned []gatekeeper.Pinned, readings []gatekeeper.Reading) error {
	var facts []gatekeeper.Body
	for i, r := range readings {
		w := u.watches[i]
		before := w.Open(r)
		w.told = w.Base
		facts = append(facts, gatekeeper.Judged{Track: w.Base, Reading: r.Within(min(maxEvidence, maxOfAll/len(readings))), Preexisting: before})
	}
	var problems []string
	for _, p := range pinned {
		if p.Target == nil {
			problems = append(problems, fmt.Sprintf("rung %d (%s): %s", p.Rung+1, u.r.Rungs[p.Rung].Action, p.Problem))
		}
	}
	none := len(problems) == len(pinned) && len(pinned) > 0
	if (none && !u.r.WatchOnly) || (len(problems) > 0 && u.file.Preflight == rules.Require) {
		facts = append(facts, gatekeeper.Closed{Outcome: gatekeeper.OutcomeAborted, Why: "the rollback plan can't be prepared: " + strings.Join(problems, "; ")})
	} else {
		facts = append(facts, gatekeeper.Prepared{Rungs: pinned})
	}
	return u.record(facts...)
}

// inherited gives the rungs of the release that this one supersedes: it never passed, so what it
// would have returned to is what this one returns to.
func (u *run) inherited(ctx context.Context, r gatekeeper.Release) []gatekeeper.Rung {
	if r.Supersedes == "" {
		return nil
	}
	old, err := u.e.Release(ctx, r.Supersedes)
	if err != nil {
		u.log.Error("the superseded release can't be read: its targets are not inherited", "supersedes", r.Supersedes, "err", err)
		return nil
	}
	return old.Rungs
}

// pin prepares one rung. What a superseded release would restore must not be asked again: live is
// the superseded version now.
func (u *run) pin(ctx context.Context, r gatekeeper.Release, i int, inherited []gatekeeper.Rung) gatekeeper.Pinned {
	rung := r.Rungs[i]
	for _, old := range inherited {
		if sameRung(old, rung) && old.Target != nil {
			return gatekeeper.Pinned{Rung: i, Target: old.Target}
		}
	}
	if u.actions[i] == nil {
		return gatekeeper.Pinned{Rung: i, Problem: "its action can't be opened with the present configuration"}
	}
	target, err := prepareOnce(ctx, u.actions[i])
	switch {
	case err != nil:
		return gatekeeper.Pinned{Rung: i, Problem: capped(err.Error())}
	case r.Supersedes != "" && target.Kind == gatekeeper.Restore:
		return gatekeeper.Pinned{Rung: i, Problem: "it would restore what is live now, which is the superseded version: the superseded release had no such rung"}
	}
	return gatekeeper.Pinned{Rung: i, Target: &target}
}

// prepareOnce calls Prepare, and comes back also when Prepare does not: a pipeline waits.
func prepareOnce(ctx context.Context, action actions.Action) (gatekeeper.Target, error) {
	type answer struct {
		target gatekeeper.Target
		err    error
	}
	answered := make(chan answer, 1)
	go func() {
		target, err := action.Prepare(ctx)
		answered <- answer{target, err}
	}()
	select {
	case a := <-answered:
		return a.target, a.err
	case <-ctx.Done():
		return gatekeeper.Target{}, fmt.Errorf("it could not be prepared in time: %w", ctx.Err())
	}
}

// prepareAgain tries the unusable rungs again while the release waits. What would restore the live
// state can only be pinned at open.
func (u *run) prepareAgain(now time.Time) {
	var broken []int
	for i, rung := range u.r.Rungs {
		if !rung.Usable() && u.actions[i] != nil {
			broken = append(broken, i)
		}
	}
	if len(broken) == 0 {
		return
	}
	if u.beat.prepare.IsZero() {
		u.beat.prepare = now.Add(prepareAgain)
	}
	if now.Before(u.beat.prepare) {
		u.wake(u.beat.prepare)
		return
	}
	r, pinned := u.r, make([]gatekeeper.Pinned, len(broken))
	u.job("prepare", u.e.cfg.ActionTimeout, func(ctx context.Context) {
		inherited := u.inherited(ctx, r)
		for n, i := range broken {
			pinned[n] = u.pin(ctx, r, i, inherited)
			if t := pinned[n].Target; t != nil && t.Kind == gatekeeper.Restore && len(inherited) == 0 {
				pinned[n].Target = nil // the pipeline may be deploying by now: live is no place to return to
			}
		}
	}, func() {
		u.beat.prepare = time.Now().Add(prepareAgain)
		for _, p := range pinned {
			if p.Target == nil || u.r.State != gatekeeper.Waiting {
				continue
			}
			if err := u.record(p); err != nil {
				u.failed(time.Now(), err)
			}
		}
	})
}
