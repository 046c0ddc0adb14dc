package engine

import (
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// OpenRequest asks for a release to be opened. Zero values mean the health file's or the
// operator's defaults.
type OpenRequest struct {
	ID              string // the client's; the same again attaches to what it opened
	Service         string // may be empty when the health file names it
	Environment     string // default "default"
	Version         string
	PreviousVersion string // default: the version of the newest passed release of the service and environment
	Labels          map[string]string
	Bundle          *rules.Bundle // the health file with its rule files; or
	HealthFile      string        // the name of one in the operator's directory
	Plan            string        // a rollback plan of the operator's, for a health file that has none
	Window          time.Duration // overrides the health file's
	WatchOnly       bool          // judge and tell, never roll back
	DryRun          bool          // record what would have been done
	AfterDeploy     bool          // the new version is there already: return_to: previous is allowed
	Deployed        bool          // start the window at once
	Heartbeat       time.Duration `json:",omitempty"` // the pipeline promises a sign of life at least so often; 0: none. Left out of older hashes
	Actor           string

	// TraceParent is the span that the client opened it in, as W3C's header traceparent has it
	// (https://www.w3.org/TR/trace-context/); what is none is passed over, as it says.
	TraceParent string `json:"-"`

	Token    string           // the name under which the client is known; "": none was needed
	Services gatekeeper.Globs // the client may open releases of these only; empty: of every service
}

// By says who asks for a change, by what means they are known, and why.
type By = gatekeeper.By

// KillSwitch is the state of the switch that holds every rollback.
type KillSwitch struct {
	On    bool      `json:"on"`
	Actor string    `json:"actor,omitempty"`
	Why   string    `json:"why,omitempty"`
	Since time.Time `json:"since,omitzero"`

	Unrecorded string `json:"unrecorded,omitempty" doc:"In the answer to turning it on: why that is not in the audit records yet."`
}

// Received says what became of a batch of external alerts.
type Received struct {
	Matched int `json:"matched"` // written to the journal of a release
	Dropped int `json:"dropped"` // no open release and route wants them
}
