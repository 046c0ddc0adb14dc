package engine

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/gatekeeper-engine/gatekeeper"
)

// judged gives the facts about a rule that the journal has not. Preexisting harm counts again once
// the rule was well.
func (u *run) judged(w *watch) []gatekeeper.Judged {
	facts := w.unwritten()
	for i := range facts {
		facts[i].Preexisting = u.r.Preexisting[w.Rule.Name] && !facts[i].Track.EverHealthy
	}
	return facts
}

// recordJudged records facts about rules, in as many commits as they need.
func (u *run) recordJudged(facts []gatekeeper.Judged) error {
	for _, part := range commits(facts) {
		if err := u.record(part...); err != nil {
			return err
		}
	}
	return nil
}

// recordTrails records the slots of rules that are as many as a fact holds, though nothing changed.
// It waits for what is decided, which takes them along.
func (u *run) recordTrails() error {
	var facts []gatekeeper.Judged
	for _, w := range u.judging(u.r) {
		if len(w.parts) > 0 {
			facts = append(facts, u.judged(w)...)
		}
	}
	return u.recordJudged(facts)
}

// recordAhead records the evidence for bodies that does not fit into one commit with them.
func (u *run) recordAhead(bodies []gatekeeper.Body) error {
	for parts := commits(u.evidence(bodies)); len(parts) > 1; parts = parts[1:] {
		if err := u.record(parts[0]...); err != nil {
			return err
		}
	}
	return nil
}

// commits divides facts about rules so that each part fits into a commit, beside a fact that turns the release.
func commits(facts []gatekeeper.Judged) [][]gatekeeper.Body {
	var all [][]gatekeeper.Body
	room := 0
	for _, f := range facts {
		size := maxOfAll
		if data, err := json.Marshal(f); err == nil { // else the commit tells of it
			size = len(data)
		}
		if size > room {
			all, room = append(all, nil), maxOfAll
		}
		room -= size
		all[len(all)-1] = append(all[len(all)-1], f)
	}
	return all
}

// evidence gives, for bodies that turn the release, what its rules said since they were journaled
// last: a decision and the slots that led to it are durable together. A restart during a hold need
// not ask for it again, and perhaps could not.
func (u *run) evidence(bodies []gatekeeper.Body) []gatekeeper.Judged {
	if !u.r.Takes(gatekeeper.KindJudged) || !slices.ContainsFunc(bodies, turns) {
		return nil
	}
	var facts []gatekeeper.Judged
	for _, w := range u.judging(u.r) {
		if len(w.parts)+len(w.Trail) > 0 {
			facts = append(facts, u.judged(w)...)
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
			if len(w.parts)+len(w.Trail) > 0 && u.r.Takes(gatekeeper.KindJudged) {
				facts = append(facts, u.judged(w)...)
			}
		}
		return nil
	})
	if errors.Is(err, errRunOver) {
		return nil, nil
	}
	return facts, err
}
