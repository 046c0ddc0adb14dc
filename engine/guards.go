package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// A guard stands between a breach and a decision. It says why the release must be held, or "".
type guard struct {
	reason HoldReason
	check  func(u *run, now time.Time, act []harm) (says string)
}

// HoldReason is the domain's.
type HoldReason = gatekeeper.HoldReason

// guards in their order; the veto countdown comes last, once nothing else holds.
var guards = []guard{
	{gatekeeper.HoldKillSwitch, (*run).guardKillSwitch},
	{gatekeeper.HoldTarget, (*run).guardTarget},
	{gatekeeper.HoldFreeze, (*run).guardFreeze},
	{gatekeeper.HoldIrreversible, (*run).guardIrreversible},
	{gatekeeper.HoldCoolDown, (*run).guardCoolDown},
	{gatekeeper.HoldRoute, (*run).guardRoute},
}

// passGuards leads standing harm to a hold or to the decision. It reports that the release moved,
// or waits for the target check.
func (u *run) passGuards(now time.Time, act []harm) (moved bool, err error) {
	if moved, err := u.guarded(now, act, ""); moved || err != nil {
		return true, err
	}
	if veto := countdown(act); veto > 0 && !u.vetoOver(now) {
		return true, u.holdFor(gatekeeper.HoldVeto, act,
			fmt.Sprintf("%s; rolling back in %s unless somebody vetoes", says(act), veto), now.Add(veto))
	}
	cause := gatekeeper.CauseBreach
	if !slices.ContainsFunc(act, func(h harm) bool { return !h.blind }) {
		cause = gatekeeper.CauseBlind
	}
	return true, u.decide(cause, "", breaches(act), says(act))
}

// guarded asks the guards but for the countdown. It reports that the release is held, or waits for
// the target check; why comes before what the guard says.
func (u *run) guarded(now time.Time, act []harm, why string) (moved bool, err error) {
	if len(u.r.Rungs) > 0 && !u.check.fresh(now) {
		u.checkTargets()
		return true, nil
	}
	for _, g := range guards {
		if says := g.check(u, now, act); says != "" {
			return true, u.holdFor(g.reason, act, why+says, now.Add(time.Duration(u.r.HoldFor)))
		}
	}
	return false, nil
}

// holdFor holds the release, unless it is held for that already; breaches that it is held for
// stay named.
func (u *run) holdFor(reason HoldReason, act []harm, says string, until time.Time) error {
	u.check = nil
	all := breaches(act)
	if h := u.r.Hold; h != nil {
		for _, old := range h.Breaches {
			if !slices.ContainsFunc(all, func(b gatekeeper.Breach) bool { return b.Rule == old.Rule }) {
				all = append(all, old)
			}
		}
		if h.Reason == reason {
			until = h.Until
		}
	}
	return u.record(gatekeeper.Held{Reason: reason, Breaches: fit(all), Says: says, Until: until.UTC()})
}

// decide records the decision: once per release, with what led to it.
func (u *run) decide(cause gatekeeper.Cause, actor string, list []gatekeeper.Breach, says string) error {
	u.check = nil
	return u.recordBy(actor, time.Now(), gatekeeper.Decided{Cause: cause, Breaches: fit(list), Says: says})
}

// What a fact may hold of evidence, in bytes, so that it can always be written.
const (
	maxEvidence = 64 << 10
	maxOfAll    = 512 << 10 // of facts that are written together
	maxSays     = 16 << 10  // of a sentence that names every breach
)

// fit trims the evidence of breaches that are told in one fact.
func fit(list []gatekeeper.Breach) []gatekeeper.Breach {
	list = slices.Clone(list)
	for i, b := range list {
		room := maxEvidence / len(list)
		list[i].Reading, list[i].Says = b.Reading.Within(room), gatekeeper.Clip(b.Says, room)
	}
	return list
}

func breaches(act []harm) []gatekeeper.Breach {
	list := make([]gatekeeper.Breach, len(act))
	for i, h := range act {
		list[i] = h.Breach
	}
	return list
}

func says(act []harm) string {
	list := make([]string, len(act))
	for i, h := range act {
		list[i] = h.Says
	}
	return gatekeeper.Clip(strings.Join(list, "; "), maxSays)
}

// countdown gives how long people may still cancel: the shortest of the routes that roll back.
func countdown(act []harm) time.Duration {
	veto := time.Duration(-1)
	for _, h := range act {
		if (h.response.Do == rules.Rollback || h.blind) && (veto < 0 || h.response.Veto < veto) {
			veto = h.response.Veto
		}
	}
	return veto
}

// vetoOver says whether the release is held for the countdown and it has run out.
func (u *run) vetoOver(now time.Time) bool {
	h := u.r.Hold
	return h != nil && h.Reason == gatekeeper.HoldVeto && !now.Before(h.Until)
}

