package gatekeeper

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Fact is one thing that happened to a release. Facts are only ever appended.
type Fact struct {
	Seq   int64     // position in the release's journal, from 1
	At    time.Time // when it happened; wall clock, UTC
	Actor string    // the person, pipeline or sender behind it; empty for Gatekeeper itself
	Body  Body      // what happened
}

// Body is what a fact says: one of the types in this file. The set is closed, see [Kinds].
type Body interface {
	// Kind is the body's name in JSON and in the state table.
	Kind() Kind
	// apply says what the fact does to the release, beyond the state that the table leads to.
	apply(r *Release, f Fact) error
}

// Kind names a type of fact.
type Kind string

// Opened begins a release. Everything in it is pinned: reloads do not touch it.
type Opened struct {
	Service         string            `json:"service"`
	Environment     string            `json:"environment"`
	Version         string            `json:"version"`
	PreviousVersion string            `json:"previous_version,omitempty"`
	Labels          map[string]string `json:"labels,omitempty"`
	Purpose         Purpose           `json:"purpose"`
	File            string            `json:"file"`            // hash of the pinned bundle, see [Journal.File]
	Rungs           []Rung            `json:"rungs,omitempty"` // without targets; none: watch only
	WatchOnly       bool              `json:"watch_only,omitempty"`
	DryRun          bool              `json:"dry_run,omitempty"`
	Window          Duration          `json:"window"`
	StartWithin     Duration          `json:"start_within"`
	HoldFor         Duration          `json:"hold_for"`               // how long a hold waits for a person
	Heartbeat       Duration          `json:"heartbeat,omitempty"`    // the pipeline promised a sign of life at least so often; 0: none
	AfterDeploy     bool              `json:"after_deploy,omitempty"` // opened when the new version was already there
	Supersedes      string            `json:"supersedes,omitempty"`   // the release it replaced
	RollbackOf      string            `json:"rollback_of,omitempty"`  // the closed release that it takes back
	TraceParent     string            `json:"trace_parent,omitempty"` // the span of the pipeline that opened it, as W3C's header traceparent has it
	Request         string            `json:"request,omitempty"`      // hash of the request, for idempotency
}

// Prepared ends preparing: what Prepare pinned for each rung, in the ladder's order.
type Prepared struct {
	Rungs []Pinned `json:"rungs"`
}

// Pinned is what Prepare said for one rung: a target, or why there is none. As a fact of its own
// it tells that a rung that was unusable has been prepared after all.
type Pinned struct {
	Rung    int     `json:"rung"`
	Target  *Target `json:"target,omitempty"`
	Problem string  `json:"problem,omitempty"`
}

// Deployed starts the window.
type Deployed struct {
	How      string `json:"how"`                // "pipeline" or "traffic"
	Released []Live `json:"released,omitempty"` // the live state at each rung
}

// Released notes the live state at each rung again: the pipeline took another step.
type Released struct {
	Live []Live `json:"live"`
}

// Judged tells that a rule's verdict changed, or that what is remembered of it must be kept.
type Judged struct {
	Track       Track   `json:"track"`
	Reading     Reading `json:"reading"`
	Preexisting bool    `json:"preexisting,omitempty"` // it was so before the release could be the cause
	Trail       []Point `json:"trail,omitempty"`       // the slots since the rule's last fact, see [Folded]
}

// Alerted is an update of an external alert that a route lets act on this release.
type Alerted struct {
	Alert Alert `json:"alert"`
}

// Alert is what a sender last said of an alert.
type Alert struct {
	Key         string            `json:"key"` // alertname and labels, without what differs between HA senders
	Name        string            `json:"name"`
	Labels      map[string]string `json:"labels,omitempty"`
	Summary     string            `json:"summary,omitempty"`
	Sender      string            `json:"sender"` // "alertmanager" or "prometheus"
	Firing      bool              `json:"firing"`
	StartsAt    time.Time         `json:"starts_at"`            // the latest that a sender gave
	EndsAt      time.Time         `json:"ends_at,omitzero"`     // firing: when it turns unknown unless it is sent again, zero for never; else: when it ended
	ResolvedAt  time.Time         `json:"resolved_at,omitzero"` // the latest end; only a later start fires again
	SeenAt      time.Time         `json:"seen_at"`
	Preexisting bool              `json:"preexisting,omitempty"` // firing at open; cleared once it was resolved
}

// Breach is a rule or an external alert whose harm stands, with the evidence.
type Breach struct {
	Rule     string    `json:"rule"`
	Since    time.Time `json:"since"`         // activeAt, or the alert's startsAt
	For      Duration  `json:"for,omitempty"` // the rule's own
	Reading  Reading   `json:"reading,omitzero"`
	External bool      `json:"external,omitempty"`
	Says     string    `json:"says,omitempty"` // one sentence: what was seen against what limit
}

// Breached tells of a breach that by itself rolls nothing back: the route only notifies, there is
// no plan, a dry run, or the rule is preexisting. Would is set where a rollback was due.
type Breached struct {
	Breaches []Breach `json:"breaches"`
	Would    bool     `json:"would,omitempty"` // a rollback would have been decided
	Why      string   `json:"why"`             // why nothing is rolled back
}

