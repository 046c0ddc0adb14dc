package backtest

import (
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// Verdict is what would have become of a release, or of one rule.
type Verdict string

// The verdicts. Of one rule alone, Fires stands for whatever its route makes of it.
const (
	Passed       Verdict = "passed"
	RollsBack    Verdict = "would roll back"
	Holds        Verdict = "would hold"
	Fires        Verdict = "fires"
	Inconclusive Verdict = "inconclusive" // it could not have been told
	NotKnown     Verdict = "unknown"      // it can't be told any more
)

// Decision is a verdict with when and why.
type Decision struct {
	Verdict Verdict   `json:"verdict"`
	At      time.Time `json:"at,omitzero"`    // of what fires
	Since   time.Time `json:"since,omitzero"` // the first bad slot
	Rules   []string  `json:"rules,omitempty"`
	Why     string    `json:"why,omitempty"`
}

// fired says whether something would have happened to the release.
func (d Decision) fired() bool {
	return d.Verdict == RollsBack || d.Verdict == Holds || d.Verdict == Fires
}

// terms are what a release is replayed under.
type terms struct {
	file     *rules.File
	release  Release
	window   time.Duration
	limit    time.Time // nothing after it is the release's, or known
	limitWhy string
	alone    bool // one rule, whatever its route does
}

// follower is one rule of a replay.
type follower struct {
	*rules.Watch
	judge       *judge
	preexisting bool
}

// stillOld says whether the rule was bad before the release and has not been well since.
func (f *follower) stillOld() bool { return f.preexisting && !f.Base.EverHealthy }

// acts says whether the rule can do more than tell.
func (f *follower) acts() bool { return f.Rule.Response.Do != rules.Notify }

// replay goes through one release as the engine does, jumping from instant to instant.
type replay struct {
	terms
	now      time.Time
	end      time.Time     // of the window
	overtime time.Duration // how much of it is for pending rules
	rules    []*follower
	hold     *hold
	out      *Decision

	blindSince []time.Time // when it was held because rules could not see
}

// hold is what stands between a breach, or blindness, and its end.
type hold struct {
	blind []*follower // what can't see; none: a countdown
	bad   []*follower
	until time.Time
}

// play replays a release with its rules, the slots of each shifted.
func play(t terms, judges []*judge, shifts []time.Duration) (Decision, []*follower) {
	p := &replay{terms: t, end: t.release.Deployed.Add(t.window)}
	for i, j := range judges {
		f := &follower{Watch: rules.NewWatch(j.rule, j.grid.phase+shifts[i], gatekeeper.Track{}, gatekeeper.Reading{}), judge: j}
		f.preexisting = f.Open(j.at(j.grid.last(t.release.opened())))
		f.Deploy(t.release.Deployed, f.Base)
		p.rules = append(p.rules, f)
	}
	for p.out == nil {
		p.now = p.next()
		if p.now.After(p.limit) {
			p.decide(NotKnown, time.Time{}, nil, p.limitWhy)
			break
		}
		p.step()
	}
	return *p.out, p.rules
}

// next gives the instant at which something can happen next.
func (p *replay) next() time.Time {
	var next time.Time
	sooner := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	for _, f := range p.rules {
		sooner(f.At())
		if blind := f.BlindAt(); blind.After(p.now) {
			sooner(blind)
		}
	}
	if p.hold != nil {
		sooner(p.hold.until)
	} else if p.end.After(p.now) {
		sooner(p.end)
	}
	return next
}

// step asks what is due and then looks at what stands, in the engine's order.
func (p *replay) step() {
	for _, f := range p.rules {
		for q, due := f.Ask(p.now); due; q, due = f.Ask(p.now) {
			f.Take(q, f.judge.answer(q))
		}
	}
	if p.hold != nil && !p.held() {
		return
	}
	if p.out == nil && !p.harm() && !p.blindness() && p.hold == nil && !p.now.Before(p.end) {
		p.closeWindow()
	}
}

func (p *replay) decide(v Verdict, since time.Time, by []*follower, why string) {
	p.out = &Decision{Verdict: v, Why: why}
	for _, f := range by {
		p.out.Rules = append(p.out.Rules, f.Rule.Name)
	}
	if p.out.fired() {
		p.out.At, p.out.Since = p.now, since
	}
}
