package rehearsal

import (
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
	"github.com/gatekeeper-engine/gatekeeper/engine"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// Script is what happens in a rehearsal. Its times are since Start, and may be before it.
type Script struct {
	Start    time.Time      // Epoch or later; zero: Epoch
	Phase    time.Duration  // the slots of every rule group are so long after full intervals
	Backend  rules.Querier  // answers for all of the script's time
	Actions  []actions.Spec // those that rollback plans may name; none of them is ever opened
	Freezes  []Freeze
	Faults   []Fault
	Alerts   []Alert
	Releases []Release
}

// Span is a time of a script: From is in it, To is not; a To of 0 is the end of all time.
type Span struct{ From, To time.Duration }

func (s Span) holds(at time.Duration) bool { return at >= s.From && (s.To == 0 || at < s.To) }

// Freeze is a change freeze of the operator's. Its From and To are whole minutes.
type Freeze struct {
	Span
	HoldRollbacks bool
}

// FaultKind is what a system does wrong.
type FaultKind string

// The faults. All but Killed are the backend's.
const (
	FaultError   FaultKind = "error"   // it can't be reached
	FaultSlow    FaultKind = "slow"    // no answer in time
	FaultEmpty   FaultKind = "empty"   // nothing matches anything
	FaultPartial FaultKind = "partial" // an answer with warnings
	FaultBusy    FaultKind = "429"     // too many requests
	Killed       FaultKind = "killed"  // Gatekeeper itself: kill -9, and a new process at the end
)

// Fault is a time in which a system does something wrong.
type Fault struct {
	Span
	Kind FaultKind
}

// Release is one release of a script.
type Release struct {
	Request  engine.OpenRequest // its ID is assigned
	Opened   time.Duration
	Deployed *time.Duration // when the version replaces what is live; nil: never
	Silent   bool           // nobody reports it as deployed: Gatekeeper sees its traffic, or not
	Closed   *time.Duration // when a person closes it
	Rungs    []Rung         // what the plan's rungs do, in its order; those left out work at once
	Deeds    []Deed
}

// Effect is what Prepare or Apply of a scripted rung does.
type Effect string

// The effects.
const (
	Works      Effect = "works"
	Refuses    Effect = "refuses"     // fails, and certainly changed nothing
	Fails      Effect = "fails"       // fails, nobody knows how far it came; it changed nothing
	Hangs      Effect = "hangs"       // no answer until the deadline; it changed nothing
	LosesReply Effect = "loses_reply" // it works, and no answer comes until the deadline
)

// Rung is the script of one rung of a plan.
type Rung struct {
	Action    string         // which the plan's rung must have; "": any
	Set       bool           // it sets what the file names; else it restores what was found at open
	Prepare   Effect         // "": Works
	Apply     Effect         // "": Works
	Until     time.Duration  // when Prepare and Apply begin to work; 0: never
	Takes     time.Duration  // from an accepted Apply until the target is reached
	Untouched bool           // the deployment does not reach what the rung acts on
	Changed   *time.Duration // when somebody changes it by hand
}

// Verb is what a person does to a release.
type Verb string

// The verbs.
const (
	Approve       Verb = "approve"
	Veto          Verb = "veto"
	Hold          Verb = "hold"
	Resume        Verb = "resume"
	Extend        Verb = "extend"
	Mark          Verb = "mark"
	Rollback      Verb = "rollback"
	Close         Verb = "close"
	KillSwitchOn  Verb = "kill_switch_on"
	KillSwitchOff Verb = "kill_switch_off"
)

// Verbs lists them.
var Verbs = []Verb{Approve, Veto, Hold, Resume, Extend, Mark, Rollback, Close, KillSwitchOn, KillSwitchOff}

// Deed is one thing that a person does.
type Deed struct {
	At       time.Duration
	Do       Verb
	Who, Why string
	For      time.Duration // of Extend
}

// Story is what became of a script.
type Story struct {
	Start    time.Time
	End      time.Time
	Releases []Told // in the script's order
}

// Told is what became of one release.
type Told struct {
	ID      string
	Facts   []gatekeeper.Fact // none when it was not opened
	Refused error             // why it was not opened
	Deploy  error             // why the report of the deployment was refused
	Closing error             // why closing it was refused
	Deeds   []error           // why each deed was refused, in their order
}
