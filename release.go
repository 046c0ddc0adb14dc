package gatekeeper

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// State is where a release is on its way.
type State string

// The states of a release. A release that does not exist yet is in the state "".
const (
	Preparing State = "preparing"
	Waiting   State = "waiting"
	Watching  State = "watching"
	Holding   State = "held"
	Applying  State = "applying"
	Verifying State = "verifying"
	Ended     State = "closed"
)

// Outcome is how a release ended.
type Outcome string

// The outcomes of a closed release.
const (
	OutcomePassed         Outcome = "passed"
	OutcomeRolledBack     Outcome = "rolled_back"
	OutcomeRollbackFailed Outcome = "rollback_failed"
	OutcomeBreached       Outcome = "breached"
	OutcomeInconclusive   Outcome = "inconclusive"
	OutcomeAborted        Outcome = "aborted"
	OutcomeSuperseded     Outcome = "superseded"
)

// Outcomes gives every outcome.
func Outcomes() []Outcome {
	return []Outcome{OutcomePassed, OutcomeRolledBack, OutcomeRollbackFailed, OutcomeBreached, OutcomeInconclusive, OutcomeAborted, OutcomeSuperseded}
}

// Purpose says what a release is for.
type Purpose string

// A release brings a version, or a person takes a passed one back.
const (
	PurposeDeploy   Purpose = "deploy"
	PurposeRollback Purpose = "rollback"
)

// Release is the sum of its facts. It is a value: With gives a new one and leaves the old alone.
type Release struct {
	ID     string `json:"id"`
	Opened        // what was pinned at open, but for Rungs, which carry their progress

	State   State   `json:"state"`
	Seq     int64   `json:"seq"` // of the last fact
	Outcome Outcome `json:"outcome,omitempty"`
	Why     string  `json:"why,omitempty"` // why it ended so

	OpenedBy   string    `json:"opened_by,omitempty"`
	OpenedAt   time.Time `json:"opened_at"`
	DeployedAt time.Time `json:"deployed_at,omitzero"`
	WindowEnd  time.Time `json:"window_end,omitzero"` // Deployed + window, or later when extended
	Overtime   Duration  `json:"overtime,omitempty"`  // how much of that was for pending rules
	DecidedAt  time.Time `json:"decided_at,omitzero"`
	ClosedAt   time.Time `json:"closed_at,omitzero"`

	SilentSince time.Time `json:"silent_since,omitzero"` // the latest sign of life of a pipeline that is missing

	Tracks      map[string]Track   `json:"tracks,omitempty"`       // of the rules, by name
	Recovery    map[string]Track   `json:"recovery,omitempty"`     // of the rules bound to what it returned to, since ReachedAt
	Latest      map[string]Reading `json:"latest,omitempty"`       // the last reading that a fact tells of
	Preexisting map[string]bool    `json:"preexisting,omitempty"`  // rules that breached before the release could be the cause
	Muted       map[string]string  `json:"muted,omitempty"`        // rules a person vetoed, and why
	Alerts      map[string]Alert   `json:"alerts,omitempty"`       // external alerts by key
	Breaches    map[string]Breach  `json:"breaches,omitempty"`     // that stood or stand and rolled nothing back
	Due         bool               `json:"due,omitempty"`          // a breach called for a rollback and nothing was rolled back
	Hold        *Held              `json:"hold,omitempty"`         // while held
	HeldAt      time.Time          `json:"held_at,omitzero"`       // while held
	Decision    *Decided           `json:"decision,omitempty"`     // once, never changed
	Rung        int                `json:"rung"`                   // the ladder's present rung, while applying or verifying
	Mark        string             `json:"irreversible,omitempty"` // why returning would do harm
}

// table says for every state which facts it takes and which state each leads to.
var table = map[State]map[Kind]State{
	"": {KindOpened: Preparing},
	Preparing: {
		KindPrepared: Waiting,
		KindJudged:   Preparing, KindAlerted: Preparing, KindNoted: Preparing,
		KindClosed: Ended,
	},
	Waiting: {
		KindDeployed: Watching,
		KindDecided:  Applying, // a person's rollback
		KindPinned:   Waiting, KindJudged: Waiting, KindAlerted: Waiting, KindMarked: Waiting, KindNoted: Waiting,
		KindClosed: Ended,
	},
	Watching: {
		KindHeld:     Holding,
		KindDecided:  Applying,
		KindReleased: Watching, KindJudged: Watching, KindAlerted: Watching, KindBreached: Watching, KindExtended: Watching, KindMarked: Watching, KindNoted: Watching,
		KindClosed: Ended,
	},
	Holding: {
		KindDecided: Applying,
		KindResumed: Watching, KindVetoed: Watching,
		KindHeld:     Holding, // for another reason
		KindReleased: Holding, KindJudged: Holding, KindAlerted: Holding, KindBreached: Holding, KindExtended: Holding, KindMarked: Holding, KindNoted: Holding,
		KindClosed: Ended,
	},
	Applying: {
		KindReached:    Verifying,
		KindAttempting: Applying, KindAttempted: Applying, KindObserved: Applying, KindGaveUp: Applying,
		KindAlerted: Applying, KindNoted: Applying,
		KindClosed: Ended,
	},
	Verifying: {
		KindNotRecovered: Applying,
		KindRecovered:    Verifying,
		KindJudged:       Verifying, KindAlerted: Verifying, KindNoted: Verifying,
		KindClosed: Ended,
	},
	Ended: {},
}

