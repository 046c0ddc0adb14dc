package gatekeeper

import (
	"encoding/json"
	"time"
)

// TargetKind is how a target came to be.
type TargetKind string

// A target restores what was found at open, or sets what the health file names.
const (
	Restore TargetKind = "restore"
	Set     TargetKind = "set"
)

// Target is what a rung returns to, pinned when the release opens and never changed after.
type Target struct {
	Kind    TargetKind      `json:"kind"`
	Version int             `json:"version"` // of Data's encoding, from 1
	Data    json.RawMessage `json:"data"`    // the action's own; no secrets
	Says    string          `json:"says"`    // one sentence for people: "servers blue=100 green=0 of backend shop"
}

// Position says where a live system is with respect to a target.
type Position string

// The positions an action's Observe can report.
const (
	AtTarget   Position = "at_target"
	InProgress Position = "in_progress"
	Elsewhere  Position = "elsewhere"
	Unknown    Position = "unknown" // it could not be asked
)

// Live is what Observe found. Two observations with the same non-empty Print found the same state.
type Live struct {
	Position Position `json:"position"`
	Print    string   `json:"print,omitempty"` // canonical form of what is there; empty when unknown
	Says     string   `json:"says"`            // one sentence for people; for Unknown, why
}

// RetrySafety is what an action promises about being applied twice.
type RetrySafety string

// The retry safeties of actions.
const (
	ByTarget RetrySafety = "by_target" // Observe tells whether it took effect
	ByKey    RetrySafety = "by_key"    // the receiver drops a repeated key
	NoRetry  RetrySafety = "none"      // never repeated after an unknown outcome
)

// Key is the idempotency key of one decision's effect at one rung: every attempt carries the same.
type Key string

// Receipt is what a target answered to Apply; for people and audit.
type Receipt struct {
	Says string            `json:"says"`
	Data map[string]string `json:"data,omitempty"` // no secrets
}

// Rung is one step of a release's rollback ladder with what became of it.
type Rung struct {
	Action         string          `json:"action"`
	Connection     string          `json:"connection,omitempty"`
	Settings       json.RawMessage `json:"settings,omitempty"`  // the rung's `with`
	ReturnTo       string          `json:"return_to,omitempty"` // "previous", where the system keeps history
	Safety         RetrySafety     `json:"safety,omitempty"`
	RecoverWithin  Duration        `json:"recover_within"`
	ChangedByOther string          `json:"changed_by_other,omitempty"` // "rollback" overrules the target check; else hold
	Target         *Target         `json:"target,omitempty"`           // nil while Prepare has not succeeded
	Problem        string          `json:"problem,omitempty"`          // why it is unusable
	Released       *Live           `json:"released,omitempty"`         // what Observe found at Deployed
	Attempts       []Attempt       `json:"attempts,omitempty"`
	GaveUp         string          `json:"gave_up,omitempty"`   // why the ladder went past it
	ReachedAt      time.Time       `json:"reached_at,omitzero"` // when the target was observed
}

// Usable says whether the rung has a pinned target.
func (r Rung) Usable() bool { return r.Target != nil }

// Attempt is one try at a rung. It begins before the effect and may never learn its end.
type Attempt struct {
	Key     Key       `json:"key"`
	At      time.Time `json:"at"`
	EndedAt time.Time `json:"ended_at,omitzero"`
	Result  Result    `json:"result,omitempty"` // empty until it ended
	Receipt *Receipt  `json:"receipt,omitempty"`
	Error   string    `json:"error,omitempty"`
}

// Result is how an attempt ended.
type Result string

// The results of an attempt.
const (
	ResultDone    Result = "done"    // the target accepted it
	ResultFailed  Result = "failed"  // it certainly had no effect
	ResultUnknown Result = "unknown" // it may have had its effect
)
