package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
)

const (
	maxAttempts   = 3                     // at one rung
	attemptAgain  = time.Second           // before the second attempt; doubled for each further
	hangGrace     = time.Second           // for an action that returns a little after its deadline
	lookFirst     = 20 * time.Millisecond // between looks at a target
	lookShare     = 8                     // then an eighth of the time since Apply: what is reached is seen soon
	lookAtMost    = time.Second           // and no more than this
	unknownFor    = 5 * time.Second       // how long the effect of an attempt with an unknown outcome is looked for
	progressLimit = 10 * time.Minute      // how long a target may be in progress
)

// apply takes the ladder's present rung, beside the run: never behind polling.
func (u *run) apply(time.Time) error {
	i := u.r.Rung
	switch {
	case u.busy["ladder"]:
		return nil
	case i >= len(u.r.Rungs):
		return u.record(gatekeeper.Closed{
			Outcome: gatekeeper.OutcomeRollbackFailed,
			Why:     "no rung of the rollback plan is left; the service may still be on the bad version: take it back by hand",
		})
	case !u.r.Rungs[i].Usable():
		return u.record(gatekeeper.GaveUp{Rung: i, Why: "it has no pinned target: " + u.r.Rungs[i].Problem})
	case u.actions[i] == nil:
		return u.record(gatekeeper.GaveUp{Rung: i, Why: "its action can't be opened with the present configuration; see the log"})
	}
	c := &climb{
		u: u, i: i, rung: u.r.Rungs[i], action: u.actions[i], more: u.usableAfter(i),
		key: gatekeeper.Key(fmt.Sprintf("%s/%d", u.id, i+1)), hangs: u.hung[i],
	}
	var err error
	u.job("ladder", time.Hour, func(ctx context.Context) { err = c.run(ctx) }, func() {
		u.hung[i] = c.hangs
		if err != nil && u.ctx.Err() == nil {
			u.failed(time.Now(), err)
		}
	})
	return nil
}

func (u *run) usableAfter(i int) bool {
	for _, rung := range u.r.Rungs[i+1:] {
		if rung.Usable() {
			return true
		}
	}
	return false
}

// climb is the way of one rung: observe, apply, observe, until its target is reached or it is
// given up. Everything it does is recorded through the run before the next thing is done; when it
// is taken up again after a crash the facts say where it was.
type climb struct {
	u      *run
	i      int
	rung   gatekeeper.Rung // as recorded
	action actions.Action
	key    gatekeeper.Key
	more   bool // there is a usable rung after this one
	hangs  bool // an Apply did not return at its deadline: never start a second beside it
}

// run ends with the rung reached or given up, or with an error when that could not be recorded.
func (c *climb) run(ctx context.Context) error {
	if last := c.last(); last != nil && last.Result == "" {
		if err := c.record(ctx, gatekeeper.Attempted{Rung: c.i, Result: gatekeeper.ResultUnknown, Error: "Gatekeeper stopped while the attempt was under way"}); err != nil {
			return err
		}
	}
	live := c.look(ctx)
	if live.Position == gatekeeper.AtTarget {
		if c.last() == nil && c.more {
			return c.record(ctx, gatekeeper.GaveUp{Rung: c.i, Why: "skipped: it was at its target already: " + live.Says})
		}
		return c.record(ctx, gatekeeper.Reached{Rung: c.i, Live: live, Already: c.last() == nil})
	}
	for {
		if last := c.last(); last != nil {
			if done, err := c.settle(ctx, *last); done || err != nil {
				return err
			}
		}
		if err := c.attempt(ctx); err != nil {
			return err
		}
	}
}

// settle says what follows from the latest attempt: the rung is reached or given up, or another
// attempt is due.
func (c *climb) settle(ctx context.Context, last gatekeeper.Attempt) (done bool, err error) {
	if last.Result == gatekeeper.ResultDone && c.unobservable() {
		return true, c.record(ctx, gatekeeper.Reached{Rung: c.i, Live: gatekeeper.Live{Position: gatekeeper.Unknown, Says: "accepted; the metrics tell whether it worked"}})
	}
	why := last.Error
	if last.Result != gatekeeper.ResultFailed {
		live, ok, err := c.awaitTarget(ctx, last.Result)
		if err != nil {
			return false, err
		}
		if ok {
			return true, c.record(ctx, gatekeeper.Reached{Rung: c.i, Live: live})
		}
		if c.rung.Safety == gatekeeper.NoRetry {
			return true, c.record(ctx,
				gatekeeper.Noted{Loud: true, Text: fmt.Sprintf("the outcome of %s is not known and it is never repeated: look at the target; the metrics tell whether the next rung is needed", c.rung.Action)},
				gatekeeper.Reached{Rung: c.i, Live: gatekeeper.Live{Position: gatekeeper.Unknown, Says: "the outcome is not known"}})
		}
		if why == "" { // it was accepted, and had no effect
			why = live.Says
		}
	}
	switch n := len(c.rung.Attempts); {
	case c.hangs:
		return true, c.record(ctx, gatekeeper.GaveUp{Rung: c.i, Why: "the action hangs, and a second attempt beside it could do harm"})
	case n >= maxAttempts:
		return true, c.record(ctx, gatekeeper.GaveUp{Rung: c.i, Why: fmt.Sprintf("not at its target after %d attempts: %s", n, why)})
	default:
		return false, sleep(ctx, attemptAgain<<(n-1))
	}
}