// With gives the release after f: the only way a release changes. It is pure and total: a fact
// that the state does not take is an error that names both, and the release stays as it was.
func (r Release) With(f Fact) (Release, error) {
	if f.Body == nil {
		return r, fmt.Errorf("release %s: fact %d says nothing", r.ID, f.Seq)
	}
	to, ok := table[r.State][f.Body.Kind()]
	if !ok {
		return r, Errorf(CodeConflict, "", "release %s is %s: it can't take %q", r.ID, r.State.orNew(), f.Body.Kind())
	}
	if f.Seq != r.Seq+1 {
		return r, fmt.Errorf("release %s: fact %d can't follow fact %d", r.ID, f.Seq, r.Seq)
	}
	n := r.clone()
	if err := f.Body.apply(&n, f); err != nil {
		return r, fmt.Errorf("release %s: %s: %w", r.ID, f.Body.Kind(), err)
	}
	n.State, n.Seq = to, f.Seq
	if to != Holding {
		n.Hold, n.HeldAt = nil, time.Time{}
	}
	return n, nil
}

// Replay gives the release that facts make.
func Replay(id string, facts []Fact) (Release, error) {
	r := Release{ID: id}
	for _, f := range facts {
		var err error
		if r, err = r.With(f); err != nil {
			return r, err
		}
	}
	return r, nil
}

// Takes says whether the release's state allows a fact of that kind.
func (r Release) Takes(k Kind) bool {
	_, ok := table[r.State][k]
	return ok
}

// Closed says whether nothing will ever happen to the release again.
func (r Release) Closed() bool { return r.State == Ended }

func (s State) orNew() string {
	if s == "" {
		return "not open"
	}
	return string(s)
}

func (r Release) clone() Release {
	r.Tracks, r.Recovery, r.Latest = maps.Clone(r.Tracks), maps.Clone(r.Recovery), maps.Clone(r.Latest)
	r.Preexisting, r.Muted = maps.Clone(r.Preexisting), maps.Clone(r.Muted)
	r.Alerts, r.Breaches = maps.Clone(r.Alerts), maps.Clone(r.Breaches)
	r.Rungs = slices.Clone(r.Rungs)
	for i := range r.Rungs {
		r.Rungs[i].Attempts = slices.Clone(r.Rungs[i].Attempts)
	}
	return r
}

// rung gives the rung a fact speaks of; current says that it must be the ladder's present one.
func (r *Release) rung(i int, current bool) (*Rung, error) {
	if i < 0 || i >= len(r.Rungs) {
		return nil, fmt.Errorf("no rung %d in a ladder of %d", i+1, len(r.Rungs))
	}
	if current && i != r.Rung {
		return nil, fmt.Errorf("rung %d is not the present one, %d", i+1, r.Rung+1)
	}
	return &r.Rungs[i], nil
}

func set[K comparable, V any](m *map[K]V, k K, v V) {
	if *m == nil {
		*m = map[K]V{}
	}
	(*m)[k] = v
}

func (o Opened) apply(r *Release, f Fact) error {
	if o.Service == "" || o.Version == "" {
		return fmt.Errorf("needs a service and a version")
	}
	r.Opened = o
	r.OpenedAt, r.OpenedBy = f.At, f.Actor
	return nil
}

func (p Prepared) apply(r *Release, f Fact) error {
	for _, one := range p.Rungs {
		if err := one.apply(r, f); err != nil {
			return err
		}
	}
	return nil
}

func (p Pinned) apply(r *Release, _ Fact) error {
	rung, err := r.rung(p.Rung, false)
	if err != nil {
		return err
	}
	if rung.Target != nil {
		return fmt.Errorf("rung %d is pinned already: a target never changes", p.Rung+1)
	}
	if p.Target != nil {
		rung.Target, rung.Problem = p.Target, ""
		return nil
	}
	rung.Problem = p.Problem
	return nil
}

func (d Deployed) apply(r *Release, f Fact) error {
	r.DeployedAt = f.At
	r.WindowEnd = f.At.Add(time.Duration(r.Window))
	return Released{Live: d.Released}.apply(r, f)
}

