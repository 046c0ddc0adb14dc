package gatekeeper

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"time"
)

// Verdict is what a rule says at an instant.
type Verdict string

// The verdicts. Only Unhealthy adds to a rule's `for`; only NoData and Error are blindness.
const (
	Unhealthy Verdict = "unhealthy"  // the expression returned at least one sample (NaN included)
	Healthy   Verdict = "healthy"    // it returned nothing, and its selectors have data
	NoTraffic Verdict = "no_traffic" // the operand is NaN from 0/0, or min_traffic does not hold
	NoData    Verdict = "no_data"    // every selector is empty
	Lopsided  Verdict = "lopsided"   // a success ratio lost its numerator: nothing succeeds, or nothing is measured
	NoAnswer  Verdict = "error"      // no answer in time, an error, or a partial answer
)

// Blind says whether the verdict tells nothing about the release because the metrics told nothing.
func (v Verdict) Blind() bool { return v == NoData || v == Lopsided || v == NoAnswer }

// Answered says whether the metric backend answered with data that bears on the release's health.
func (v Verdict) Answered() bool { return v == Unhealthy || v == Healthy }

// Caps on evidence, so that a fact stays far below the store's request limit whatever a query returns.
const (
	MaxEvidenceSamples = 10  // samples kept of one reading
	MaxEvidenceText    = 300 // bytes kept of one label value or message
	MaxActive          = 64  // identities a Track remembers; the earliest are kept
)

// Sample is one value of a vector, with its labels.
type Sample struct {
	Labels map[string]string `json:"labels,omitempty"`
	Value  Float             `json:"value"`

	// Histogram is a native histogram in Prometheus's notation; Value is 0 then.
	Histogram string `json:"histogram,omitempty"`
}

// Reading is a rule's verdict at an instant with the evidence it rests on. Samples are capped by
// [MaxEvidenceSamples]; Count is how many there were.
type Reading struct {
	At      time.Time `json:"at"`      // the slot, not when the answer came
	Verdict Verdict   `json:"verdict"` // never empty
	Samples []Sample  `json:"samples,omitempty"`
	Count   int       `json:"count,omitempty"`   // active samples in all
	Operand []Sample  `json:"operand,omitempty"` // the value that was compared, while healthy too
	Limit   string    `json:"limit,omitempty"`   // what it was compared with, such as "> 0.01"; empty where the expression is no comparison
	Summary string    `json:"summary,omitempty"` // the rule's summary annotation, expanded
	Detail  string    `json:"detail,omitempty"`  // why there is no answer, or what is odd about it
	Took    Duration  `json:"took,omitempty"`    // from asking to the answer

	// Active is the identity of every active sample, for `for`; it is not journaled.
	Active []string `json:"-"`

	// Unsure says that a template of a label failed through no fault of the sample, such as for a query
	// without an answer, so that the identity of some of Active is not as it is at other slots.
	Unsure bool `json:"-"`
}

// Within gives the reading with as many of its samples as fit into about limit bytes of JSON: the
// worst are kept, and texts are cut when none is left. A fact above [MaxFact] could never be written,
// and nothing could be decided on it.
func (r Reading) Within(limit int) Reading {
	for {
		if data, err := json.Marshal(r); err == nil && len(data) <= limit {
			return r
		}
		if len(r.Samples)+len(r.Operand) == 0 {
			break
		}
		r.Samples, r.Operand = r.Samples[:len(r.Samples)/2], r.Operand[:len(r.Operand)/2]
	}
	r.Summary, r.Detail, r.Limit = Clip(r.Summary, limit/4), Clip(r.Detail, limit/4), Clip(r.Limit, limit/4)
	return r
}

// Active is one sample identity that is pending or has reached its `for`.
type Active struct {
	Identity   string    `json:"identity"`   // labels as text
	ActiveAt   time.Time `json:"active_at"`  // the slot that saw it first
	Unanswered Duration  `json:"unanswered"` // time since ActiveAt that nobody could answer for
}

// Track is what is remembered of a rule between slots. It is a value: [Track.Next] gives the
// track after one more reading and changes nothing.
type Track struct {
	Rule         string    `json:"rule"`
	For          Duration  `json:"for,omitempty"`     // the rule's, for who has the track without the rule
	Verdict      Verdict   `json:"verdict,omitempty"` // of the latest reading
	Active       []Active  `json:"active,omitempty"`  // earliest first
	LastSlot     time.Time `json:"last_slot,omitzero"`
	LastAnswered time.Time `json:"last_answered,omitzero"` // last slot with an answer, data or none
	BlindSince   time.Time `json:"blind_since,omitzero"`   // first slot of the present blindness
	HealthySince time.Time `json:"healthy_since,omitzero"` // first slot of the present run of Healthy
	CountsFrom   time.Time `json:"counts_from,omitzero"`   // when readings begin to count, where that is after Deployed
	Slots        int       `json:"slots"`                  // judged and counted since Deployed
	Data         int       `json:"data"`                   // of those, Healthy or Unhealthy
	EverHealthy  bool      `json:"ever_healthy,omitempty"` // since Deployed, or when it was opened
}

