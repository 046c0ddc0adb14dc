package chart

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
)

// Unit is how values are written.
type Unit string

// The units.
const (
	Plain   Unit = "plain"   // with SI prefixes: 1.5k, 20M
	Percent Unit = "percent" // a ratio: 0.05 is 5%
)

// unitOf takes a rule for one of a ratio when its limit and values are below 1 and it says so: its
// summary speaks of percent, or its name of a ratio. Facts do not hold the expression.
func unitOf(facts []gatekeeper.Fact, rule string) Unit {
	limit := limitOf(facts, rule)
	if limit == nil || limit.Value <= 0 || limit.Value >= 1 {
		return Plain
	}
	name := strings.ToLower(rule)
	if slices.ContainsFunc([]string{"ratio", "errorrate", "error_rate", "percent", "availability", "successrate", "success_rate"}, func(s string) bool {
		return strings.Contains(name, s)
	}) {
		return Percent
	}
	for _, f := range facts {
		if j, ok := f.Body.(gatekeeper.Judged); ok && j.Track.Rule == rule && strings.Contains(j.Reading.Summary, "%") {
			return Percent
		}
	}
	return Plain
}

// Format writes a value as a person compares it: "5.12%", "1.5k", "0.25".
func (u Unit) Format(v float64) string {
	switch {
	case math.IsNaN(v):
		return "NaN"
	case math.IsInf(v, 0):
		return strings.Replace(fmt.Sprint(v), "+", "", 1)
	case u == Percent:
		return short(100*v) + "%"
	}
	scale, prefix := si(v)
	return short(v/scale) + prefix
}

func short(v float64) string {
	if a := math.Abs(v); a >= 1e5 || a < 1e-4 {
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	s := strconv.FormatFloat(v, 'f', max(0, 2-magnitude(v)), 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// magnitude is the power of ten of v's first digit; 0 for 0.
func magnitude(v float64) int {
	if v == 0 {
		return 0
	}
	return int(math.Floor(math.Log10(math.Abs(v))))
}

var prefixes = []struct {
	scale float64
	name  string
}{{1e18, "E"}, {1e15, "P"}, {1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}}

// si gives the prefix for a value; below 1000 and above 10^21 there is none.
func si(v float64) (scale float64, prefix string) {
	a := math.Abs(v)
	for _, p := range prefixes {
		if a >= p.scale && a < 1e21 {
			return p.scale, p.name
		}
	}
	return 1, ""
}

// tick is a place of an axis, with its label.
type tick struct {
	at    float64
	label string
}

// span is the stretch of values that the picture shows.
type span struct{ low, high float64 }

// values gives the stretch that holds every value and the limit. It begins at 0 unless that would
// leave nothing to see of how they differ.
func (c Chart) values() span {
	low, high := math.Inf(1), math.Inf(-1)
	add := func(v float64) {
		if finite(v) {
			low, high = min(low, v), max(high, v)
		}
	}
	for _, l := range c.Lines {
		for _, p := range l.Points {
			if p.Value != nil {
				add(float64(*p.Value))
			}
		}
	}
	if c.Limit != nil {
		add(c.Limit.Value)
	}
	if low > high {
		return span{0, 1}
	}
	if low > 0 && low < high/2 || low == high && low > 0 {
		low = 0
	}
	if high < 0 && high > low/2 || low == high && high < 0 {
		high = 0
	}
	if low == high { // both are 0
		return span{0, 1}
	}
	room := (high - low) * 0.08
	s := span{low, high + room}
	if low != 0 {
		s.low = low - room
	}
	if c.Unit == Percent && high <= 1 && s.high > 1 && low > 0 {
		s.high = 1 + room/4
	}
	return s
}

// ticks gives at most n round values of the stretch.
func (u Unit) ticks(s span, n int) []tick {
	step := round((s.high - s.low) / float64(max(n, 1)))
	var all []tick
	for i := math.Ceil(s.low / step); i*step <= s.high && len(all) < 20; i++ {
		v := i * step
		if math.Abs(v) < step/2 {
			v = 0
		}
		all = append(all, tick{v, u.tickLabel(v, step, s)})
	}
	return all
}

// round gives the next of 1, 2 or 5 times a power of ten.
func round(v float64) float64 {
	base := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if v <= m*base*1.0000001 {
			return m * base
		}
	}
	return 10 * base
}

// tickLabel writes as many digits as tell two ticks apart.
func (u Unit) tickLabel(v, step float64, s span) string {
	scale, suffix := si(max(math.Abs(s.low), math.Abs(s.high)))
	if u == Percent {
		scale, suffix = 0.01, "%"
	}
	v, step = v/scale, step/scale
	if a := max(math.Abs(v), step); a >= 1e6 || a < 1e-4 {
		return strconv.FormatFloat(v, 'g', 3, 64) + suffix
	}
	if v == 0 && u == Percent {
		return "0%"
	}
	if v == 0 {
		return "0"
	}
	return strconv.FormatFloat(v, 'f', max(0, -magnitude(step*1.0000001)), 64) + suffix
}

var timeSteps = []time.Duration{
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute,
	10 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 6 * time.Hour, 12 * time.Hour,
}

// timeTicks gives at most n round instants, counted from the chart's zero, and their distance.
func (c Chart) timeTicks(n int) ([]time.Time, time.Duration) {
	whole := c.To.Sub(c.From)
	step := 24 * time.Hour
	for _, s := range timeSteps {
		if whole/s < time.Duration(n) {
			step = s
			break
		}
	}
	for whole/step >= time.Duration(n) {
		step *= 2
	}
	first := c.From.Sub(c.Zero) / step
	var all []time.Time
	for i := first; !c.Zero.Add(i * step).After(c.To); i++ {
		if at := c.Zero.Add(i * step); !at.Before(c.From) {
			all = append(all, at)
		}
	}
	return all, step
}