// HoldReason says why a release is held.
type HoldReason string

// The reasons of holds, in the order of the guards, then the others.
const (
	HoldKillSwitch   HoldReason = "kill_switch"
	HoldTarget       HoldReason = "target_check"
	HoldFreeze       HoldReason = "freeze"
	HoldIrreversible HoldReason = "irreversible"
	HoldCoolDown     HoldReason = "cool_down"
	HoldVeto         HoldReason = "veto" // the countdown; Decided when it ends
	HoldRoute        HoldReason = "route"
	HoldBlind        HoldReason = "blind"
	HoldInconclusive HoldReason = "inconclusive"
	HoldPerson       HoldReason = "person"
)

// Held stops the way to a decision until a person, the reason's end or the deadline moves it on.
type Held struct {
	Reason   HoldReason `json:"reason"`
	Breaches []Breach   `json:"breaches,omitempty"`
	Blind    []string   `json:"blind,omitempty"` // the rules that can't see
	Says     string     `json:"says"`            // what happened and what to do
	Until    time.Time  `json:"until"`           // the deadline; for a veto the instant of the decision
}

// Inconclusive says whether the hold is about neither harm nor blindness: the window was over and
// nothing could be told.
func (h Held) Inconclusive() bool {
	return h.Reason != HoldPerson && len(h.Breaches) == 0 && len(h.Blind) == 0
}

// About says whether the hold is for a breach of that rule.
func (h Held) About(rule string) bool {
	return slices.ContainsFunc(h.Breaches, func(b Breach) bool { return b.Rule == rule })
}

// Resumed ends a hold without a decision.
type Resumed struct {
	Why string `json:"why"`
}

// Vetoed ends a hold by a person's no; the rules are muted for this release.
type Vetoed struct {
	Rules []string `json:"rules"`
	Why   string   `json:"why,omitempty"`
}

// Cause says what led to a decision.
type Cause string

// The causes of a decision.
const (
	CauseBreach       Cause = "breach"
	CauseApproved     Cause = "approved"     // a held release, let through by a person
	CausePerson       Cause = "person"       // release rollback
	CauseBlind        Cause = "blind"        // the route's no_data or on_error policy
	CauseInconclusive Cause = "inconclusive" // the file's on_inconclusive
)

// Decided is the decision to roll back: once per release, never changed.
type Decided struct {
	Cause    Cause    `json:"cause"`
	Breaches []Breach `json:"breaches,omitempty"`
	Says     string   `json:"says"`
}

// Attempting is the intent, durable before the side effect.
type Attempting struct {
	Rung int `json:"rung"`
	Key  Key `json:"key"`
}

// Attempted is how the latest attempt at a rung ended.
type Attempted struct {
	Rung    int      `json:"rung"`
	Result  Result   `json:"result"`
	Receipt *Receipt `json:"receipt,omitempty"`
	Error   string   `json:"error,omitempty"`
}

// Observed tells what Observe found at a rung while its effect was awaited.
type Observed struct {
	Rung int  `json:"rung"`
	Live Live `json:"live"`
}

// GaveUp tells why the ladder goes past a rung without having reached its target.
type GaveUp struct {
	Rung int    `json:"rung"`
	Why  string `json:"why"`
}

// Reached tells that a rung's target was observed; verification begins.
type Reached struct {
	Rung    int  `json:"rung"`
	Live    Live `json:"live"`
	Already bool `json:"already,omitempty"` // it was there before any attempt
}

// NotRecovered tells that the service is not well on what it returned to.
type NotRecovered struct {
	Rung     int      `json:"rung"`
	Breaches []Breach `json:"breaches"`
}

// Recovered ends verifying.
type Recovered struct {
	Unknown bool   `json:"unknown,omitempty"` // nothing said that it is well, nothing that it is not
	Says    string `json:"says"`
}

// Extended moves the window's end.
type Extended struct {
	Until time.Time `json:"until"`
	Rule  string    `json:"rule,omitempty"` // the pending rule that it is for; empty when a person asked
	Why   string    `json:"why"`
}

// Marked tells that from here on returning would do harm, such as after a migration: every
// rollback asks a person first.
type Marked struct {
	Why string `json:"why"`
}

// Noted is anything else worth reading; it changes nothing but whether the pipeline is missing.
type Noted struct {
	Text string `json:"text"`
	Loud bool   `json:"loud,omitempty"` // people are told

	Pipeline *Pipeline `json:"pipeline,omitempty"` // what the note says of the pipeline's life
}

// Pipeline tells that the signs of life that a pipeline promised fail to come, or come again.
type Pipeline struct {
	SilentSince time.Time `json:"silent_since,omitzero"` // its latest sign; zero: it is back
}

// Closed ends a release for good.
type Closed struct {
	Outcome Outcome `json:"outcome"`
	Why     string  `json:"why"`
}

