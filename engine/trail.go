package engine

import (
	"context"
	"errors"
	"slices"

	"github.com/gatekeeper-engine/gatekeeper"
)

// evidence gives, for bodies that turn the release, what its rules said since they were journaled
// last: a decision and the slots that led to it are durable together. Pending rules come first;
// what does not fit any more is left out. A restart during a hold need not ask for it again, and
// perhaps could not.
func (u *run) evidence(bodies []gatekeeper.Body) []gatekeeper.Judged {
	if !u.r.Takes(gatekeeper.KindJudged) || !slices.ContainsFunc(bodies, turns) {
		return nil
	}
	var facts []gatekeeper.Judged
	room := maxOfAll
	for _, pending := range []bool{true, false} {
		for _, w := range u.judging(u.r) {
			if len(w.Trail) == 0 || pending == w.Track().Pending().IsZero() {
				continue
			}
			fact := u.judged(w)
			size := maxEvidence / len(u.judging(u.r))
			fact.Reading = fact.Reading.Within(size)
			for _, p := range fact.Trail {
				size += p.Size()
			}
			if room -= size; room < 0 {
				return facts
			}
			facts = append(facts, fact)
		}
	}
	return facts
}

// turns says whether a fact moves the release on because of what the rules said.
func turns(b gatekeeper.Body) bool {
	switch b.(type) {
	case gatekeeper.Held, gatekeeper.Decided, gatekeeper.Breached, gatekeeper.Recovered, gatekeeper.NotRecovered, gatekeeper.Closed:
		return true
	}
	return false
}

// judging gives the rules that the release's facts about rules are about.
func (u *run) judging(r gatekeeper.Release) []*watch {
	if r.State == gatekeeper.Verifying {
		return u.checks
	}
	return u.watches
}

// wrote takes note of what the journal has of a rule; r is the release before the fact.
func (u *run) wrote(r gatekeeper.Release, f gatekeeper.Fact) {
	judged, ok := f.Body.(gatekeeper.Judged)
	if !ok {
		return
	}
	for _, w := range u.judging(r) {
		if w.Rule.Name == judged.Track.Rule {
			w.wrote(judged)
		}
	}
}

// Unwritten gives what the journal does not have yet of an open release's rules: the facts that
// would be written now, with every slot since the last ones. None where the release is not judged.
func (e *Engine) Unwritten(ctx context.Context, id string) ([]gatekeeper.Judged, error) {
	u, ok := e.find(id)
	if !ok {
		return nil, nil
	}
	var facts []gatekeeper.Judged
	err := u.do(ctx, func() error {
		for _, w := range u.judging(u.r) {
			if len(w.Trail) > 0 && u.r.Takes(gatekeeper.KindJudged) {
				facts = append(facts, u.judged(w))
			}
		}
		return nil
	})
	if errors.Is(err, errRunOver) {
		return nil, nil
	}
	return facts, err
}
