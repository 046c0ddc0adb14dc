package ruletest

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/timeline"
)

// happening is a fact as an expectation sees it.
type happening struct {
	at    time.Time
	about []string // the values by which it can be named
	says  string   // its text
}

// word is one word of expectations: which facts it means.
type word struct {
	of     func(r gatekeeper.Release, f gatekeeper.Fact) []happening // r is the release after f
	values []string                                                  // those it can have; none: names of rules, actions, versions
}

// facts are the words of expectations.
var facts = map[string]word{
	"opened":   {of: when(func(b gatekeeper.Opened) ([]string, string) { return []string{b.Version}, "" })},
	"deployed": {of: when(func(b gatekeeper.Deployed) ([]string, string) { return []string{b.How}, "" }), values: []string{"pipeline", "traffic"}},
	"pending":  {of: pending},
	"verdict":  {of: verdict},
	"breached": {of: when(func(b gatekeeper.Breached) ([]string, string) { return rulesOf(b.Breaches), b.Why })},
	"held":     {of: when(func(b gatekeeper.Held) ([]string, string) { return []string{string(b.Reason)}, b.Says }), values: reasons},
	"resumed":  {of: when(func(b gatekeeper.Resumed) ([]string, string) { return nil, b.Why })},
	"vetoed":   {of: when(func(b gatekeeper.Vetoed) ([]string, string) { return b.Rules, b.Why })},
	"extended": {of: when(func(b gatekeeper.Extended) ([]string, string) { return []string{b.Rule}, b.Why })},
	"decided": {of: when(func(b gatekeeper.Decided) ([]string, string) {
		return append(rulesOf(b.Breaches), string(b.Cause)), b.Says
	})},
	"applied":       {of: attempted(gatekeeper.ResultDone)},
	"failed":        {of: attempted(gatekeeper.ResultFailed, gatekeeper.ResultUnknown)},
	"gave_up":       {of: ofRung(func(b gatekeeper.GaveUp) (int, string) { return b.Rung, b.Why })},
	"reached":       {of: ofRung(func(b gatekeeper.Reached) (int, string) { return b.Rung, b.Live.Says })},
	"not_recovered": {of: when(func(b gatekeeper.NotRecovered) ([]string, string) { return rulesOf(b.Breaches), "" })},
	"recovered":     {of: when(recovered), values: []string{"well", "unknown"}},
	"noted":         {of: when(func(b gatekeeper.Noted) ([]string, string) { return nil, b.Text })},
	"outcome":       {of: when(func(b gatekeeper.Closed) ([]string, string) { return []string{string(b.Outcome)}, b.Why }), values: outcomes},
}

var (
	reasons = texts(gatekeeper.HoldKillSwitch, gatekeeper.HoldTarget, gatekeeper.HoldFreeze, gatekeeper.HoldIrreversible, gatekeeper.HoldCoolDown,
		gatekeeper.HoldVeto, gatekeeper.HoldRoute, gatekeeper.HoldBlind, gatekeeper.HoldInconclusive, gatekeeper.HoldPerson)
	outcomes = texts(gatekeeper.OutcomePassed, gatekeeper.OutcomeRolledBack, gatekeeper.OutcomeRollbackFailed, gatekeeper.OutcomeBreached,
		gatekeeper.OutcomeInconclusive, gatekeeper.OutcomeAborted, gatekeeper.OutcomeSuperseded)
)

func texts[T ~string](all ...T) []string {
	out := make([]string, len(all))
	for i, one := range all {
		out[i] = string(one)
	}
	return out
}

func words() []string { return slices.Sorted(maps.Keys(facts)) }

// when gives the happening of one type of fact.
func when[B gatekeeper.Body](of func(B) (about []string, says string)) func(gatekeeper.Release, gatekeeper.Fact) []happening {
	return func(_ gatekeeper.Release, f gatekeeper.Fact) []happening {
		b, ok := f.Body.(B)
		if !ok {
			return nil
		}
		about, says := of(b)
		return []happening{{at: f.At, about: about, says: says}}
	}
}

func recovered(b gatekeeper.Recovered) ([]string, string) {
	if b.Unknown {
		return []string{"unknown"}, b.Says
	}
	return []string{"well"}, b.Says
}

func rulesOf(breaches []gatekeeper.Breach) []string {
	names := make([]string, len(breaches))
	for i, b := range breaches {
		names[i] = b.Rule
	}
	return names
}

// pending tells since when a rule is pending, once for each time that it becomes so.
func pending(_ gatekeeper.Release, f gatekeeper.Fact) []happening {
	b, ok := f.Body.(gatekeeper.Judged)
	if !ok || b.Track.Pending().IsZero() {
		return nil
	}
	return []happening{{at: b.Track.Pending(), about: []string{b.Track.Rule}, says: b.Reading.Summary}}
}

// verdict tells of a rule's verdict: "no_traffic", or "R no_traffic" where there are several rules.
func verdict(_ gatekeeper.Release, f gatekeeper.Fact) []happening {
	b, ok := f.Body.(gatekeeper.Judged)
	if !ok {
		return nil
	}
	said := string(b.Reading.Verdict)
	return []happening{{at: b.Reading.At, about: []string{said, b.Track.Rule + " " + said}, says: b.Reading.Detail}}
}

func attempted(results ...gatekeeper.Result) func(gatekeeper.Release, gatekeeper.Fact) []happening {
	return func(r gatekeeper.Release, f gatekeeper.Fact) []happening {
		b, ok := f.Body.(gatekeeper.Attempted)
		if !ok || !slices.Contains(results, b.Result) {
			return nil
		}
		return []happening{{at: f.At, about: rungNames(r, b.Rung), says: b.Error}}
	}
}

func ofRung[B gatekeeper.Body](of func(B) (rung int, says string)) func(gatekeeper.Release, gatekeeper.Fact) []happening {
	return func(r gatekeeper.Release, f gatekeeper.Fact) []happening {
		b, ok := f.Body.(B)
		if !ok {
			return nil
		}
		rung, says := of(b)
		return []happening{{at: f.At, about: rungNames(r, rung), says: says}}
	}
}

// rungNames are the values that name a rung: its action and its number from 1.
func rungNames(r gatekeeper.Release, rung int) []string {
	number := strconv.Itoa(rung + 1)
	if rung < 0 || rung >= len(r.Rungs) {
		return []string{number}
	}
	return []string{number, r.Rungs[rung].Action}
}

// happenings gives what a word means in a release's facts, in order; what is told twice is there once.
func happenings(w string, all []gatekeeper.Fact) ([]happening, error) {
	var found []happening
	var r gatekeeper.Release
	for _, f := range all {
		after, err := r.With(f)
		if err != nil {
			return nil, err
		}
		r = after
		for _, h := range facts[w].of(r, f) {
			if !slices.ContainsFunc(found, func(known happening) bool { return known.at.Equal(h.at) && slices.Equal(known.about, h.about) }) {
				found = append(found, h)
			}
		}
	}
	return found, nil
}

func clock[D ~int64](d D) string { return timeline.Clock(time.Duration(d)) }
