package engine

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// recovery is what one rule or alert says of the service on what it returned to.
type recovery int

const (
	wait    recovery = iota // can't tell yet
	well                    // data with traffic and no breach
	bad                     // a real breach after recover_within
	unknown                 // can't tell after twice that
)

// verify asks whether the service is well again. Unknown is not failure: the next rung is taken
// only on a real breach.
func (u *run) verify(now time.Time) error {
	rung := u.r.Rungs[u.r.Rung]
	if u.checks == nil {
		u.bindChecks(rung.ReachedAt)
	}
	within := time.Duration(rung.RecoverWithin)
	states := map[recovery]int{}
	var still []gatekeeper.Breach
	for _, w := range u.checks {
		u.ask(w, now)
		if err := u.tellVerdict(w); err != nil {
			return err
		}
		state := u.checkState(w, now, u.checkFrom(w, rung.ReachedAt), within)
		states[state]++
		if state == bad {
			b := gatekeeper.Breach{Rule: w.Rule.Name, Since: w.Track().Pending(), For: gatekeeper.Duration(w.Rule.For), Reading: w.Bad}
			b.Says = sayBreach(b)
			still = append(still, b)
		}
	}
	for _, b := range u.r.Decision.Breaches {
		if b.External {
			state := u.alertState(b, now, rung.ReachedAt, within)
			states[state]++
			if state == bad {
				still = append(still, b)
			}
		}
	}
	switch {
	case states[bad] > 0:
		return u.record(gatekeeper.NotRecovered{Rung: u.r.Rung, Breaches: fit(still)})
	case states[wait] > 0:
		return u.recordTrails()
	}
	return u.recover(now, rung, states[well] > 0 && states[unknown] == 0)
}

// bindChecks binds the rules to the version returned to. Those that can't be bound, for it is not
// known, can't tell.
func (u *run) bindChecks(reached time.Time) {
	u.checks = []*watch{}
	back := u.r.Opened
	bound, err := u.file.Bind(vars(back, cmp.Or(back.PreviousVersion, "unknown")))
	if err != nil {
		u.log.Warn("the rules can't be bound to the version returned to: recovery stays unknown", "err", err)
		return
	}
	for _, rule := range bound.Rules {
		decided := slices.ContainsFunc(u.r.Decision.Breaches, func(b gatekeeper.Breach) bool { return b.Rule == rule.Name })
		if u.r.Preexisting[rule.Name] || rule.VersionBound && back.PreviousVersion == "" || rule.Response.Do != rules.Rollback && !decided {
			continue
		}
		phase := time.Duration(reached.UnixNano() % int64(rule.Interval)) // its first slot is the very instant
		known := u.r.Recovery[rule.Name]
		var latest gatekeeper.Reading
		if !known.LastSlot.IsZero() {
			latest = u.r.Latest[rule.Name]
		}
		w := newWatch("check "+rule.Name, rule, phase, known, latest)
		if w.Next.IsZero() {
			w.Next = u.checkFrom(w, reached)
		}
		u.checks = append(u.checks, w)
	}
}

// checkFrom gives the instant from which the rule can tell: at once when it sees one version
// only, else when the bad version's harm is out of its range.
func (u *run) checkFrom(w *watch, reached time.Time) time.Time {
	if w.Rule.VersionBound {
		return reached
	}
	return reached.Add(w.Rule.Range)
}

func (u *run) checkState(w *watch, now, from time.Time, within time.Duration) recovery {
	t := w.Track()
	switch {
	case t.Verdict == gatekeeper.Healthy:
		return well
	case t.Verdict == gatekeeper.Unhealthy && (!t.LastSlot.Before(from.Add(within)) || !now.Before(from.Add(2*within))):
		return bad // said of an instant at which it should have been well
	case !now.Before(from.Add(2 * within)):
		return unknown
	}
	if first := from.Add(within); now.Before(first) {
		u.wake(first)
	} else {
		u.wake(from.Add(2 * within))
	}
	return wait
}

// alertState reads an external alert: its sender may take long to say that it is over, so only
// being sent again after recover_within is a breach.
func (u *run) alertState(b gatekeeper.Breach, now, reached time.Time, within time.Duration) recovery {
	a := u.r.Alerts[b.Rule]
	first, last := reached.Add(within), reached.Add(2*within)
	switch {
	case !a.Firing:
		return well
	case !now.Before(first) && !a.SeenAt.Before(first):
		return bad
	case !now.Before(last):
		return unknown
	}
	u.wake(last)
	return wait
}

// recover closes the release as rolled back.
func (u *run) recover(now time.Time, rung gatekeeper.Rung, known bool) error {
	took := now.Sub(rung.ReachedAt).Round(time.Millisecond)
	if !known {
		return u.record(
			gatekeeper.Recovered{Unknown: true, Says: "rolled back, but nothing tells whether the service is well again: look at it"},
			gatekeeper.Closed{Outcome: gatekeeper.OutcomeRolledBack, Why: "rolled back; recovery: unknown"})
	}
	says := fmt.Sprintf("well again %s after the target was reached", took)
	for _, w := range u.checks {
		if v, ok := worst(w.Last); ok {
			says += fmt.Sprintf("; %s is %s", w.Rule.Name, shortFloat(float64(v.Value)))
			if w.Last.Limit != "" {
				says += ", limit " + w.Last.Limit
			}
		}
	}
	return u.record(
		gatekeeper.Recovered{Says: says},
		gatekeeper.Closed{Outcome: gatekeeper.OutcomeRolledBack, Why: "rolled back to " + rung.Target.Says + ", and " + says})
}
