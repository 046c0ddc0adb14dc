package engine

import (
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// watch is a rule that the run asks, with what the journal knows of it.
type watch struct {
	*rules.Watch
	job  string           // the name of the job that asks it
	told gatekeeper.Track // as the journal has it

	followed bool // it was tried to lay its slots behind the scrapes, see [run.follow]
}

func newWatch(job string, rule *rules.BoundRule, phase time.Duration, known gatekeeper.Track, latest gatekeeper.Reading) *watch {
	if !known.LastSlot.IsZero() {
		phase = phaseOf(known, rule.Interval)
	}
	return &watch{Watch: rules.NewWatch(rule, phase, known, latest), job: job, told: known}
}

// maxTrail is how many bytes of slots, about, wait to be journaled.
const maxTrail = 32 << 10

// trailed says whether the trail is long enough to be journaled though nothing changed.
func (w *watch) trailed() bool {
	size := 0
	for _, p := range w.Trail {
		size += p.Size()
	}
	return len(w.Trail) >= gatekeeper.MaxTrail || size > maxTrail
}

// news says whether there is something to journal: the verdict changed, the rule became or ceased
// to be pending, or many slots have gone by.
func (w *watch) news() bool {
	now := w.judged().Track
	return now.Verdict != w.told.Verdict || !now.Pending().Equal(w.told.Pending()) || w.trailed()
}

// judged gives what the journal has to know to go on from here.
func (w *watch) judged() gatekeeper.Judged {
	live := w.Track()
	keep := w.Base
	keep.Verdict, keep.BlindSince = live.Verdict, live.BlindSince
	return gatekeeper.Judged{Track: keep, Reading: w.Last.Within(maxEvidence), Trail: gatekeeper.Folded(w.Trail)}
}

// wrote takes note that the journal has fact.
func (w *watch) wrote(fact gatekeeper.Judged) {
	w.told, w.Trail = fact.Track, nil
}
