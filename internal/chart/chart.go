// Package chart draws what a release's journal tells of one rule: the value against its limit, when
// it was pending, blind, without traffic or held, and what was done, as SVG, as PNG, and in a
// terminal.
package chart

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/timeline"
)

// Chart is what there is to draw of one rule. It is a plain value: whoever made it may change it.
type Chart struct {
	Title    string // the rule
	Subtitle string // the release
	Zero     time.Time
	From, To time.Time // what the picture spans
	Unit     Unit
	Lines    []Line // the released version first, then what was returned to
	Limit    *Limit // nil where the expression is no comparison with a number
	Spans    []Span // by time; those of holds may overlap the others
	Marks    []Mark // by time
}

// Line is what the rule said of one version, slot by slot.
type Line struct {
	Name   string // "on 1.4.2"
	Points []gatekeeper.Point
}

// Limit is what the value is compared with: beyond it is bad.
type Limit struct {
	Operator string // such as ">"
	Value    float64
}

// SpanKind says what a stretch of time was.
type SpanKind string

// The kinds of spans.
const (
	Pending   SpanKind = "pending"    // bad, and `for` running or full
	StillBad  SpanKind = "still bad"  // on what it returned to
	Blind     SpanKind = "blind"      // nothing was seen
	NoTraffic SpanKind = "no traffic" // nothing to judge
	Early     SpanKind = "not yet counted"
	Held      SpanKind = "held"
)

// Span is a stretch of time.
type Span struct {
	From, To time.Time
	Kind     SpanKind
}

// Mark is an instant that turned the release.
type Mark struct {
	At    time.Time
	Label string
	Loud  bool // the decision, and what went wrong
}

// Of gives the chart of a rule from the facts of release r. The facts may go on, after those of
// the journal, with what is not journaled yet of its rules; the chart ends at the last of them.
func Of(r gatekeeper.Release, facts []gatekeeper.Fact, rule string) Chart {
	c := Chart{
		Title: rule, Subtitle: r.Service + " " + r.Version + " in " + r.Environment,
		Zero: cmp.Or(r.DeployedAt, r.OpenedAt), From: cmp.Or(r.DeployedAt, r.OpenedAt),
		Lines: []Line{{Name: "on " + r.Version, Points: gatekeeper.Trail(facts, rule, false)}},
		Limit: limitOf(facts, rule), Unit: unitOf(facts, rule), Marks: marks(facts),
	}
	if r.Closed() {
		c.Subtitle += ", " + timeline.Words(string(r.Outcome))
	}
	if back := gatekeeper.Trail(facts, rule, true); len(back) > 0 {
		c.Lines = append(c.Lines, Line{Name: "on " + cmp.Or(r.PreviousVersion, "what it returned to"), Points: back})
	}
	c.To = c.From
	for _, f := range facts {
		c.To = later(c.To, f.At)
	}
	for _, l := range c.Lines {
		for _, p := range l.Points {
			c.To = later(c.To, p.At)
			if !p.At.Before(c.Zero.Add(-time.Minute)) && p.At.Before(c.From) {
				c.From = p.At
			}
		}
	}
	known := c.To
	if c.To.Sub(c.From) < shortest {
		c.To = c.From.Add(shortest)
	}
	for i, l := range c.Lines {
		end := known
		if i == 0 && !r.DecidedAt.IsZero() {
			end = r.DecidedAt
		}
		c.Spans = append(c.Spans, l.spans(end, i > 0)...)
	}
	c.Spans = append(c.Spans, holds(facts, known)...)
	return c
}

// shortest is the least that a picture spans.
const shortest = 10 * time.Second

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// Rules names the rules that facts tell of, worst first: those that were decided on, those that
// breached, those that were bad, those that could not see, and the others, each by name.
func Rules(facts []gatekeeper.Fact) []string {
	rank := map[string]int{}
	note := func(name string, how int) {
		if now, known := rank[name]; known {
			rank[name] = max(now, how)
		}
	}
	breaches := func(all []gatekeeper.Breach, how int) {
		for _, b := range all {
			note(b.Rule, how)
		}
	}
	for _, f := range facts {
		if j, ok := f.Body.(gatekeeper.Judged); ok {
			rank[j.Track.Rule] = max(rank[j.Track.Rule], howBad(j))
		}
	}
	for _, f := range facts {
		switch b := f.Body.(type) {
		case gatekeeper.Held:
			breaches(b.Breaches, 3)
		case gatekeeper.Breached:
			breaches(b.Breaches, 3)
		case gatekeeper.NotRecovered:
			breaches(b.Breaches, 3)
		case gatekeeper.Decided:
			breaches(b.Breaches, 4)
		}
	}
	return slices.SortedFunc(maps.Keys(rank), func(a, b string) int {
		return cmp.Or(cmp.Compare(rank[b], rank[a]), cmp.Compare(a, b))
	})
}

func howBad(j gatekeeper.Judged) int {
	switch {
	case j.Reading.Verdict == gatekeeper.Unhealthy || !j.Track.Pending().IsZero():
		return 2
	case j.Reading.Verdict.Blind():
		return 1
	}
	return 0
}

// limitOf reads the limit of the rule's last reading that has one.
func limitOf(facts []gatekeeper.Fact, rule string) *Limit {
	for _, f := range slices.Backward(facts) {
		j, ok := f.Body.(gatekeeper.Judged)
		if !ok || j.Track.Rule != rule {
			continue
		}
		if limit := limitIn(j.Reading.Limit); limit != nil {
			return limit
		}
	}
	return nil
}

// marks gives what turned the release.
func marks(facts []gatekeeper.Fact) []Mark {
	var all []Mark
	for _, f := range facts {
		switch b := f.Body.(type) {
		case gatekeeper.Deployed:
			all = append(all, Mark{f.At, "deployed", false})
		case gatekeeper.Breached:
			if b.Would {
				all = append(all, Mark{f.At, "would roll back", true})
			}
		case gatekeeper.Decided:
			all = append(all, Mark{f.At, "decided", true})
		case gatekeeper.Reached:
			all = append(all, Mark{f.At, "target reached", false})
		case gatekeeper.NotRecovered:
			all = append(all, Mark{f.At, "not recovered", true})
		case gatekeeper.Recovered:
			label := "recovered"
			if b.Unknown {
				label = "recovery unknown"
			}
			all = append(all, Mark{f.At, label, false})
		case gatekeeper.Closed:
			all = append(all, Mark{f.At, timeline.Words(string(b.Outcome)), false})
		}
	}
	return all
}

// clock gives an instant as the time since the chart's zero.
func (c Chart) clock(t time.Time) string { return timeline.Clock(t.Sub(c.Zero)) }
