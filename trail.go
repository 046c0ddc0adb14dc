package gatekeeper

import (
	"slices"
	"time"
)

// MaxTrail is how many slots a rule is judged before they are journaled, though nothing changed.
const MaxTrail = 40

// Point is what a rule said at one slot, small enough to keep every slot of a release: charts are
// drawn from it, and a decision can be replayed.
type Point struct {
	At      time.Time `json:"at"`
	Verdict Verdict   `json:"verdict"`
	Value   *Float    `json:"value,omitempty"`  // the worst value of the operand, or of the active samples where there is none
	Active  []string  `json:"active,omitempty"` // identities of the active samples that the track remembers; left out where they are those of the point before
	Extra   bool      `json:"extra,omitempty"`  // the one evaluation where `for` runs out between slots: it only confirms
	Early   bool      `json:"early,omitempty"`  // before the rule counts: told, and nothing else
	Heard   time.Time `json:"heard,omitzero"`   // the instant that was asked for when this slot was answered, where that was a later one: after a gap
}

// Known gives the instant at which the point was known.
func (p Point) Known() time.Time {
	if p.Heard.IsZero() {
		return p.At
	}
	return p.Heard
}

// PointOf gives the point of a slot; after is the track that the reading led to, whose identities
// are those that matter.
func PointOf(r Reading, after Track) Point {
	p := Point{At: r.At, Verdict: r.Verdict, Value: worst(r)}
	if r.Verdict == Unhealthy {
		for _, a := range after.Active {
			p.Active = append(p.Active, a.Identity)
		}
	}
	return p
}

// EarlyPoint gives the point of a slot before the rule counts.
func EarlyPoint(r Reading) Point {
	return Point{At: r.At, Verdict: r.Verdict, Value: worst(r), Early: true}
}

// ExtraPoint gives the point of an evaluation between slots; confirmed is the track that it
// confirms, see [Track.Confirm].
func ExtraPoint(r Reading, confirmed Track) Point {
	p := PointOf(r, confirmed)
	p.Extra = true
	return p
}

func worst(r Reading) *Float {
	for _, from := range [][]Sample{r.Operand, r.Samples} {
		if len(from) > 0 {
			value := from[0].Value
			return &value
		}
	}
	return nil
}

// Size is how many bytes of JSON the point takes at most.
func (p Point) Size() int {
	size := 200
	for _, id := range p.Active {
		size += jsonSize(id) + len(`"",`)
	}
	return size
}

// Trail gives every slot of a rule that facts tell of, in order; recovery asks for those while the
// return was verified, which the rule judged on the version returned to. A slot that was asked
// again after a gap stands once, as it was answered last.
func Trail(facts []Fact, rule string, recovery bool) []Point {
	verifying := false
	byTime := map[time.Time]Point{}
	for _, f := range facts {
		switch b := f.Body.(type) {
		case Reached:
			verifying = true
		case NotRecovered:
			verifying = false
		case Judged:
			if b.Track.Rule != rule || verifying != recovery {
				continue
			}
			for _, p := range Unfolded(b.Trail) {
				byTime[p.At] = p
			}
		}
	}
	trail := make([]Point, 0, len(byTime))
	for _, p := range byTime {
		trail = append(trail, p)
	}
	slices.SortFunc(trail, func(a, b Point) int { return a.At.Compare(b.At) })
	return trail
}

// Unfolded gives the points of a fact with the identities that [Folded] left out.
func Unfolded(points []Point) []Point {
	points = slices.Clone(points)
	var last []string
	for i, p := range points {
		if p.Verdict != Unhealthy {
			continue
		}
		if p.Active == nil {
			points[i].Active = last
		}
		last = points[i].Active
	}
	return points
}

// Folded gives the points as a fact holds them: identities that repeat are left out.
func Folded(points []Point) []Point {
	points = slices.Clone(points)
	var last []string
	for i, p := range points {
		if p.Verdict != Unhealthy {
			continue
		}
		if slices.Equal(p.Active, last) {
			points[i].Active = nil
		}
		last = p.Active
	}
	return points
}

// Along gives the track after the slots of a trail: what [Track.Next] gives for each of them,
// interval apart. Points that only confirm, and those that did not count, are passed over.
func (t Track) Along(trail []Point, interval time.Duration) Track {
	for _, p := range trail {
		switch {
		case p.Extra:
		case p.Early:
			t = t.Early(Reading{Verdict: p.Verdict})
		default:
			t = t.Next(Reading{At: p.At, Verdict: p.Verdict, Active: p.Active}, interval)
		}
	}
	return t
}