// Pending says since when the rule is active: the earliest sample identity. Zero when it is not.
func (t Track) Pending() time.Time {
	if len(t.Active) == 0 {
		return time.Time{}
	}
	return t.Active[0].ActiveAt
}

// Due says when the rule's `for` is full if nothing but bad answers comes from now on: the
// instant of the one extra evaluation. Zero when nothing is active.
func (t Track) Due() time.Time {
	var due time.Time
	for _, a := range t.Active {
		if d := a.ActiveAt.Add(time.Duration(t.For + a.Unanswered)); due.IsZero() || d.Before(due) {
			due = d
		}
	}
	return due
}

// Full says whether some identity has been active for the rule's `for` of answered time at slot now.
func (t Track) Full(now time.Time) bool {
	due := t.Due()
	return !due.IsZero() && !now.Before(due)
}

// Coverage is the share of counted slots that had data, in [0, 1]; 0 without slots.
func (t Track) Coverage() float64 {
	if t.Slots == 0 {
		return 0
	}
	return float64(t.Data) / float64(t.Slots)
}

// Next gives the track after the reading of one regular slot; interval is the time to the slot
// after it. Slots come in order. The states of an alert are Prometheus's (rules/alerting.go) but
// in one thing: time that nobody answered for is not bad time.
//
// A blind or no_traffic reading freezes what is active and adds interval to its unanswered time.
func (t Track) Next(r Reading, interval time.Duration) Track {
	n := t
	n.Verdict, n.LastSlot = r.Verdict, r.At
	n.Slots++
	if r.Verdict.Answered() {
		n.Data++
	}
	if r.Verdict.Blind() {
		if n.BlindSince.IsZero() {
			n.BlindSince = r.At
		}
	} else {
		n.BlindSince = time.Time{}
		n.LastAnswered = r.At
	}
	switch r.Verdict {
	case Unhealthy:
		n.HealthySince = time.Time{}
		n.Active = t.keep(r, true)
	case Healthy:
		n.EverHealthy = true
		if n.HealthySince.IsZero() {
			n.HealthySince = r.At
		}
		n.Active = nil
	case NoTraffic, NoData, Lopsided, NoAnswer:
		n.HealthySince = time.Time{}
		n.Active = make([]Active, len(t.Active))
		for i, a := range t.Active {
			a.Unanswered += Duration(interval)
			n.Active[i] = a
		}
	}
	return n
}

// Early gives the track after the reading of a slot before the rule counts: it is told, and a rule
// that was healthy there has been healthy.
func (t Track) Early(r Reading) Track {
	t.Verdict = r.Verdict
	t.EverHealthy = t.EverHealthy || r.Verdict == Healthy
	return t
}

// Confirm gives the track as an extra evaluation between slots leaves it, which can only confirm what
// is active: it adds no identity and counts no slot. What it does not find again is not confirmed,
// and an answer that is not unhealthy alone resets nothing: t stands, and the next slot decides.
func (t Track) Confirm(r Reading) Track {
	if r.Verdict != Unhealthy {
		return t
	}
	n := t
	n.Active = t.keep(r, false)
	return n
}

// keep gives the active identities of r with the instants at which they became so. Where r is unsure of
// them, what is known goes on: no failure of a template may begin a `for` anew.
func (t Track) keep(r Reading, add bool) []Active {
	known := make(map[string]Active, len(t.Active))
	for _, a := range t.Active {
		known[a.Identity] = a
	}
	var old, fresh []Active
	for _, id := range r.Active {
		if a, ok := known[id]; ok {
			old = append(old, a)
		} else if add {
			fresh = append(fresh, Active{Identity: id, ActiveAt: r.At})
		}
	}
	if r.Unsure {
		maps.DeleteFunc(known, func(id string, _ Active) bool { return slices.Contains(r.Active, id) })
		old = slices.AppendSeq(old, maps.Values(known))
	}
	sortActive(old)
	all := append(old, fresh...)
	return all[:min(len(all), MaxActive)]
}

func sortActive(active []Active) {
	slices.SortFunc(active, func(a, b Active) int {
		return cmp.Or(a.ActiveAt.Compare(b.ActiveAt), cmp.Compare(a.Identity, b.Identity))
	})
}
