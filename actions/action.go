// Package actions holds the contract between the engine and whatever can take a release back:
// a flag store, a load balancer, a webhook, a program. One package below it per family of
// systems; builtin is the one list of them; actiontest checks the contract.
package actions

import (
	"context"

	"github.com/gatekeeper-engine/gatekeeper"
)

// Action is one rung of a release's ladder, bound to its settings and its connection when it was
// opened by [Registry.Open]. The engine calls, for one release:
//
//	Prepare  once when the release opens (again only while it fails): pin the target, and prove
//	         as far as possible without a change that Apply could work: reachable, allowed, exists.
//	Observe  at Deployed, at a breach, and after Apply until the target is reached.
//	Apply    after the decision and the intent are durable, at least once, perhaps twice with the
//	         same key: when Gatekeeper died or the outcome of the first was unknown.
//
// Prepare and Observe change nothing. Apply brings the target about however often it is called: never
// a toggle, never "one step back". All three return within ctx's deadline, also when the other
// side hangs, and leave nothing running. They are never called at the same time for one release
// and rung, but one action's connection serves many releases at once. Errors say what happened
// and what to do, and hold no secrets.
type Action interface {
	// Prepare pins what to return to. An error makes the rung unusable until a later Prepare
	// succeeds.
	Prepare(ctx context.Context) (gatekeeper.Target, error)

	// Apply brings t about. A nil error means that the other side accepted it, not yet that it is
	// there. An error that wraps [ErrNoEffect] certainly changed nothing; any other leaves the
	// outcome unknown.
	Apply(ctx context.Context, t gatekeeper.Target, key gatekeeper.Key) (gatekeeper.Receipt, error)

	// Observe tells where the live system is with respect to t. When it can't be asked the answer
	// is Unknown with the reason in Says, and a nil error; an error means that t or the settings
	// can never be observed.
	Observe(ctx context.Context, t gatekeeper.Target) (gatekeeper.Live, error)
}

// Safer is an [Action] whose retry safety depends on its settings; it overrules its [Spec]'s.
type Safer interface {
	Safety() gatekeeper.RetrySafety
}

// Blind is an [Action] that can't observe what it did, perhaps only with these settings. When
// Unobservable says so, Observe always answers Unknown and a nil error of Apply is all that
// anybody will ever know: the engine takes an accepted Apply for the target reached and lets the
// rules tell whether the service recovered.
type Blind interface {
	Unobservable() bool
}

// Named is an [Action] that says what of its connection's system its settings name, such as a
// backend or a program, for the operator's policy. Its doc comment says what the names look like.
type Named interface {
	Names() []string
}

// Subject is the release a rung belongs to, for actions that tell the other side about it.
type Subject struct {
	Release         string            `json:"release"`
	Service         string            `json:"service"`
	Environment     string            `json:"environment"`
	Version         string            `json:"version"`
	PreviousVersion string            `json:"previous_version"`
	Labels          map[string]string `json:"labels"`
}