func (u *run) guardKillSwitch(time.Time, []harm) string {
	s := u.e.killSwitch.state()
	if !s.On {
		return ""
	}
	by := s.Why
	if s.Actor != "" {
		by = fmt.Sprintf("by %s: %s", s.Actor, s.Why)
	}
	return fmt.Sprintf("the kill switch is on (%s); it goes on by itself when the switch is turned off: gatekeeper kill-switch off", by)
}

func (u *run) guardFreeze(now time.Time, _ []harm) string {
	f, until, ok := u.e.frozen(u.r.Service, now, true)
	if !ok {
		return ""
	}
	return fmt.Sprintf("freeze %q holds rollbacks until %s; approve, or veto", f.Name, until.UTC().Format(time.RFC3339))
}

func (u *run) guardIrreversible(time.Time, []harm) string {
	if u.r.Mark == "" {
		return ""
	}
	return fmt.Sprintf("the release was marked irreversible (%s): going back may do harm; approve, or veto", u.r.Mark)
}

// guardCoolDown holds what could be the tail of the harm that the last rollback ended: a rule not
// bound to the version sees it for as long as it looks back. The operator can ask for longer.
func (u *run) guardCoolDown(now time.Time, act []harm) string {
	last, until := u.coolDown(act)
	if !now.Before(until) {
		return ""
	}
	return fmt.Sprintf("the service was rolled back at %s, and what is seen may be left from then; cool-down until %s; approve, or veto",
		last.UTC().Format(time.TimeOnly), until.UTC().Format(time.TimeOnly))
}

// coolDown gives when the service was rolled back last and until when harm is told from its tail;
// zero when it never was.
func (u *run) coolDown(act []harm) (last, until time.Time) {
	last, ok := u.e.lastRollback(u.r.Service, u.r.Environment)
	if !ok {
		return last, until
	}
	cool := u.e.terms.Load().CoolDown
	for _, h := range act {
		cool = max(cool, h.lookback)
	}
	return last, last.Add(cool)
}

// guardRoute holds when no route of the breaches rolls back by itself.
func (u *run) guardRoute(_ time.Time, act []harm) string {
	if len(act) == 0 || slices.ContainsFunc(act, func(h harm) bool { return h.response.Do == rules.Rollback || h.blind }) {
		return ""
	}
	if len(u.r.Rungs) == 0 {
		return says(act) + "; its route holds, and there is no rollback plan; mend it, or veto"
	}
	return says(act) + "; its route asks a person: approve the rollback, or veto"
}

// targetCheck is what the rungs looked like when a breach was considered.
type targetCheck struct {
	live []gatekeeper.Live
	at   time.Time
}

// fresh says whether the check still tells what is there.
func (c *targetCheck) fresh(now time.Time) bool { return c != nil && now.Sub(c.at) < observeLimit }

func (u *run) checkTargets() {
	rungs, live := u.r.Rungs, []gatekeeper.Live(nil)
	u.job("targets", observeLimit, func(ctx context.Context) { live = observeAll(ctx, rungs, u.actions) }, func() {
		u.check = &targetCheck{live, time.Now()}
	})
}

func (u *run) guardTarget(time.Time, []harm) string {
	if u.check == nil {
		return ""
	}
	return compareTargets(u.r.Rungs, u.check.live)
}

// compareTargets compares what is live at each rung with what was pinned and what was released;
// it says why a rollback makes no sense, or "".
func compareTargets(rungs []gatekeeper.Rung, found []gatekeeper.Live) string {
	usable, there := 0, 0
	var changed []string
	for i, rung := range rungs {
		if !rung.Usable() {
			continue
		}
		usable++
		live := found[i]
		switch {
		case live.Position == gatekeeper.AtTarget || live.Position == gatekeeper.InProgress: // or on its way there
			there++
		case rung.Target.Kind != gatekeeper.Restore || rung.ChangedByOther == rules.Rollback || live.Position == gatekeeper.Unknown:
		case rung.Released == nil || rung.Released.Print == "" || live.Print != rung.Released.Print:
			released := "not known"
			if rung.Released != nil {
				released = rung.Released.Says
			}
			changed = append(changed, fmt.Sprintf("%s: now %s; released was %s; would return to %s", rung.Action, live.Says, released, rung.Target.Says))
		}
	}
	switch {
	case usable > 0 && there == usable:
		return "there is nothing to roll back: every target is where the plan would bring it; either nothing was deployed, or the release was opened too late; look for another cause, then veto"
	case len(changed) > 0:
		return "somebody changed the target meanwhile: " + strings.Join(changed, "; ") + "; approve to roll back all the same, or veto"
	}
	return ""
}
