package chart

import (
	"math"
	"slices"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
)

// spans gives the stretches in which the rule was anything but healthy, up to end. A slot speaks
// for the time up to the next.
func (l Line) spans(end time.Time, back bool) []Span {
	var all []Span
	step := Step(l.Points)
	for i, p := range l.Points {
		to := p.At.Add(step)
		if i+1 < len(l.Points) && l.Points[i+1].At.Before(to.Add(step/2)) {
			to = l.Points[i+1].At
		}
		if to.After(end) {
			to = end
		}
		kind, ok := kindOf(p)
		if back && kind == Pending {
			kind = StillBad
		}
		if n := len(all); ok && n > 0 && all[n-1].Kind == kind && !all[n-1].To.Before(p.At) {
			all[n-1].To = later(all[n-1].To, to)
		} else if ok {
			all = append(all, Span{p.At, to, kind})
		}
	}
	return all
}

func kindOf(p gatekeeper.Point) (SpanKind, bool) {
	switch {
	case p.Early:
		return Early, true
	case p.Verdict == gatekeeper.Unhealthy:
		return Pending, true
	case p.Verdict == gatekeeper.NoTraffic:
		return NoTraffic, true
	case p.Verdict.Blind():
		return Blind, true
	}
	return "", false
}

// Step gives the distance that most points have to the next: the rule's interval.
func Step(points []gatekeeper.Point) time.Duration {
	var gaps []time.Duration
	for i := 1; i < len(points); i++ {
		gaps = append(gaps, points[i].At.Sub(points[i-1].At))
	}
	if len(gaps) == 0 {
		return 15 * time.Second
	}
	slices.Sort(gaps)
	return gaps[len(gaps)/2]
}

// holds gives the times at which the release was held.
func holds(facts []gatekeeper.Fact, end time.Time) []Span {
	var all []Span
	var since time.Time
	for _, f := range facts {
		switch f.Body.(type) {
		case gatekeeper.Held:
			if since.IsZero() {
				since = f.At
			}
		case gatekeeper.Resumed, gatekeeper.Vetoed, gatekeeper.Decided, gatekeeper.Closed:
			if !since.IsZero() {
				all = append(all, Span{since, f.At, Held})
			}
			since = time.Time{}
		}
	}
	if !since.IsZero() {
		all = append(all, Span{since, end, Held})
	}
	return all
}

// runs gives the points that belong together: unbroken by a slot without a value or by a gap.
func (l Line) runs() [][]gatekeeper.Point {
	step := Step(l.Points)
	var all [][]gatekeeper.Point
	var last time.Time
	for _, p := range l.Points {
		if p.Value == nil || !finite(float64(*p.Value)) {
			last = time.Time{}
			continue
		}
		if last.IsZero() || p.At.Sub(last) > step*5/2 {
			all = append(all, nil)
		}
		all[len(all)-1] = append(all[len(all)-1], p)
		last = p.At
	}
	return all
}

// odd gives the points whose value can't be drawn at its height.
func (l Line) odd() []gatekeeper.Point {
	return slices.DeleteFunc(slices.Clone(l.Points), func(p gatekeeper.Point) bool {
		return p.Value == nil || !p.Verdict.Answered() || finite(float64(*p.Value))
	})
}

// finite says whether v has a height: an axis can reach it.
func finite(v float64) bool { return math.Abs(v) <= 1e300 } // NaN is not
