// Package actiontest is the conformance suite of [actions.Action]: what the engine relies on,
// checked on a real system. Every action runs it.
package actiontest

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
)

// System is a live system with an action on it. It stands where the released version left it:
// away from the target, in a state that Prepare can pin a target in.
type System struct {
	// Open opens the action anew with always the same settings, as the engine does after a
	// restart.
	Open func() actions.Action

	// Release brings the live system to where a release leaves it: away from what Prepare pinned
	// before. For an action that sets a target it may do nothing if the system stands there.
	Release func()

	// State reads the live system past the action: equal texts are equal states.
	State func() string

	// Refuse makes the system reject every Apply from now on, with certainty.
	Refuse func()

	// Stop makes the system unreachable.
	Stop func()

	// Hang makes the system take requests and never answer.
	Hang func()

	// Effects counts how often Apply took effect. It may be nil where State tells all.
	Effects func() int

	// Secrets are what no error, target, receipt or sentence may hold.
	Secrets []string
}

// blind says whether the action tells that it can't observe.
func blind(a actions.Action) bool {
	b, ok := a.(actions.Blind)
	return ok && b.Unobservable()
}

// Run checks the contract. start gives a fresh system for every check and cleans it up with t.
// Hang, Stop and Refuse last until then.
func Run(t *testing.T, safety gatekeeper.RetrySafety, start func(t *testing.T) System) {
	t.Helper()
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			running := goleak.IgnoreCurrent()
			t.Cleanup(func() { goleak.VerifyNone(t, running) }) // runs after start's own cleanup
			s := start(t)
			c.check(&probe{T: t, System: s, safety: safetyOf(s.Open(), safety), patience: 10 * time.Second})
		})
	}
}

func safetyOf(a actions.Action, declared gatekeeper.RetrySafety) gatekeeper.RetrySafety {
	if s, ok := a.(actions.Safer); ok {
		return s.Safety()
	}
	return declared
}
