package rules

import (
	"encoding/json"
	"time"
)

// The defaults of a health file.
const (
	DefaultWindow        = 30 * time.Minute
	DefaultStartWithin   = 10 * time.Minute
	DefaultHoldFor       = 30 * time.Minute
	DefaultCoverage      = 0.8
	DefaultInterval      = 15 * time.Second // of a group; Prometheus has 1m, too slow for a release
	DefaultBlind         = 2 * time.Minute
	DefaultRecoverWithin = 2 * time.Minute
)

// What to do: of a route's do, no_data and on_error, of a file's on_inconclusive and of a rung's
// changed_by_other.
const (
	Rollback = "rollback"
	Hold     = "hold"
	Notify   = "notify"
	Ignore   = "ignore"
	Close    = "close"
)

// The values of a rule's missing_success.
const (
	MissingUnhealthy = "unhealthy"
	MissingNoData    = "no_data"
)

// Require is the preflight that refuses a release with an unusable rung.
const Require = "require"

// Previous is the return_to of a rung that goes back to what the system's own history holds.
const Previous = "previous"

// File is a health file that loaded without a problem, with its defaults filled in. It does not
// change after [Load] and may be used concurrently.
type File struct {
	Service        string // may be empty: the release names it
	Environment    string // may be empty
	Backend        string // may be empty: the operator's default
	Window         time.Duration
	StartWithin    time.Duration // from open until the new version is seen
	HoldFor        time.Duration // how long a hold waits for a person
	Coverage       float64       // share of the window, in (0, 1], that needs answers with data
	MinTraffic     string        // PromQL; while it does not hold there is no traffic to judge; may be empty
	OnInconclusive string        // Close, Hold or Rollback
	Preflight      string        // Require or ""
	DryRun         bool
	Rules          []Rule      // in the order of the files: the inline groups first
	Recordings     []Recording // in the same order: each may use what those before it record
	SLOs           []SLO
	Rollback       []RungSpec // the ladder; empty: the release or the operator names a plan

	routes []route // of respond, in order
	routed bool    // there is a respond section, perhaps an empty one
}

// Rule is one alerting rule.
type Rule struct {
	Name  string        // unique in the file: the alert's name, with its static labels where several share it
	Alert string        // the alert's name
	Group string        // of its group; unique in its file
	SLO   string        // the name of the SLO that it was made of; "": it was written
	Expr  string        // PromQL; of a [BoundRule] with the release's values in it
	For   time.Duration // how long it has to be unhealthy

	// KeepFiringFor is how long a breach that waits for somebody, in a hold or a veto countdown,
	// stands after the rule was unhealthy last. It never makes a decision by itself.
	KeepFiringFor time.Duration

	Interval    time.Duration // of its group
	QueryOffset time.Duration // it is asked for the instant that long before the slot
	Limit       int           // of its group: more alerts than that are told; 0 and less: no limit
	WarmUp      time.Duration // after Deployed, in which it is judged but does not count
	Range       time.Duration // how far back it looks at most: the longest range and offset, with subqueries

	// VersionBound says that only data of ${version} can make the rule unhealthy, so that it can't
	// take the old version's harm for the new one's, and can tell at once after a rollback. Every
	// selector holds ${version}, but for two kinds that can't bring harm in from elsewhere: those
	// of a guard, and those of a comparison that hold ${previous_version}.
	VersionBound bool

	Labels         map[string]string // its own over its group's; may hold templates
	Annotations    map[string]string // may hold templates
	MissingSuccess string            // MissingUnhealthy: a success ratio that lost its numerator is unhealthy; "": no data
	DryRun         bool
	Response       Response // what a breach does
	File           string   // the file it stands in
	Line           int      // of its first key, from 1
	Place          int      // in its group, from 0, recording rules included
}

// Calm is how long the rule must be healthy until a breach of it that waits for somebody is over.
func (r Rule) Calm() time.Duration { return max(r.For, r.KeepFiringFor) }

// Response is what a breach of a rule leads to.
type Response struct {
	Do       string        // Rollback, Hold or Notify
	Veto     time.Duration // people may cancel so long; 0: at once
	NoData   string        // Hold, Rollback or Ignore, once there was no data for Blind
	OnError  string        // the same, for no answer
	Blind    time.Duration
	External bool // alerts of Alertmanager and Prometheus may use it too
}

// RungSpec is one rung of a rollback plan as a file names it.
type RungSpec struct {
	Action         string          `json:"action"`
	Connection     string          `json:"connection,omitempty"`
	With           json.RawMessage `json:"with,omitempty"` // the action's settings, a JSON object
	RecoverWithin  time.Duration   `json:"recover_within"`
	ChangedByOther string          `json:"changed_by_other,omitempty"` // Rollback: go on although someone changed the target; "": hold
	ReturnTo       string          `json:"return_to,omitempty"`        // Previous or ""
}
