package explain

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/timeline"
)

func (e Explanation) clock(t time.Time) string { return timeline.Clock(t.Sub(zero(e.release))) }

// answer says in a sentence why the release was rolled back, or why not.
func (e Explanation) answer() string {
	if e.Decision != nil {
		return e.whyDecided() + e.whatCame()
	}
	switch e.Outcome {
	case gatekeeper.OutcomePassed:
		return fmt.Sprintf("Not rolled back, and passed at %s: %s", e.clock(e.ClosedAt), e.nothingStood())
	case gatekeeper.OutcomeBreached:
		return "Not rolled back, although " + e.stood() + ": " + e.whyNot()
	case gatekeeper.OutcomeInconclusive, gatekeeper.OutcomeAborted, gatekeeper.OutcomeSuperseded, gatekeeper.OutcomeRolledBack, gatekeeper.OutcomeRollbackFailed:
		return fmt.Sprintf("Not rolled back, and ended %s at %s: %s", timeline.Words(string(e.Outcome)), e.clock(e.ClosedAt), e.release.Why)
	}
	return "Not decided yet: " + e.standing()
}

// whyDecided says what the decision rests on.
func (e Explanation) whyDecided() string {
	d := e.Decision
	at := e.clock(e.DecidedAt)
	switch d.Cause {
	case gatekeeper.CauseBreach, gatekeeper.CauseApproved:
		var all []string
		for _, b := range d.Breaches {
			all = append(all, e.bad(b))
		}
		says := strings.Join(all, "; and ")
		if says == "" {
			says = d.Says
		}
		says += e.waited()
		if d.Cause == gatekeeper.CauseApproved {
			return fmt.Sprintf("Rolled back at %s, because %s; %s", at, says, d.Says)
		}
		return fmt.Sprintf("Rolled back at %s, because %s", at, says)
	case gatekeeper.CausePerson:
		return fmt.Sprintf("Rolled back at %s, because a person said so: %s", at, d.Says)
	case gatekeeper.CauseBlind, gatekeeper.CauseInconclusive:
	}
	return fmt.Sprintf("Rolled back at %s, without a breach: %s", at, d.Says)
}

// waited says what was between a rule's `for` being full and the decision.
func (e Explanation) waited() string {
	text := ""
	for _, r := range e.Rules {
		for _, s := range r.Streaks {
			if slot := s.at(s.FullAt); slot != nil && !slot.Known.IsZero() && !e.DecidedAt.Before(slot.Known) && e.decidedOn(r.Name, s.Since) {
				text += fmt.Sprintf("; that was known at %s, when the slots since %s were answered", e.clock(slot.Known), e.clock(firstKnownAt(s, slot.Known)))
			}
		}
	}
	for _, g := range e.Guards {
		if g.Ended.Equal(e.DecidedAt) && g.At.Before(g.Ended) {
			text += fmt.Sprintf("; it was held from %s to %s (%s)", e.clock(g.At), e.clock(g.Ended), timeline.Words(g.Guard))
		}
	}
	return text
}

func (e Explanation) decidedOn(rule string, since time.Time) bool {
	return slices.ContainsFunc(e.Decision.Breaches, func(b gatekeeper.Breach) bool { return b.Rule == rule && b.Since.Equal(since) })
}

// firstKnownAt gives the first slot of a streak that became known at that instant.
func firstKnownAt(s Streak, known time.Time) time.Time {
	for _, slot := range s.Slots {
		if slot.Known.Equal(known) {
			return slot.At
		}
	}
	return known
}

// bad tells a breach: what was seen against what limit, from when to when.
func (e Explanation) bad(b gatekeeper.Breach) string {
	if b.External || b.Reading.Verdict.Blind() {
		return b.Says
	}
	i := slices.IndexFunc(e.Rules, func(r Rule) bool { return r.Name == b.Rule })
	if i < 0 {
		return b.Says
	}
	r := e.Rules[i]
	text := fmt.Sprintf("%s was bad%s from %s", r.Name, r.badWhen(), e.clock(b.Since))
	j := slices.IndexFunc(r.Streaks, func(s Streak) bool { return s.Since.Equal(b.Since) })
	if j < 0 {
		return text
	}
	s := r.Streaks[j]
	if !s.FullAt.IsZero() {
		text += fmt.Sprintf(" to %s, all of its %s", e.clock(s.FullAt), timeline.Span(time.Duration(r.For)))
	}
	if at := s.at(s.FullAt); at != nil && at.Value != nil {
		text += ", and was " + r.unit.Format(float64(*at.Value)) + " then"
	}
	if s.Unanswered > 0 {
		text += fmt.Sprintf(" (%s without an answer do not count)", timeline.Span(time.Duration(s.Unanswered)))
	}
	return text
}

func (s Streak) at(t time.Time) *Slot {
	for i := range s.Slots {
		if s.Slots[i].At.Equal(t) {
			return &s.Slots[i]
		}
	}
	return nil
}

// badWhen gives the rule's limit as a remark.
func (r Rule) badWhen() string {
	if limit := r.limit(); limit != "" {
		return " (" + limit + ")"
	}
	return ""
}

