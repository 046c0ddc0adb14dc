package explain

import (
	"cmp"
	"math"
	"strings"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/chart"
	"github.com/gatekeeper-engine/gatekeeper/internal/timeline"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// Explanation is why a release was rolled back, or why not. Its JSON is documented in
// docs/guides/explain.md.
type Explanation struct {
	Release         string              `json:"release"`
	Service         string              `json:"service"`
	Environment     string              `json:"environment,omitempty"`
	Version         string              `json:"version"`
	PreviousVersion string              `json:"previous_version,omitempty"`
	State           gatekeeper.State    `json:"state"`
	Outcome         gatekeeper.Outcome  `json:"outcome,omitempty"`
	OpenedAt        time.Time           `json:"opened_at"`
	DeployedAt      time.Time           `json:"deployed_at,omitzero"`
	WindowEnd       time.Time           `json:"window_end,omitzero"`
	DecidedAt       time.Time           `json:"decided_at,omitzero"`
	ClosedAt        time.Time           `json:"closed_at,omitzero"`
	Decision        *gatekeeper.Decided `json:"decision,omitempty"`
	Answer          string              `json:"answer"`           // one sentence: why, or why not
	Rules           []Rule              `json:"rules"`            // worst first
	Guards          []Guard             `json:"guards"`           // what held the release, or was only told
	Done            []Step              `json:"done"`             // from the decision on
	Replay          *Replayed           `json:"replay,omitempty"` // left out where the pinned health file is not at hand

	facts   []gatekeeper.Fact
	release gatekeeper.Release
}

// Rule is what one rule said.
type Rule struct {
	Name     string              `json:"name"`
	Expr     string              `json:"expr,omitempty"`
	Recorded []Recorded          `json:"recorded,omitempty"` // by the file, what expr uses of it, in the file's order
	Limit    string              `json:"limit,omitempty"`    // such as "> 0.01": beyond it is bad
	For      gatekeeper.Duration `json:"for"`
	Interval gatekeeper.Duration `json:"interval"`
	Route    string              `json:"route,omitempty"` // rollback, hold or notify
	Slots    int                 `json:"slots"`           // that counted
	Data     int                 `json:"data"`            // of those, answered with data
	First    time.Time           `json:"first,omitzero"`  // that counted
	Last     time.Time           `json:"last,omitzero"`
	Worst    *gatekeeper.Point   `json:"worst,omitempty"`   // of those that counted: the value farthest towards the limit, or beyond it
	Streaks  []Streak            `json:"streaks,omitempty"` // each time it was bad
	Notes    []string            `json:"notes,omitempty"`   // why slots, or the rule, did not count

	coverage float64 // that the file asks for; 0: not known
	unit     chart.Unit
}

// Recorded is a recording rule of the health file.
type Recorded struct {
	Name string `json:"name"`
	Expr string `json:"expr"`
}

// Streak is a time in which the rule was bad without being healthy between.
type Streak struct {
	Since      time.Time           `json:"since"`
	Until      time.Time           `json:"until"`      // the last slot of it
	Counted    gatekeeper.Duration `json:"counted"`    // towards `for`, at the end
	Unanswered gatekeeper.Duration `json:"unanswered"` // time in which nobody answered, which does not count
	FullAt     time.Time           `json:"full_at,omitzero"`
	WellAt     time.Time           `json:"well_at,omitzero"` // the first healthy slot after it
	Slots      []Slot              `json:"slots"`
}

// Slot is one slot of a streak.
type Slot struct {
	At         time.Time           `json:"at"`
	Verdict    gatekeeper.Verdict  `json:"verdict"`
	Value      *gatekeeper.Float   `json:"value,omitempty"`
	Counted    gatekeeper.Duration `json:"counted"`
	Unanswered gatekeeper.Duration `json:"unanswered"`
	Extra      bool                `json:"extra,omitempty"` // the evaluation at the very end of `for`, between slots
	Known      time.Time           `json:"known,omitzero"`  // when it was answered, where that was later
}

// Guard is something that stopped a breach on its way, and how that ended.
type Guard struct {
	At    time.Time `json:"at"`
	Guard string    `json:"guard"` // kill_switch, target_check, …, or told: nothing but telling came of it
	Says  string    `json:"says"`
	Until time.Time `json:"until,omitzero"`
	Ended time.Time `json:"ended,omitzero"`
	How   string    `json:"how,omitempty"` // how it ended

	why string // of what was only told
}

// Step is something that was done, or observed.
type Step struct {
	At    time.Time `json:"at"`
	What  string    `json:"what"`
	Says  string    `json:"says,omitempty"`
	Actor string    `json:"actor,omitempty"`
	Took  string    `json:"took,omitempty"`
	More  []string  `json:"more,omitempty"`
}

// Of explains a release by its facts, and replays them. File is the health file that it pinned; nil
// where it is not at hand: then routes, and the `for` of rules that did not breach, are not known,
// and nothing is replayed.
func Of(id string, facts []gatekeeper.Fact, file *rules.File) (Explanation, error) {
	if len(facts) == 0 {
		return Explanation{}, gatekeeper.Errorf(gatekeeper.CodeInvalid, "give all facts of one release", "there is no fact to explain")
	}
	r, err := gatekeeper.Replay(id, facts)
	if err != nil {
		return Explanation{}, err
	}
	told, err := timeline.Tell(id, facts)
	if err != nil {
		return Explanation{}, err
	}
	e := Explanation{
		Release: id, Service: r.Service, Environment: r.Environment, Version: r.Version, PreviousVersion: r.PreviousVersion,
		State: r.State, Outcome: r.Outcome, OpenedAt: r.OpenedAt, DeployedAt: r.DeployedAt, WindowEnd: r.WindowEnd,
		DecidedAt: r.DecidedAt, ClosedAt: r.ClosedAt, Decision: r.Decision,
		Rules: []Rule{}, Guards: guards(facts), Done: done(told, r), facts: facts, release: r,
	}
	for _, name := range chart.Rules(facts) {
		e.Rules = append(e.Rules, ruleOf(r, facts, file, name))
	}
	if file != nil {
		again, err := Replay(facts, file)
		if err != nil {
			return Explanation{}, err
		}
		e.Replay = &again
	}
	e.Answer = e.answer()
	return e, nil
}

// Chart gives the picture of one of the rules; "" is the worst. It reports false where there is
// no such rule.
func (e Explanation) Chart(rule string) (chart.Chart, bool) {
	for _, r := range e.Rules {
		if rule == "" || r.Name == rule {
			c := chart.Of(e.release, e.facts, r.Name)
			c.Unit = r.unit
			return c, true
		}
	}
	return chart.Chart{}, false
}

// done gives what was done from the decision on, as the timeline tells it.
func done(told timeline.Told, r gatekeeper.Release) []Step {
	steps := []Step{}
	for _, l := range told.Lines {
		if r.DecidedAt.IsZero() || l.At.Before(r.DecidedAt) || l.At.Equal(r.DecidedAt) && l.Label != "decided" && len(steps) == 0 {
			continue
		}
		steps = append(steps, Step{At: l.At, What: l.Label, Says: l.Text, Actor: l.Actor, Took: l.Took, More: l.More})
	}
	return steps
}

// guards gives every hold with its end, and every breach that was only told.
func guards(facts []gatekeeper.Fact) []Guard {
	all := []Guard{}
	held := -1
	end := func(f gatekeeper.Fact, how string) {
		if held >= 0 {
			all[held].Ended, all[held].How = f.At, how
		}
		held = -1
	}
	for _, f := range facts {
		switch b := f.Body.(type) {
		case gatekeeper.Held:
			end(f, "held for another reason")
			all = append(all, Guard{At: f.At, Guard: string(b.Reason), Says: b.Says, Until: b.Until})
			held = len(all) - 1
		case gatekeeper.Breached:
			all = append(all, Guard{At: f.At, Guard: "told", Says: breachNames(b.Breaches) + ": nothing is rolled back: " + b.Why, why: b.Why})
		case gatekeeper.Resumed:
			end(f, b.Why)
		case gatekeeper.Vetoed:
			end(f, "vetoed"+by(f.Actor)+because(b.Why))
		case gatekeeper.Decided:
			end(f, "decided: "+b.Says)
		case gatekeeper.Closed:
			end(f, "closed: "+b.Why)
		}
	}
	return all
}

func breachNames(all []gatekeeper.Breach) string {
	names := make([]string, len(all))
	for i, b := range all {
		names[i] = b.Rule
	}
	return strings.Join(names, ", ")
}

func by(actor string) string {
	if actor == "" {
		return ""
	}
	return " by " + actor
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}

// ruleOf tells of one rule.
func ruleOf(r gatekeeper.Release, facts []gatekeeper.Fact, file *rules.File, name string) Rule {
	c := chart.Of(r, facts, name)
	out := Rule{Name: name, unit: c.Unit}
	trail := gatekeeper.Trail(facts, name, false)
	out.Interval = gatekeeper.Duration(chart.Step(trail))
	for _, f := range facts {
		if j, ok := f.Body.(gatekeeper.Judged); ok && j.Track.Rule == name {
			out.Limit = cmp.Or(j.Reading.Limit, out.Limit)
		}
		for _, b := range breachesOf(f.Body) {
			if b.Rule == name {
				out.For = b.For
			}
		}
	}
	if file != nil {
		for _, rule := range file.Rules {
			if rule.Name == name {
				out.Expr, out.For, out.Interval, out.Route = rule.Expr, gatekeeper.Duration(rule.For), gatekeeper.Duration(rule.Interval), rule.Response.Do
				for _, r := range file.Behind(rule.Expr) {
					out.Recorded = append(out.Recorded, Recorded{Name: r.Record, Expr: r.Expr})
				}
				out.coverage, out.unit = file.Coverage, unitOf(rule.Expr, c)
			}
		}
	}
	for _, p := range trail {
		if out.Last = p.At; out.First.IsZero() && !p.Early {
			out.First = p.At
		}
	}
	track := gatekeeper.Track{}.Along(trail, time.Duration(out.Interval))
	out.Slots, out.Data = track.Slots, track.Data
	out.Worst = worst(trail, c.Limit)
	out.Streaks = streaks(trail, time.Duration(out.Interval), out.For, file != nil || out.For > 0)
	out.Notes = notes(r, facts, name, trail, c)
	return out
}

func breachesOf(b gatekeeper.Body) []gatekeeper.Breach {
	switch b := b.(type) {
	case gatekeeper.Held:
		return b.Breaches
	case gatekeeper.Breached:
		return b.Breaches
	case gatekeeper.Decided:
		return b.Breaches
	}
	return nil
}

// worst gives the slot that counted whose value is farthest towards the limit's bad side; the highest
// without a limit. A value that is no number is neither worse nor better than another.
func worst(trail []gatekeeper.Point, limit *chart.Limit) *gatekeeper.Point {
	falling := limit != nil && strings.HasPrefix(limit.Operator, "<")
	var found *gatekeeper.Point
	for _, p := range trail {
		if p.Early || p.Value == nil || math.IsNaN(float64(*p.Value)) {
			continue
		}
		if found == nil || !falling && *p.Value > *found.Value || falling && *p.Value < *found.Value {
			found = &p
		}
	}
	return found
}

// streaks goes along the slots by the engine's own code, and tells each time the rule was bad.
func streaks(trail []gatekeeper.Point, interval time.Duration, wait gatekeeper.Duration, knowsFor bool) []Streak {
	var all []Streak
	track := gatekeeper.Track{For: wait}
	open := false
	for _, p := range trail {
		if p.Early {
			continue
		}
		before := track
		now := track.Along([]gatekeeper.Point{p}, interval)
		if p.Extra {
			if now = track.Confirm(gatekeeper.Reading{At: p.At, Verdict: p.Verdict, Active: p.Active}); now.Pending().IsZero() {
				now = track
			}
		} else {
			track = now
		}
		if now.Pending().IsZero() {
			if open && !before.Pending().IsZero() {
				all[len(all)-1].WellAt = p.At
			}
			open = false
			continue
		}
		if !open {
			all, open = append(all, Streak{Since: now.Pending()}), true
		}
		s := &all[len(all)-1]
		first := now.Active[0]
		slot := Slot{At: p.At, Verdict: p.Verdict, Value: p.Value, Extra: p.Extra, Known: p.Heard, Unanswered: first.Unanswered}
		slot.Counted = gatekeeper.Duration(p.At.Sub(first.ActiveAt)) - first.Unanswered
		if p.Verdict != gatekeeper.Unhealthy && !p.Extra { // its own interval is unanswered, and not over yet
			slot.Counted += gatekeeper.Duration(interval)
		}
		s.Slots = append(s.Slots, slot)
		s.Until, s.Counted, s.Unanswered = p.At, slot.Counted, slot.Unanswered
		if knowsFor && s.FullAt.IsZero() && p.Verdict == gatekeeper.Unhealthy && now.Full(p.At) {
			s.FullAt = p.At
		}
	}
	return all
}