func (l Released) apply(r *Release, _ Fact) error {
	if len(l.Live) != 0 && len(l.Live) != len(r.Rungs) {
		return fmt.Errorf("%d live states for a ladder of %d rungs", len(l.Live), len(r.Rungs))
	}
	for i, live := range l.Live {
		r.Rungs[i].Released = &live
	}
	return nil
}

func (j Judged) apply(r *Release, _ Fact) error {
	name := j.Track.Rule
	set(&r.Latest, name, j.Reading)
	if r.State == Verifying {
		set(&r.Recovery, name, j.Track)
		return nil
	}
	set(&r.Tracks, name, j.Track)
	if j.Preexisting {
		set(&r.Preexisting, name, true)
	} else {
		delete(r.Preexisting, name)
	}
	return nil
}

func (a Alerted) apply(r *Release, _ Fact) error {
	if a.Alert.Key == "" {
		return fmt.Errorf("an alert needs a key")
	}
	set(&r.Alerts, a.Alert.Key, a.Alert)
	return nil
}

func (b Breached) apply(r *Release, _ Fact) error {
	for _, one := range b.Breaches {
		set(&r.Breaches, one.Rule, one)
	}
	r.Due = r.Due || b.Would
	return nil
}

func (h Held) apply(r *Release, f Fact) error {
	for _, one := range h.Breaches {
		set(&r.Breaches, one.Rule, one)
	}
	r.Hold, r.HeldAt = &h, f.At
	return nil
}

func (Resumed) apply(*Release, Fact) error { return nil }

func (v Vetoed) apply(r *Release, f Fact) error {
	for _, rule := range v.Rules {
		set(&r.Muted, rule, fmt.Sprintf("vetoed by %s: %s", f.Actor, v.Why))
	}
	return nil
}

func (d Decided) apply(r *Release, f Fact) error {
	if r.Decision != nil {
		return fmt.Errorf("decided already at %s", r.DecidedAt)
	}
	r.Decision, r.DecidedAt, r.Rung = &d, f.At, 0
	return nil
}

func (a Attempting) apply(r *Release, f Fact) error {
	rung, err := r.rung(a.Rung, true)
	if err != nil {
		return err
	}
	if rung.Target == nil {
		return fmt.Errorf("rung %d has no pinned target", a.Rung+1)
	}
	rung.Attempts = append(rung.Attempts, Attempt{Key: a.Key, At: f.At})
	return nil
}

func (a Attempted) apply(r *Release, f Fact) error {
	rung, err := r.rung(a.Rung, true)
	if err != nil {
		return err
	}
	n := len(rung.Attempts)
	if n == 0 || rung.Attempts[n-1].Result != "" {
		return fmt.Errorf("rung %d has no attempt under way", a.Rung+1)
	}
	last := &rung.Attempts[n-1]
	last.EndedAt, last.Result, last.Receipt, last.Error = f.At, a.Result, a.Receipt, a.Error
	return nil
}

func (o Observed) apply(r *Release, _ Fact) error {
	_, err := r.rung(o.Rung, true)
	return err
}

func (g GaveUp) apply(r *Release, _ Fact) error {
	rung, err := r.rung(g.Rung, true)
	if err != nil {
		return err
	}
	rung.GaveUp = g.Why
	r.Rung++
	return nil
}

func (e Reached) apply(r *Release, f Fact) error {
	rung, err := r.rung(e.Rung, true)
	if err != nil {
		return err
	}
	rung.ReachedAt = f.At
	r.Recovery = nil
	return nil
}

func (n NotRecovered) apply(r *Release, f Fact) error {
	return GaveUp{Rung: n.Rung, Why: "reached, but the service did not recover"}.apply(r, f)
}

func (Recovered) apply(*Release, Fact) error { return nil }

func (e Extended) apply(r *Release, _ Fact) error {
	if e.Until.Before(r.WindowEnd) {
		return fmt.Errorf("a window can't be shortened from %s to %s", r.WindowEnd, e.Until)
	}
	if e.Rule != "" {
		r.Overtime += Duration(e.Until.Sub(r.WindowEnd))
	}
	r.WindowEnd = e.Until
	return nil
}

func (m Marked) apply(r *Release, _ Fact) error {
	r.Mark = m.Why
	return nil
}

func (n Noted) apply(r *Release, _ Fact) error {
	if n.Pipeline != nil {
		r.SilentSince = n.Pipeline.SilentSince
	}
	return nil
}

func (c Closed) apply(r *Release, f Fact) error {
	if c.Outcome == "" {
		return fmt.Errorf("needs an outcome")
	}
	r.Outcome, r.Why, r.ClosedAt = c.Outcome, c.Why, f.At
	return nil
}
