package engine

import (
	"context"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
)

// steps says which step runs in which open state.
var steps map[gatekeeper.State]func(*run, time.Time) error

func init() { // here, for the steps lead back to the table
	steps = map[gatekeeper.State]func(*run, time.Time) error{
		gatekeeper.Preparing: (*run).prepare,
		gatekeeper.Waiting:   (*run).await,
		gatekeeper.Watching:  (*run).watch,
		gatekeeper.Holding:   (*run).hold,
		gatekeeper.Applying:  (*run).apply,
		gatekeeper.Verifying: (*run).verify,
	}
}

const (
	prepareAgain = 15 * time.Second // how often an unusable rung is prepared again while waiting
	observeLimit = 5 * time.Second  // deadline of looking at a rung where a decision waits for it
)

// await waits for the new version: the pipeline says that it is deployed, or it is seen.
func (u *run) await(now time.Time) error {
	deadline := u.r.OpenedAt.Add(time.Duration(u.r.StartWithin))
	if u.busy["deploy"] {
		return nil // it is there: the window starts once the rungs have been looked at
	}
	if !u.looked.Before(deadline) {
		return u.record(gatekeeper.Closed{
			Outcome: gatekeeper.OutcomeInconclusive,
			Why:     "version " + u.r.Version + " was neither reported as deployed nor seen with traffic within " + u.r.StartWithin.String(),
		})
	}
	u.prepareAgain(now)
	u.lookForTraffic(now, deadline)
	return nil
}

// lookForTraffic starts the window when the new version is seen with traffic. The last look is at
// the deadline or, when Gatekeeper was not running then, after it.
func (u *run) lookForTraffic(now, deadline time.Time) {
	if now.Before(u.beat.traffic) && now.Before(deadline) {
		u.wake(u.beat.traffic)
		u.wake(deadline)
		return
	}
	var seen bool
	u.job("traffic", u.e.cfg.QueryTimeout, func(ctx context.Context) {
		var err error
		if seen, _, err = u.bound.Traffic(ctx, u.q, now); err != nil {
			u.log.Warn("can't tell whether the new version has traffic; still waiting for it", "err", err)
		}
	}, func() {
		u.beat.traffic, u.looked = now.Add(u.pace()), now
		if seen && u.r.State == gatekeeper.Waiting {
			u.deploy(now, "traffic", "", nil)
		}
	})
}

// pace is the shortest interval of the file's rules: how often to look for the new version.
func (u *run) pace() time.Duration {
	pace := 15 * time.Second
	for _, w := range u.watches {
		pace = min(pace, w.Rule.Interval)
	}
	return pace
}

// deploy notes what is live at each rung as the released state, and starts the window at that
// instant if it has not started; done, unless nil, is told how it went. Who asks while that is
// under way is told after another look.
func (u *run) deploy(at time.Time, how, actor string, done func(error)) {
	if done != nil {
		u.deployed = append(u.deployed, done)
	}
	if u.busy["deploy"] {
		return // what is live may have changed since it began to look: it looks again then
	}
	told := u.deployed
	u.deployed = nil
	rungs, live := u.r.Rungs, []gatekeeper.Live(nil)
	u.job("deploy", observeLimit, func(ctx context.Context) { live = observeAll(ctx, rungs, u.actions) }, func() {
		err := error(nil)
		switch {
		case u.r.State == gatekeeper.Waiting:
			err = u.recordBy(actor, at, gatekeeper.Deployed{How: how, Released: live})
		case u.r.Takes(gatekeeper.KindReleased) && u.moved(live):
			err = u.recordBy(actor, at, gatekeeper.Released{Live: live})
		}
		for _, done := range told {
			done(err)
		}
		if len(u.deployed) > 0 {
			u.deploy(time.Now(), how, actor, nil)
		}
	})
}

// moved says whether a rung's live state is known and not what was noted as released.
func (u *run) moved(live []gatekeeper.Live) bool {
	for i, l := range live {
		if known := u.r.Rungs[i].Released; l.Print != "" && (known == nil || known.Print != l.Print) {
			return true
		}
	}
	return false
}

// observeAll looks at every rung with a target, all at once.
func observeAll(ctx context.Context, rungs []gatekeeper.Rung, opened []actions.Action) []gatekeeper.Live {
	type found struct {
		i    int
		live gatekeeper.Live
	}
	live := make([]gatekeeper.Live, len(rungs))
	results := make(chan found, len(rungs))
	waiting := 0
	for i, rung := range rungs {
		live[i] = gatekeeper.Live{Position: gatekeeper.Unknown, Says: "not observed"}
		if action := opened[i]; rung.Usable() && action != nil {
			waiting++
			go func() { results <- found{i, observe(ctx, action, *rung.Target)} }()
		}
	}
	for ; waiting > 0; waiting-- {
		select {
		case f := <-results:
			live[f.i] = f.live
		case <-ctx.Done():
			return live
		}
	}
	return live
}

// observe asks an action, whose error means what Unknown means here.
func observe(ctx context.Context, action actions.Action, t gatekeeper.Target) gatekeeper.Live {
	live, err := action.Observe(ctx, t)
	if err != nil {
		return gatekeeper.Live{Position: gatekeeper.Unknown, Says: err.Error()}
	}
	return live
}

// watch judges the rules and acts on what they say until the window is over.
func (u *run) watch(now time.Time) error {
	if err := u.judge(now); err != nil {
		return err
	}
	if moved, err := u.considerHarm(now, u.standing(now)); moved || err != nil {
		return err
	}
	if err := u.recordTrails(); err != nil {
		return err
	}
	if moved, err := u.considerBlindness(now); moved || err != nil {
		return err
	}
	return u.endWindow(now)
}

// judge asks the rules whose time has come and records what changed.
func (u *run) judge(now time.Time) error {
	for _, w := range u.watches {
		if w.Next.IsZero() {
			w.Deploy(u.r.DeployedAt, u.r.Tracks[w.Rule.Name])
		}
		u.ask(w, now)
		if err := u.tellVerdict(w); err != nil {
			return err
		}
	}
	return nil
}

// ask asks one rule beside the run: no rule waits for another.
func (u *run) ask(w *watch, now time.Time) {
	if u.busy[w.job] {
		return
	}
	q, due := w.Ask(now)
	if !due {
		u.wake(w.At())
		return
	}
	var readings []gatekeeper.Reading
	u.job(w.job, u.e.cfg.QueryTimeout, func(ctx context.Context) {
		readings = q.Answer(ctx, w.Rule, u.q)
	}, func() {
		w.Take(q, readings) // harmless where nobody follows w any more
		u.follow(w, q.At)
		u.e.metrics.reading(u.backend, w.Last, w.Rule.Interval, time.Since(q.At))
	})
}

// tellVerdict records a rule's verdict when it changed.
func (u *run) tellVerdict(w *watch) error {
	if !w.changed() {
		return nil
	}
	return u.recordJudged(u.judged(w))
}
