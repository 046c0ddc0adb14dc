package engine

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// harm is a breach that stands now, with what its route makes of it.
type harm struct {
	gatekeeper.Breach
	response    rules.Response
	preexisting bool
	dryRun      bool
	blind       bool          // nothing was seen, and the route rolls back then
	lookback    time.Duration // how far back an unbound rule sees: past another version's end
}

// graceForSlot is how long a breach waits for rules that may breach at the very same slot, so
// that one decision names them all. A slow query costs a decision no more than this.
const graceForSlot = 20 * time.Millisecond

// standing gives the harm that stands now.
func (u *run) standing(now time.Time) []harm {
	var all []harm
	for _, w := range u.watches {
		name := w.Rule.Name
		if _, muted := u.r.Muted[name]; muted || w.Asked.IsZero() || !w.Full() {
			continue
		}
		h := harm{
			response: w.Rule.Response, preexisting: u.r.Preexisting[name], dryRun: w.Rule.DryRun,
			Breach: gatekeeper.Breach{Rule: name, Since: w.Track().Pending(), For: gatekeeper.Duration(w.Rule.For), Reading: w.Bad},
		}
		if !w.Rule.VersionBound {
			h.lookback = w.Rule.Range
		}
		h.Says = sayBreach(h.Breach)
		all = append(all, h)
	}
	return append(all, u.firing(now)...)
}

// sayBreach says what was seen against what limit.
func sayBreach(b gatekeeper.Breach) string {
	var s strings.Builder
	s.WriteString(b.Rule)
	if v, ok := worst(b.Reading); ok {
		fmt.Fprintf(&s, " is %s", shortFloat(float64(v.Value)))
		if b.Reading.Limit != "" {
			fmt.Fprintf(&s, " (bad: %s)", b.Reading.Limit)
		}
	}
	if b.For > 0 {
		fmt.Fprintf(&s, " for %s", b.For)
	}
	if b.Reading.Summary != "" {
		fmt.Fprintf(&s, ": %s", b.Reading.Summary)
	}
	return s.String()
}

func worst(r gatekeeper.Reading) (gatekeeper.Sample, bool) {
	for _, list := range [][]gatekeeper.Sample{r.Operand, r.Samples} {
		if len(list) > 0 {
			return list[0], true
		}
	}
	return gatekeeper.Sample{}, false
}

func shortFloat(v float64) string { return fmt.Sprintf("%.4g", v) }

// considerHarm takes the harm that stands on its way: told, held or decided. It says whether the
// release moved, or waits for something before it can.
func (u *run) considerHarm(now time.Time, all []harm) (moved bool, err error) {
	act, err := u.tell(all)
	if err != nil {
		return true, err
	}
	if len(act) == 0 {
		u.grace = time.Time{}
		return false, nil
	}
	if u.othersMayBreach(now) {
		return true, nil
	}
	return u.passGuards(now, act)
}

// tell records the harm that is only told and gives the rest.
func (u *run) tell(all []harm) (act []harm, err error) {
	for _, h := range all {
		why, would := u.onlyTold(h)
		if why == "" {
			act = append(act, h)
			continue
		}
		if err := u.tellBreach(h, why, would); err != nil {
			return nil, err
		}
	}
	return act, nil
}

// onlyTold says why a breach can roll nothing back and hold nothing; "" when it can. Would says
// that but for this a rollback was due.
func (u *run) onlyTold(h harm) (why string, would bool) {
	if h.response.Do == rules.Notify {
		return "its route only notifies", false
	}
	rollback := h.response.Do == rules.Rollback
	switch {
	case h.preexisting && rollback:
		return "it was so before this release could be the cause; it counts again once it was healthy", false
	case u.r.WatchOnly:
		return "the release is only watched", true
	case len(u.r.Rungs) == 0 && rollback:
		return "the release has no rollback plan", true
	case u.r.DryRun || h.dryRun:
		return "dry run", true
	}
	return "", false
}

