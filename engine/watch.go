package engine

import (
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// watch is a rule that the run asks, with what the journal knows of it.
type watch struct {
	*rules.Watch
	job   string              // the name of the job that asks it
	told  gatekeeper.Track    // as the journal has it
	parts []gatekeeper.Judged // the slots before those of Trail that the journal has not, by facts that are full

	followed bool // it was tried to lay its slots behind the scrapes, see [run.follow]
}

func newWatch(job string, rule *rules.BoundRule, phase time.Duration, known gatekeeper.Track, latest gatekeeper.Reading) *watch {
	if !known.LastSlot.IsZero() {
		phase = phaseOf(known, rule.Interval)
	}
	w := &watch{Watch: rules.NewWatch(rule, phase, known, latest), job: job, told: known}
	w.Added = w.added
	return w
}

// maxTrail is how many bytes of slots one fact holds, and one slot more.
const maxTrail = 32 << 10

// added makes a fact of the trail when it is as long as a fact holds. Many slots come at once after
// an outage, and each fact must be true of its own.
func (w *watch) added(r gatekeeper.Reading) {
	size := 0
	for _, p := range w.Trail {
		size += p.Size()
	}
	if len(w.Trail) < gatekeeper.MaxTrail && size <= maxTrail {
		return
	}
	w.parts = append(w.parts, gatekeeper.Judged{Track: w.known(), Reading: r.Within(maxEvidence), Trail: w.Trail})
	w.Trail = nil
}

// changed says whether the verdict changed, or the rule became or ceased to be pending, since the
// journal was told.
func (w *watch) changed() bool {
	now := w.known()
	return now.Verdict != w.told.Verdict || !now.Pending().Equal(w.told.Pending())
}

// known gives the track that the journal has to know to go on from here.
func (w *watch) known() gatekeeper.Track {
	live, keep := w.Track(), w.Base
	keep.Verdict, keep.BlindSince = live.Verdict, live.BlindSince
	return keep
}

// unwritten gives the facts that the journal has to be told to go on from here.
func (w *watch) unwritten() []gatekeeper.Judged {
	facts := make([]gatekeeper.Judged, 0, len(w.parts)+1)
	for _, part := range w.parts {
		part.Trail = gatekeeper.Folded(part.Trail)
		facts = append(facts, part)
	}
	if len(w.Trail) > 0 || len(w.parts) == 0 {
		facts = append(facts, gatekeeper.Judged{Track: w.known(), Reading: w.Last.Within(maxEvidence), Trail: gatekeeper.Folded(w.Trail)})
	}
	return facts
}

// wrote takes note that the journal has fact: what was heard since it was made is still to be told.
func (w *watch) wrote(fact gatekeeper.Judged) {
	w.told = fact.Track
	n := len(fact.Trail)
	for n > 0 && len(w.parts) > 0 {
		done := min(n, len(w.parts[0].Trail))
		w.parts[0].Trail = w.parts[0].Trail[done:]
		n -= done
		if len(w.parts[0].Trail) == 0 {
			w.parts = w.parts[1:]
		}
	}
	w.Trail = w.Trail[min(n, len(w.Trail)):]
}
