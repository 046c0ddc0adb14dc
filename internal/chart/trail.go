package chart

import (
	"strconv"
	"strings"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
)

// OfTrail gives the chart of what a rule said of a version slot by slot, beside any journal. Limit is
// that of its readings, such as "> 0.01"; marks are in order of time.
func OfTrail(rule, subtitle, version, limit string, zero time.Time, trail []gatekeeper.Point, marks []Mark) Chart {
	line := Line{Name: "on " + version, Points: trail}
	c := Chart{Title: rule, Subtitle: subtitle, Zero: zero, From: zero, To: zero.Add(shortest), Lines: []Line{line}, Limit: limitIn(limit), Marks: marks, Unit: Plain}
	if c.Limit != nil && c.Limit.Value > 0 && c.Limit.Value < 1 && isShare(trail) {
		c.Unit = Percent
	}
	for _, p := range trail {
		c.To = later(c.To, p.At)
	}
	for _, m := range marks {
		c.To = later(c.To, m.At)
	}
	c.Spans = line.spans(c.To, false)
	return c
}

// isShare says whether every value is one of a ratio.
func isShare(trail []gatekeeper.Point) bool {
	for _, p := range trail {
		if p.Value != nil && (*p.Value < 0 || *p.Value > 1) {
			return false
		}
	}
	return true
}

// limitIn reads a limit as readings have it; nil where it is no number.
func limitIn(text string) *Limit {
	operator, number, _ := strings.Cut(text, " ")
	if v, err := strconv.ParseFloat(strings.TrimSpace(number), 64); err == nil && finite(v) {
		return &Limit{Operator: operator, Value: v}
	}
	return nil
}
