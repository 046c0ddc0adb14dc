package backtest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// standing gives the rules whose `for` is full and that may do something about it.
func (p *replay) standing() []*follower {
	var all []*follower
	for _, f := range p.rules {
		switch {
		case f.Asked.IsZero() || !f.Full():
		case f.stillOld() && (p.alone || f.Rule.Response.Do == rules.Rollback):
		case p.alone || f.acts():
			all = append(all, f)
		}
	}
	return all
}

// blind gives the rules that have seen nothing for longer than their route bears, by what it does then.
func (p *replay) blind(policy string) []*follower {
	var all []*follower
	for _, f := range p.rules {
		end := f.BlindAt()
		if end.IsZero() || p.now.Before(end) || !f.acts() || f.stillOld() {
			continue
		}
		is := f.Rule.Response.NoData
		if f.Track().Verdict == gatekeeper.NoAnswer {
			is = f.Rule.Response.OnError
		}
		if is == policy {
			all = append(all, f)
		}
	}
	return all
}

// harm takes what stands on its way. It says whether the release moved.
func (p *replay) harm() bool {
	act := append(p.standing(), p.blind(rules.Rollback)...)
	if p.hold != nil && !slices.ContainsFunc(act, func(f *follower) bool { return !slices.Contains(p.hold.bad, f) }) {
		return false
	}
	return len(act) > 0 && p.act(act, false)
}

// act leads harm to what its routes make of it, after a countdown where they have one.
func (p *replay) act(act []*follower, counted bool) bool {
	why, since := sayHarm(act), firstBad(act)
	if p.alone {
		p.decide(Fires, since, act, why)
		return true
	}
	veto := time.Duration(-1)
	for _, f := range act {
		if r := f.Rule.Response; (r.Do == rules.Rollback || f.Track().Pending().IsZero()) && (veto < 0 || r.Veto < veto) {
			veto = r.Veto
		}
	}
	switch {
	case veto < 0:
		p.decide(Holds, since, act, why+"; its route asks a person")
	case veto > 0 && !counted:
		until := p.now.Add(veto)
		if p.hold != nil && len(p.hold.bad) > 0 {
			until = p.hold.until
		}
		p.hold = &hold{bad: act, until: until}
	default:
		p.decide(RollsBack, since, act, why)
	}
	return true
}

// blindness holds the release while rules can't see and their routes hold for that.
func (p *replay) blindness() bool {
	if p.hold != nil {
		return false
	}
	blind := p.blind(rules.Hold)
	if len(blind) == 0 {
		return false
	}
	p.hold = &hold{blind: blind, until: p.now.Add(p.file.HoldFor)}
	p.blindSince = append(p.blindSince, p.now)
	return true
}

// held looks whether the hold is over. It says whether the release goes on.
func (p *replay) held() bool {
	h := p.hold
	switch {
	case len(h.blind) > 0 && len(p.blind(rules.Hold)) == 0 && !slices.ContainsFunc(h.blind, func(f *follower) bool { return !f.Track().BlindSince.IsZero() }):
		p.hold = nil // there is data again
	case len(h.bad) > 0 && !slices.ContainsFunc(h.bad, func(f *follower) bool { return !f.Recovered() }):
		p.hold = nil
	case p.harm():
		return false
	case p.now.Before(h.until):
		return false
	case len(h.blind) > 0:
		p.decide(Inconclusive, time.Time{}, h.blind, sayHarm(h.blind)+", and nobody decided until the deadline")
	default:
		stand := slices.DeleteFunc(append(p.standing(), p.blind(rules.Rollback)...), func(f *follower) bool { return !slices.Contains(h.bad, f) })
		if len(stand) > 0 {
			p.act(stand, true)
			return false
		}
		p.hold = nil
	}
	return p.hold == nil
}

// closeWindow ends the window, unless a pending rule extends it.
func (p *replay) closeWindow() {
	var until time.Time
	for _, f := range p.rules {
		if p.alone || f.acts() {
			if end := f.Extends(p.now, p.end, p.overtime); end.After(until) {
				until = end
			}
		}
	}
	if until.After(p.end) {
		p.overtime += until.Sub(p.end)
		p.end = until
		return
	}
	for _, f := range p.rules {
		if !p.alone && f.Rule.Response.Do != rules.Rollback {
			continue
		}
		if why := f.Unsure(p.file.Coverage, f.stillOld()); why != "" {
			p.decide(p.unsure(), time.Time{}, []*follower{f}, why)
			return
		}
	}
	p.decide(Passed, time.Time{}, nil, p.sayPassed())
}

// unsure is what the file makes of a release of which it can't be told whether it is well.
func (p *replay) unsure() Verdict {
	switch {
	case p.alone:
		return Inconclusive
	case p.file.OnInconclusive == rules.Hold:
		return Holds
	case p.file.OnInconclusive == rules.Rollback:
		return RollsBack
	}
	return Inconclusive
}

func (p *replay) sayPassed() string {
	if len(p.blindSince) == 0 {
		return ""
	}
	return fmt.Sprintf("held for want of data %s after the deploy", p.blindSince[0].Sub(p.release.Deployed).Round(time.Second))
}

// sayHarm says which rules are bad, or blind, with what was seen.
func sayHarm(all []*follower) string {
	var says []string
	for _, f := range all {
		if f.Track().Pending().IsZero() {
			says = append(says, f.Rule.Name+" has seen nothing")
			continue
		}
		s := f.Rule.Name
		if v, ok := worst(f.Bad); ok {
			s += fmt.Sprintf(" is %.4g", float64(v))
			if f.Bad.Limit != "" {
				s += fmt.Sprintf(" (bad: %s)", f.Bad.Limit)
			}
		}
		if f.Rule.For > 0 {
			s += " for " + Span(f.Rule.For)
		}
		says = append(says, s)
	}
	return strings.Join(says, "; ")
}

func worst(r gatekeeper.Reading) (gatekeeper.Float, bool) {
	for _, list := range [][]gatekeeper.Sample{r.Operand, r.Samples} {
		if len(list) > 0 {
			return list[0].Value, true
		}
	}
	return 0, false
}

func firstBad(all []*follower) time.Time {
	var first time.Time
	for _, f := range all {
		t := f.Track()
		since := t.Pending()
		if since.IsZero() {
			since = t.BlindSince
		}
		if first.IsZero() || since.Before(first) {
			first = since
		}
	}
	return first
}