// tellBreach records a breach that is only told, once while it stands.
func (u *run) tellBreach(h harm, why string, would bool) error {
	if known, ok := u.r.Breaches[h.Rule]; ok && known.Since.Equal(h.Since) {
		return nil
	}
	return u.record(gatekeeper.Breached{Breaches: fit([]gatekeeper.Breach{h.Breach}), Would: would, Why: why})
}

// othersMayBreach says whether to wait a moment for rules that could breach at this very slot.
func (u *run) othersMayBreach(now time.Time) bool {
	waiting := slices.ContainsFunc(u.watches, func(w *watch) bool {
		due := w.Track().Due()
		return u.busy[w.job] && !w.Full() && (w.Rule.For == 0 || !due.IsZero() && !due.After(now))
	})
	if !waiting {
		return false
	}
	if u.grace.IsZero() {
		u.grace = now.Add(graceForSlot)
	}
	if !now.Before(u.grace) {
		return false
	}
	u.wake(u.grace)
	return true
}

// considerBlindness acts on rules that have not seen anything for too long.
func (u *run) considerBlindness(now time.Time) (moved bool, err error) {
	held, cause := u.blindRules(now)
	if len(cause) > 0 {
		return u.passGuards(now, cause)
	}
	if len(held) == 0 {
		return false, nil
	}
	return true, u.record(gatekeeper.Held{
		Reason: gatekeeper.HoldBlind, Blind: held, Until: now.Add(time.Duration(u.r.HoldFor)).UTC(),
		Says: u.sayBlind(held),
	})
}

// blindRules gives the rules that have been blind for longer than their route bears: those to
// hold for, and those whose policy is to roll back. Time in which Gatekeeper itself was down tells
// nothing of the metrics.
func (u *run) blindRules(now time.Time) (hold []string, rollback []harm) {
	if u.r.WatchOnly {
		return nil, nil
	}
	for _, w := range u.watches {
		t, res := w.Track(), w.Rule.Response
		end := w.BlindAt()
		if end.IsZero() || !u.counts(w) || u.r.Preexisting[w.Rule.Name] {
			continue
		}
		if now.Before(end) {
			u.wake(end)
			continue
		}
		if u.busy[w.job] && u.r.State == gatekeeper.Watching && now.Before(end.Add(u.e.cfg.QueryTimeout)) {
			continue // it may be about to see again
		}
		policy := res.NoData
		if t.Verdict == gatekeeper.NoAnswer {
			policy = res.OnError
		}
		switch {
		case policy == rules.Hold:
			hold = append(hold, w.Rule.Name)
		case policy == rules.Rollback && !u.r.DryRun && !w.Rule.DryRun && len(u.r.Rungs) > 0:
			b := gatekeeper.Breach{
				Rule: w.Rule.Name, Since: t.BlindSince, Reading: w.Last,
				Says: fmt.Sprintf("%s has seen nothing since %s, and its route rolls back then", w.Rule.Name, t.BlindSince.Format(time.TimeOnly)),
			}
			rollback = append(rollback, harm{Breach: b, response: res, blind: true})
		}
	}
	lost, cause := u.lostAlerts(now)
	return append(hold, lost...), append(rollback, cause...)
}

// stillBlind says whether one of the rules that the hold is for has not seen anything since.
func (u *run) stillBlind(h gatekeeper.Held) bool {
	return slices.ContainsFunc(u.watches, func(w *watch) bool {
		return slices.Contains(h.Blind, w.Rule.Name) && !w.Track().BlindSince.IsZero()
	})
}

func (u *run) sayBlind(blind []string) string {
	why := ""
	for _, w := range u.watches {
		if slices.Contains(blind, w.Rule.Name) && w.Last.Detail != "" {
			why = " (" + w.Last.Detail + ")"
			break
		}
	}
	return fmt.Sprintf("%s can't tell whether the release is healthy%s; mend the metrics, or approve the rollback, or veto to go on without", strings.Join(blind, ", "), why)
}
