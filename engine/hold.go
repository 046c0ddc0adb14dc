package engine

import (
	"fmt"
	"slices"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
)

// hold waits for a person, for the end of the reason, or for the deadline. The rules go on being
// judged: harm that the hold is not about still leads to a decision, unless a person asked to stop.
func (u *run) hold(now time.Time) error {
	if err := u.judge(now); err != nil {
		return err
	}
	h := *u.r.Hold
	if why := u.reasonGone(now, h); why != "" {
		u.check = nil
		return u.record(gatekeeper.Resumed{Why: why})
	}
	if moved, err := u.considerNew(now, h); moved || err != nil {
		return err
	}
	if err := u.recordTrails(); err != nil {
		return err
	}
	if now.Before(h.Until) {
		u.wake(h.Until)
		return nil
	}
	if u.asking(h.Until) {
		return nil // its answer brings us back here: after a restart what is known may be old
	}
	return u.endHold(now, h)
}

// considerNew considers harm that the hold is not about, with what the hold is about: a route that
// asks a person must not stop another's countdown.
func (u *run) considerNew(now time.Time, h gatekeeper.Held) (moved bool, err error) {
	all := u.harm(now)
	unheld := slices.ContainsFunc(all, func(one harm) bool {
		why, _ := u.onlyTold(one)
		return why == "" && !h.About(one.Rule)
	})
	if unheld && h.Reason != gatekeeper.HoldPerson {
		return u.considerHarm(now, all)
	}
	u.grace = time.Time{}
	_, err = u.tell(all)
	return false, err
}

// harm gives all harm that stands now: what was seen, and blindness where that rolls back.
func (u *run) harm(now time.Time) []harm {
	_, blind := u.blindRules(now)
	return append(u.standing(now), blind...)
}

// held gives the harm that the hold is about and that still stands.
func (u *run) held(now time.Time, h gatekeeper.Held) []harm {
	return slices.DeleteFunc(u.harm(now), func(one harm) bool { return !h.About(one.Rule) })
}

// reasonGone says why the hold has no reason any more; "" while it has.
func (u *run) reasonGone(now time.Time, h gatekeeper.Held) string {
	switch h.Reason {
	case gatekeeper.HoldPerson, gatekeeper.HoldInconclusive:
		return ""
	case gatekeeper.HoldBlind:
		if still, _ := u.blindRules(now); len(still) == 0 && !u.stillBlind(h) {
			return "there is data again"
		}
		return ""
	case gatekeeper.HoldKillSwitch:
		if !u.e.killSwitch.state().On {
			return "the kill switch is off"
		}
	case gatekeeper.HoldFreeze:
		_, until, frozen := u.e.frozen(u.r.Service, now, true)
		if !frozen {
			return "the freeze is over"
		}
		u.wake(until)
	case gatekeeper.HoldCoolDown:
		held := u.held(now, h)
		if _, until := u.coolDown(held); now.Before(until) {
			u.wake(until)
		} else if len(held) > 0 || len(h.Breaches) == 0 {
			return "the cool-down is over"
		}
	case gatekeeper.HoldTarget, gatekeeper.HoldIrreversible, gatekeeper.HoldRoute, gatekeeper.HoldVeto:
	}
	if len(h.Breaches) == 0 {
		return ""
	}
	for _, b := range h.Breaches {
		if !u.recovered(b) {
			return ""
		}
	}
	return fmt.Sprintf("%s is healthy again", ruleNames(h.Breaches))
}

// recovered says whether what breached has been well for as long as it takes to breach.
func (u *run) recovered(b gatekeeper.Breach) bool {
	if b.External {
		return !u.r.Alerts[b.Rule].Firing
	}
	for _, w := range u.watches {
		if w.Rule.Name == b.Rule {
			return w.Recovered()
		}
	}
	return false
}

// endHold says what follows when nobody answered until the deadline.
func (u *run) endHold(now time.Time, h gatekeeper.Held) error {
	if h.Reason == gatekeeper.HoldVeto {
		return u.endVeto(now, h)
	}
	stood := slices.Clone(h.Breaches)
	for _, one := range u.standing(now) { // while a person holds, nothing else comes of it
		if why, _ := u.onlyTold(one); why == "" && !h.About(one.Rule) {
			stood = append(stood, one.Breach)
		}
	}
	out, why := gatekeeper.OutcomeInconclusive, fmt.Sprintf("held (%s) and nobody decided until the deadline", h.Reason)
	if len(stood) > 0 || u.r.Due {
		out, why = gatekeeper.OutcomeBreached, fmt.Sprintf("%s stood, held (%s), and nobody approved the rollback until the deadline", ruleNames(stood), h.Reason)
	}
	return u.record(gatekeeper.Closed{Outcome: out, Why: why})
}

// endVeto decides when the countdown is over and the harm still there; the other guards are asked
// once more, for they may have come up meanwhile.
func (u *run) endVeto(now time.Time, h gatekeeper.Held) error {
	standing := u.held(now, h)
	if len(standing) == 0 {
		return u.record(gatekeeper.Resumed{Why: ruleNames(h.Breaches) + " did not stand any more when the countdown ended"})
	}
	_, err := u.passGuards(now, standing)
	return err
}

func ruleNames(list []gatekeeper.Breach) string {
	if len(list) == 0 {
		return "a breach"
	}
	names := list[0].Rule
	for _, b := range list[1:] {
		names += ", " + b.Rule
	}
	return names
}
