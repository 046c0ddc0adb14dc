package web

import (
	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/timeline"
)

// step is a rung of the plan as a page shows it.
type step struct {
	Action  string // and the connection
	State   string
	Tone    timeline.Tone
	Target  string // what it returns to
	Problem string
	Present bool // it is being taken
}

// ladder tells of each rung how far it has come.
func ladder(r gatekeeper.Release) []step {
	steps := make([]step, len(r.Rungs))
	for i, rung := range r.Rungs {
		s := step{Action: rung.Action, State: "ready", Tone: timeline.Quiet, Problem: rung.Problem}
		if rung.Connection != "" {
			s.Action += " by " + rung.Connection
		}
		if rung.Target != nil {
			s.Target = rung.Target.Says
		}
		acting := r.State == gatekeeper.Applying || r.State == gatekeeper.Verifying
		switch {
		case rung.GaveUp != "":
			s.State, s.Tone, s.Problem = "gave up", timeline.Bad, rung.GaveUp
		case !rung.ReachedAt.IsZero():
			s.State, s.Tone = "reached", timeline.Good
		case acting && i == r.Rung:
			s.State, s.Tone = "applying", timeline.Warn
		case r.State == gatekeeper.Preparing:
			s.State = "being prepared"
		case rung.Target == nil:
			s.State, s.Tone = "unusable", timeline.Warn
		case r.Closed():
			s.State = "not taken"
		}
		s.Present = acting && i == r.Rung
		steps[i] = s
	}
	return steps
}