// whatCame tells what became of the decision.
func (e Explanation) whatCame() string {
	r := e.release
	var reached time.Time
	for _, rung := range r.Rungs {
		if rung.ReachedAt.After(reached) {
			reached = rung.ReachedAt
		}
	}
	switch {
	case r.Outcome == gatekeeper.OutcomeRollbackFailed:
		return ". The rollback failed at " + e.clock(r.ClosedAt) + ": " + r.Why
	case r.Outcome == gatekeeper.OutcomeRolledBack:
		return fmt.Sprintf(". The target was reached %s later; %s", timeline.Span(reached.Sub(r.DecidedAt)), e.recovery())
	case !reached.IsZero():
		return fmt.Sprintf(". The target was reached %s later; recovery is being verified", timeline.Span(reached.Sub(r.DecidedAt)))
	case !r.Closed():
		return ". The rollback is under way"
	}
	return ". It ended " + timeline.Words(string(r.Outcome)) + ": " + r.Why
}

func (e Explanation) recovery() string {
	for _, f := range slices.Backward(e.facts) {
		if b, ok := f.Body.(gatekeeper.Recovered); ok {
			if b.Unknown {
				return "nothing told whether the service recovered"
			}
			return "recovered at " + e.clock(f.At)
		}
	}
	return "how the service recovered is not recorded"
}

// nothingStood says how near the release came to being rolled back.
func (e Explanation) nothingStood() string {
	var near *Streak
	var of Rule
	for _, r := range e.Rules {
		for _, s := range r.Streaks {
			if near == nil || share(s, r) > share(*near, of) {
				near, of = &s, r
			}
		}
	}
	switch {
	case len(e.Rules) == 0:
		return "no rule was judged"
	case near == nil:
		return "no rule was ever bad in its window"
	case near.FullAt.IsZero():
		return fmt.Sprintf("no rule was bad for its whole `for`. The nearest was %s: bad%s for %s of %s, from %s", of.Name, of.badWhen(),
			timeline.Span(time.Duration(near.Counted)), of.wait(), e.clock(near.Since))
	}
	return fmt.Sprintf("%s was bad%s for all of its %s at %s, but %s", of.Name, of.badWhen(), of.wait(), e.clock(near.FullAt), e.excuse(of.Name))
}

func share(s Streak, r Rule) float64 {
	if r.For <= 0 || !s.FullAt.IsZero() {
		return 1
	}
	return float64(s.Counted) / float64(r.For)
}

func (r Rule) wait() string {
	if r.For <= 0 {
		return "an unknown `for`"
	}
	return timeline.Span(time.Duration(r.For))
}

// excuse says why nothing came of a rule whose `for` was full.
func (e Explanation) excuse(rule string) string {
	if why, muted := e.release.Muted[rule]; muted {
		return "it was muted: " + why
	}
	for _, g := range slices.Backward(e.Guards) {
		if strings.Contains(g.Says, rule) {
			if g.How != "" {
				return fmt.Sprintf("the release was held from %s to %s (%s), and then: %s", e.clock(g.At), e.clock(g.Ended), timeline.Words(g.Guard), g.How)
			}
			return g.Says
		}
	}
	return "nothing in the record says why nothing came of it"
}

// stood names what breached.
func (e Explanation) stood() string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(e.release.Breaches)) {
		all = append(all, e.bad(e.release.Breaches[name]))
	}
	for _, r := range e.Rules { // while a person holds the release, no fact names them
		if n := len(r.Streaks); len(all) == 0 && n > 0 && !r.Streaks[n-1].FullAt.IsZero() {
			all = append(all, e.bad(gatekeeper.Breach{Rule: r.Name, Since: r.Streaks[n-1].Since}))
		}
	}
	if len(all) == 0 {
		return "a breach stood"
	}
	return strings.Join(all, "; and ")
}

// whyNot gives what the last guard said, or why the release closed.
func (e Explanation) whyNot() string {
	if len(e.Guards) > 0 {
		g := e.Guards[len(e.Guards)-1]
		if g.Guard != "told" {
			return fmt.Sprintf("held at %s (%s): %s; %s", e.clock(g.At), timeline.Words(g.Guard), g.Says, g.How)
		}
		return g.why
	}
	return e.release.Why
}

// standing says where an open release is.
func (e Explanation) standing() string {
	r := e.release
	says := "the release is " + timeline.Words(string(r.State))
	if r.Hold != nil {
		return says + " since " + e.clock(r.HeldAt) + ": " + r.Hold.Says
	}
	for _, rule := range e.Rules {
		track := r.Tracks[rule.Name]
		if since := track.Pending(); !since.IsZero() {
			says += fmt.Sprintf("; %s is bad since %s", rule.Name, e.clock(since))
			if rule.For > 0 {
				track.For = rule.For // older records have none
				says += fmt.Sprintf(", and has its %s at %s if it stays so", rule.wait(), e.clock(track.Due()))
			}
		}
	}
	if !r.WindowEnd.IsZero() {
		says += "; its window ends at " + e.clock(r.WindowEnd)
	}
	return says
}
