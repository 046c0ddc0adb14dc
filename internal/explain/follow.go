package explain

import (
	"maps"
	"slices"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// follower goes along the slots of one rule as they became known, by the same [gatekeeper.Track]
// as the engine, and says when the rule's `for` was full.
type follower struct {
	rule  rules.Rule
	base  gatekeeper.Track   // up to the present gap
	gap   []gatekeeper.Point // what is blind since
	slots map[time.Time]bool // that are known
	sure  time.Time          // when an extra evaluation confirmed what is active
	full  *Full              // since when it is full; nil while it is not
	fulls []*Full            // every time that it was
}

// Full is a time at which a rule had been bad for its `for`.
type Full struct {
	Rule  string    `json:"rule"`
	Since time.Time `json:"since"` // the first bad slot
	At    time.Time `json:"at"`    // the slot, or the extra evaluation, that made it full
	Known time.Time `json:"known"` // when that was known: later than At after a gap

	Led   gatekeeper.Kind `json:"led,omitempty"`     // the first fact about it: decided, held or breached
	LedAt time.Time       `json:"led_at,omitzero"`   // when that was written
	Why   string          `json:"why_not,omitempty"` // why no fact is about it

	next time.Time // when the slot after it was known, without a fact about it: the daemon was there
}

func follow(rule rules.Rule) *follower {
	return &follower{rule: rule, base: gatekeeper.Track{Rule: rule.Name, For: gatekeeper.Duration(rule.For)}, slots: map[time.Time]bool{}}
}

// take adds the points of one fact.
func (f *follower) take(points []gatekeeper.Point) {
	points = gatekeeper.Unfolded(points)
	for len(points) > 0 {
		n := 1
		for n < len(points) && points[n].Known().Equal(points[0].Known()) {
			n++
		}
		f.answer(points[:n])
		points = points[n:]
	}
}

// skip goes on from what the daemon knew at a slot: facts from before slots were journaled have none.
func (f *follower) skip(t gatekeeper.Track) {
	f.base, f.gap = t, nil
	f.base.For = gatekeeper.Duration(f.rule.For) // older records have none
	f.slots[t.LastSlot] = true
}

// answer adds the points that became known at one instant.
func (f *follower) answer(points []gatekeeper.Point) {
	known := points[0].Known()
	if p := points[0]; p.Extra {
		confirmed := f.track().Confirm(gatekeeper.Reading{At: p.At, Verdict: p.Verdict, Active: p.Active})
		if p.Verdict == gatekeeper.Unhealthy && confirmed.Full(p.At) {
			f.sure = p.At
		}
	} else {
		f.merge(points)
		if len(f.base.Active) == 0 {
			f.sure = time.Time{}
		}
	}
	f.judge(points[len(points)-1], known)
}

// merge takes the slots of one answer; those of the present gap are asked again with them.
func (f *follower) merge(points []gatekeeper.Point) {
	for _, p := range points {
		f.slots[p.At] = true
		f.gap = slices.DeleteFunc(f.gap, func(old gatekeeper.Point) bool { return old.At.Equal(p.At) })
	}
	all := slices.Concat(f.gap, points)
	slices.SortStableFunc(all, func(a, b gatekeeper.Point) int { return a.At.Compare(b.At) })
	f.gap = nil
	for _, p := range all {
		if p.Early || !p.Verdict.Blind() {
			f.base = f.base.Along(append(f.gap, p), f.rule.Interval)
			f.gap = nil
			continue
		}
		f.gap = append(f.gap, p)
	}
}

// track gives what is known of the rule, the present gap included.
func (f *follower) track() gatekeeper.Track { return f.base.Along(f.gap, f.rule.Interval) }

// judge notes whether the rule is full after the latest answer.
func (f *follower) judge(last gatekeeper.Point, known time.Time) {
	t := f.track()
	at := t.LastSlot
	if f.sure.After(at) {
		at = f.sure
	}
	switch {
	case !t.Full(at):
		f.full = nil
	case f.full == nil || !f.full.Since.Equal(t.Pending()):
		f.full = &Full{Rule: f.rule.Name, Since: t.Pending(), At: f.fullAt(t, last), Known: known}
		f.fulls = append(f.fulls, f.full)
	case f.full.Led == "" && !last.Extra && f.full.next.IsZero():
		f.full.next = known
	}
}

// fullAt gives the slot that made a rule full that is so after last: an earlier one where slots
// after a gap became known together.
func (f *follower) fullAt(t gatekeeper.Track, last gatekeeper.Point) time.Time {
	due := t.Due()
	at := last.At
	for !last.Extra && f.slots[at.Add(-f.rule.Interval)] && !at.Add(-f.rule.Interval).Before(due) {
		at = at.Add(-f.rule.Interval)
	}
	return at
}

// missing gives the slots that the record does not have: between those that it has and, unless end
// is zero, up to that. The last slot before end may have been under way.
func (f *follower) missing(end time.Time) []Gap {
	known := slices.SortedFunc(maps.Keys(f.slots), time.Time.Compare)
	var gaps []Gap
	lacks := func(from, to time.Time) {
		gaps = append(gaps, Gap{Rule: f.rule.Name, From: from.Add(f.rule.Interval), To: to.Add(-f.rule.Interval)})
	}
	for i := 1; i < len(known); i++ {
		if known[i].Sub(known[i-1]) >= 2*f.rule.Interval { // less is a schedule that moved
			lacks(known[i-1], known[i])
		}
	}
	if n := len(known); n > 0 && end.Sub(known[n-1]) > 2*f.rule.Interval {
		lacks(known[n-1], end)
	}
	return gaps
}