// attempt applies once: the intent is durable before, the result after.
func (c *climb) attempt(ctx context.Context) error {
	if err := c.record(ctx, gatekeeper.Attempting{Rung: c.i, Key: c.key}); err != nil {
		return err
	}
	receipt, err := c.applyOnce(ctx)
	if ctx.Err() != nil {
		return ctx.Err() // Gatekeeper stops: the facts say that the outcome is unknown
	}
	ended := gatekeeper.Attempted{Rung: c.i, Result: gatekeeper.ResultDone, Receipt: &receipt}
	if err != nil {
		ended = gatekeeper.Attempted{Rung: c.i, Result: gatekeeper.ResultUnknown, Error: capped(err.Error())}
		if errors.Is(err, actions.ErrNoEffect) {
			ended.Result = gatekeeper.ResultFailed
		}
	}
	return c.record(ctx, ended)
}

// applyOnce calls Apply with its deadline, and comes back also when Apply does not.
func (c *climb) applyOnce(ctx context.Context) (gatekeeper.Receipt, error) {
	limit := c.u.e.cfg.ActionTimeout
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	type answer struct {
		receipt gatekeeper.Receipt
		err     error
	}
	answered, action, target, key := make(chan answer, 1), c.action, *c.rung.Target, c.key
	go func() {
		receipt, err := action.Apply(ctx, target, key)
		answered <- answer{receipt, err}
	}()
	hung := time.NewTimer(limit + hangGrace)
	defer hung.Stop()
	select {
	case a := <-answered:
		return a.receipt, a.err
	case <-hung.C:
		c.hangs = true
		return gatekeeper.Receipt{}, fmt.Errorf("%s did not return within %s", c.rung.Action, limit)
	}
}

// awaitTarget looks until the target is reached or it is not worth waiting any longer: for what
// was accepted and is in progress longer than for an effect of which nobody knows.
func (c *climb) awaitTarget(ctx context.Context, result gatekeeper.Result) (live gatekeeper.Live, there bool, err error) {
	start := time.Now()
	said := ""
	for {
		live = c.look(ctx)
		limit := c.u.e.cfg.ActionTimeout
		switch {
		case live.Position == gatekeeper.AtTarget:
			return live, true, nil
		case live.Position == gatekeeper.InProgress:
			limit = progressLimit
			if live.Says != said {
				said = live.Says
				if err := c.record(ctx, gatekeeper.Observed{Rung: c.i, Live: live}); err != nil {
					return live, false, err
				}
			}
		case result == gatekeeper.ResultUnknown:
			limit = unknownFor
		}
		if time.Since(start) >= limit {
			return live, false, nil
		}
		pause := min(max(lookFirst, time.Since(start)/lookShare), lookAtMost)
		if err := sleep(ctx, pause); err != nil {
			return live, false, err
		}
	}
}

func (c *climb) look(ctx context.Context) gatekeeper.Live {
	ctx, cancel := context.WithTimeout(ctx, c.u.e.cfg.ActionTimeout)
	defer cancel()
	found, action, target := make(chan gatekeeper.Live, 1), c.action, *c.rung.Target
	go func() { found <- observe(ctx, action, target) }()
	select {
	case live := <-found:
		return live
	case <-ctx.Done():
		return gatekeeper.Live{Position: gatekeeper.Unknown, Says: "it could not be observed in time"}
	}
}

func (c *climb) unobservable() bool {
	blind, ok := c.action.(actions.Blind)
	return ok && blind.Unobservable()
}

func (c *climb) last() *gatekeeper.Attempt {
	if n := len(c.rung.Attempts); n > 0 {
		return &c.rung.Attempts[n-1]
	}
	return nil
}

func (c *climb) record(ctx context.Context, bodies ...gatekeeper.Body) error {
	return c.u.do(ctx, func() error {
		if err := c.u.record(bodies...); err != nil {
			return err
		}
		c.rung = c.u.r.Rungs[c.i]
		return nil
	})
}

func capped(s string) string {
	if len(s) > gatekeeper.MaxEvidenceText {
		return s[:gatekeeper.MaxEvidenceText] + " …"
	}
	return s
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
