// Package explain tells from a release's journal alone why it was rolled back, or why it was not,
// and replays the record: the slots that were journaled must lead to what was decided.
package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/timeline"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// Replayed is what the record leads to, by the same code as the daemon's.
type Replayed struct {
	Decided     bool     `json:"decided"`               // a rollback was decided
	Fulls       []Full   `json:"fulls,omitempty"`       // each time that a rule's `for` was full
	Missing     []Gap    `json:"missing,omitempty"`     // what the record does not have
	Differences []string `json:"differences,omitempty"` // between what it leads to and what was done
}

// Gap is a stretch of slots that the record does not have, both ends included.
type Gap struct {
	Rule string    `json:"rule"`
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// Same says whether the record leads to what was done.
func (r Replayed) Same() bool { return len(r.Differences) == 0 }

// patience is how long after the slot behind it a breach may wait for the fact about it: a slow query,
// the target check, and a journal that refused a write. Without such a slot nobody was there to act.
const patience = 15 * time.Second

// Replay judges the slots of the record again, and compares when each rule was full with what was
// decided, held and told: the same rules, since the same slot, at the same slot. File is the health
// file that the release pinned.
func Replay(facts []gatekeeper.Fact, file *rules.File) (Replayed, error) {
	p := replay{followers: map[string]*follower{}}
	for _, rule := range file.Rules {
		p.followers[rule.Name] = follow(rule)
		p.order = append(p.order, rule.Name)
	}
	for _, f := range facts {
		before := p.release
		after, err := before.With(f)
		if err != nil {
			return p.out, err
		}
		p.release = after
		p.take(before, f)
	}
	p.end()
	return p.out, nil
}

type replay struct {
	release   gatekeeper.Release
	followers map[string]*follower
	order     []string
	free      time.Time // when a hold ended last
	out       Replayed
}

func (p *replay) differs(format string, args ...any) {
	p.out.Differences = append(p.out.Differences, fmt.Sprintf(format, args...))
}

// clock gives an instant as the time since the deploy.
func (p *replay) clock(t time.Time) string { return timeline.Clock(t.Sub(zero(p.release))) }

// take goes on by one fact.
func (p *replay) take(before gatekeeper.Release, f gatekeeper.Fact) {
	switch b := f.Body.(type) {
	case gatekeeper.Judged:
		p.judged(before, b)
	case gatekeeper.Breached:
		p.led(before, f, b.Breaches)
	case gatekeeper.Held:
		p.led(before, f, b.Breaches)
	case gatekeeper.Decided:
		p.decided(before, f, b)
	case gatekeeper.Resumed, gatekeeper.Vetoed:
		p.free = f.At
	case gatekeeper.Closed:
		p.excuse(before)
		if b.Outcome == gatekeeper.OutcomePassed {
			p.passed()
		}
	}
}

func (p *replay) judged(before gatekeeper.Release, b gatekeeper.Judged) {
	of := p.followers[b.Track.Rule]
	if of == nil || before.State == gatekeeper.Verifying || before.DeployedAt.IsZero() {
		return
	}
	if len(b.Trail) == 0 && b.Track.LastSlot.After(of.base.LastSlot) {
		of.skip(b.Track)
		return
	}
	of.take(b.Trail)
	want, got := b.Track, of.base
	switch {
	case len(b.Trail) == 0 || want.LastSlot.Equal(got.LastSlot) && want.Slots == got.Slots && slices.Equal(want.Active, got.Active):
	case len(of.missing(time.Time{})) > 0: // it goes on from what the daemon knew
		of.base, of.gap = want, nil
	default:
		p.differs("%s: at %s the daemon knew %s, and the record gives %s", b.Track.Rule, p.clock(b.Reading.At), p.knew(want), p.knew(got))
	}
}

func (p *replay) knew(t gatekeeper.Track) string {
	if t.Pending().IsZero() {
		return fmt.Sprintf("%d slots up to %s, none pending", t.Slots, p.clock(t.LastSlot))
	}
	return fmt.Sprintf("%d slots up to %s, bad since %s with %s unanswered", t.Slots, p.clock(t.LastSlot), p.clock(t.Pending()), t.Active[0].Unanswered)
}

// led compares a fact about breaches with the rules that are full.
func (p *replay) led(before gatekeeper.Release, f gatekeeper.Fact, breaches []gatekeeper.Breach) {
	for _, b := range breaches {
		of := p.followers[b.Rule]
		if of == nil || b.External || before.Hold != nil && before.Hold.About(b.Rule) {
			continue // it is held for that, and said so
		}
		switch {
		case b.Reading.Verdict.Blind():
			if since := of.track().BlindSince; !since.Equal(b.Since) {
				p.differs("%s: %s at %s for blindness since %s, and the record has it since %s", b.Rule, f.Body.Kind(), p.clock(f.At), p.clock(b.Since), p.clock(since))
			}
		case of.full == nil && len(of.missing(f.At)) > 0: // it can't be told
		case of.full == nil:
			p.differs("%s: %s at %s, and the record does not make its `for` full", b.Rule, f.Body.Kind(), p.clock(f.At))
		case !of.full.Since.Equal(b.Since):
			p.differs("%s: %s at %s as bad since %s, and the record has it since %s", b.Rule, f.Body.Kind(), p.clock(f.At), p.clock(b.Since), p.clock(of.full.Since))
		default:
			since := of.full.next
			if p.free.After(since) {
				since = p.free
			}
			if late := f.At.Sub(since); of.full.Led == "" && !of.full.next.IsZero() && late > patience {
				p.differs("%s: its `for` was full at %s and that was known at %s, and it was %s only at %s", b.Rule, p.clock(of.full.At), p.clock(of.full.Known), f.Body.Kind(), p.clock(f.At))
			}
		}
		if of.full != nil && of.full.Led == "" {
			of.full.Led, of.full.LedAt = f.Body.Kind(), f.At
		}
	}
}

// decided compares the decision's rules with those that are full and may act.
func (p *replay) decided(before gatekeeper.Release, f gatekeeper.Fact, b gatekeeper.Decided) {
	if b.Cause == gatekeeper.CauseBreach || b.Cause == gatekeeper.CauseBlind {
		p.led(before, f, b.Breaches)
		for _, name := range p.order {
			of := p.followers[name]
			named := slices.ContainsFunc(b.Breaches, func(one gatekeeper.Breach) bool { return one.Rule == name })
			if of.full != nil && of.full.Led == "" && !named && !p.mutedOrPaused(before, name) {
				p.differs("%s: its `for` was full at %s, and the decision at %s does not name it", name, p.clock(of.full.At), p.clock(f.At))
			}
		}
	}
	p.excuse(before)
}

// mutedOrPaused says whether nothing can come of the rule: somebody vetoed it, or asked to stop.
func (p *replay) mutedOrPaused(r gatekeeper.Release, rule string) bool {
	_, muted := r.Muted[rule]
	return muted || r.Hold != nil && r.Hold.Reason == gatekeeper.HoldPerson || r.State != gatekeeper.Watching && r.State != gatekeeper.Holding
}

// excuse says of what is full, and no fact is about, why that is.
func (p *replay) excuse(before gatekeeper.Release) {
	for _, name := range p.order {
		full := p.followers[name].full
		if full == nil || full.Led != "" || full.Why != "" {
			continue
		}
		known, told := before.Breaches[name]
		switch _, muted := before.Muted[name]; {
		case muted:
			full.Why = "it was muted: " + before.Muted[name]
		case told && known.Since.Equal(full.Since):
			full.Why = "it was told before"
		case before.Hold != nil && before.Hold.Reason == gatekeeper.HoldPerson:
			full.Why = "a person held the release"
		case before.Hold != nil && before.Hold.About(name):
			full.Why = "the release was held for it"
		}
	}
}

// passed holds a passed release against what it takes to pass.
func (p *replay) passed() {
	for _, name := range p.order {
		if of := p.followers[name]; of.full != nil && of.full.Led == "" && of.full.Why == "" {
			p.differs("%s: its `for` was full at %s, and the release passed", name, p.clock(of.full.At))
		}
	}
}

// end tells what the record lacks. The latest slots of an open release are journaled later.
func (p *replay) end() {
	end := cmp.Or(p.release.DecidedAt, p.release.ClosedAt)
	p.out.Decided = p.release.Decision != nil
	for _, name := range p.order {
		of := p.followers[name]
		for _, full := range of.fulls {
			p.out.Fulls = append(p.out.Fulls, *full)
		}
		p.out.Missing = append(p.out.Missing, of.missing(end)...)
	}
	slices.SortStableFunc(p.out.Fulls, func(a, b Full) int { return a.Known.Compare(b.Known) })
}

// Says tells the result in a sentence.
func (r Replayed) Says() string {
	if !r.Same() {
		return "REPLAYED: THE RECORD DOES NOT LEAD TO WHAT WAS DONE: " + strings.Join(r.Differences, "; ")
	}
	says := "replayed: the record leads to the same decision"
	if !r.Decided {
		says = "replayed: the record leads to no decision either"
	}
	if len(r.Missing) > 0 {
		says += "; it lacks slots of " + strings.Join(missingRules(r.Missing), ", ")
	}
	return says
}

func missingRules(gaps []Gap) []string {
	var names []string
	for _, g := range gaps {
		if !slices.Contains(names, g.Rule) {
			names = append(names, g.Rule)
		}
	}
	return names
}

// zero is what a release's clock counts from: the deploy, or before it the opening.
func zero(r gatekeeper.Release) time.Time {
	if r.DeployedAt.IsZero() {
		return r.OpenedAt
	}
	return r.DeployedAt
}