// The kinds of facts.
const (
	KindOpened       Kind = "opened"
	KindPrepared     Kind = "prepared"
	KindPinned       Kind = "pinned"
	KindDeployed     Kind = "deployed"
	KindReleased     Kind = "released"
	KindJudged       Kind = "judged"
	KindAlerted      Kind = "alerted"
	KindBreached     Kind = "breached"
	KindHeld         Kind = "held"
	KindResumed      Kind = "resumed"
	KindVetoed       Kind = "vetoed"
	KindDecided      Kind = "decided"
	KindAttempting   Kind = "attempting"
	KindAttempted    Kind = "attempted"
	KindObserved     Kind = "observed"
	KindGaveUp       Kind = "gave_up"
	KindReached      Kind = "reached"
	KindNotRecovered Kind = "not_recovered"
	KindRecovered    Kind = "recovered"
	KindExtended     Kind = "extended"
	KindMarked       Kind = "marked"
	KindNoted        Kind = "noted"
	KindClosed       Kind = "closed"
)

func (Opened) Kind() Kind       { return KindOpened }
func (Prepared) Kind() Kind     { return KindPrepared }
func (Pinned) Kind() Kind       { return KindPinned }
func (Deployed) Kind() Kind     { return KindDeployed }
func (Released) Kind() Kind     { return KindReleased }
func (Judged) Kind() Kind       { return KindJudged }
func (Alerted) Kind() Kind      { return KindAlerted }
func (Breached) Kind() Kind     { return KindBreached }
func (Held) Kind() Kind         { return KindHeld }
func (Resumed) Kind() Kind      { return KindResumed }
func (Vetoed) Kind() Kind       { return KindVetoed }
func (Decided) Kind() Kind      { return KindDecided }
func (Attempting) Kind() Kind   { return KindAttempting }
func (Attempted) Kind() Kind    { return KindAttempted }
func (Observed) Kind() Kind     { return KindObserved }
func (GaveUp) Kind() Kind       { return KindGaveUp }
func (Reached) Kind() Kind      { return KindReached }
func (NotRecovered) Kind() Kind { return KindNotRecovered }
func (Recovered) Kind() Kind    { return KindRecovered }
func (Extended) Kind() Kind     { return KindExtended }
func (Marked) Kind() Kind       { return KindMarked }
func (Noted) Kind() Kind        { return KindNoted }
func (Closed) Kind() Kind       { return KindClosed }

// bodies decodes each kind; it is also the list of them.
var bodies = map[Kind]func([]byte) (Body, error){
	KindOpened:       decode[Opened],
	KindPrepared:     decode[Prepared],
	KindPinned:       decode[Pinned],
	KindDeployed:     decode[Deployed],
	KindReleased:     decode[Released],
	KindJudged:       decode[Judged],
	KindAlerted:      decode[Alerted],
	KindBreached:     decode[Breached],
	KindHeld:         decode[Held],
	KindResumed:      decode[Resumed],
	KindVetoed:       decode[Vetoed],
	KindDecided:      decode[Decided],
	KindAttempting:   decode[Attempting],
	KindAttempted:    decode[Attempted],
	KindObserved:     decode[Observed],
	KindGaveUp:       decode[GaveUp],
	KindReached:      decode[Reached],
	KindNotRecovered: decode[NotRecovered],
	KindRecovered:    decode[Recovered],
	KindExtended:     decode[Extended],
	KindMarked:       decode[Marked],
	KindNoted:        decode[Noted],
	KindClosed:       decode[Closed],
}

func decode[B Body](data []byte) (Body, error) {
	var b B
	err := json.Unmarshal(data, &b)
	return b, err
}

// Kinds gives the name of every kind of fact, sorted.
func Kinds() []Kind { return slices.Sorted(maps.Keys(bodies)) }

type wireFact struct {
	Seq   int64           `json:"seq"`
	At    time.Time       `json:"at"`
	Actor string          `json:"actor,omitempty"`
	Kind  Kind            `json:"kind"`
	Body  json.RawMessage `json:"body"`
}

// MarshalJSON gives {"seq", "at", "actor", "kind", "body"}.
func (f Fact) MarshalJSON() ([]byte, error) {
	if f.Body == nil {
		return nil, fmt.Errorf("fact %d has no body", f.Seq)
	}
	body, err := json.Marshal(f.Body)
	if err != nil {
		return nil, err
	}
	return json.Marshal(wireFact{f.Seq, f.At, f.Actor, f.Body.Kind(), body})
}

// UnmarshalJSON takes what MarshalJSON gives; an unknown kind is an error, for skipping a fact
// would give a wrong release.
func (f *Fact) UnmarshalJSON(data []byte) error {
	var w wireFact
	if err := json.Unmarshal(data, &w); err != nil {
		return err
	}
	dec, ok := bodies[w.Kind]
	if !ok {
		return fmt.Errorf("fact %d: unknown kind %q: written by a newer Gatekeeper?", w.Seq, w.Kind)
	}
	body, err := dec(w.Body)
	if err != nil {
		return fmt.Errorf("fact %d (%s): %w", w.Seq, w.Kind, err)
	}
	*f = Fact{Seq: w.Seq, At: w.At, Actor: w.Actor, Body: body}
	return nil
}
