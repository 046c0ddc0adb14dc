package explain

import (
	"fmt"
	"slices"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/chart"
	"github.com/gatekeeper-engine/gatekeeper/internal/timeline"
)

// notes says why a rule, or some of its slots, did not count.
func notes(r gatekeeper.Release, facts []gatekeeper.Fact, rule string, trail []gatekeeper.Point, c chart.Chart) []string {
	clock := func(t time.Time) string { return timeline.Clock(t.Sub(zero(r))) }
	all := preexisting(facts, rule, clock)
	early := 0
	for _, p := range trail {
		if p.Early {
			early++
		}
	}
	if early > 0 {
		all = append(all, fmt.Sprintf("its first %s did not count: it could still see what was before the release, or its warm-up was not over", counted(early, "slot")))
	}
	for _, s := range c.Spans {
		if !r.DecidedAt.IsZero() && !s.From.Before(r.DecidedAt) {
			continue // that was on what it returned to
		}
		between := fmt.Sprintf("from %s to %s", clock(s.From), clock(s.To))
		switch s.Kind {
		case chart.NoTraffic:
			all = append(all, fmt.Sprintf("there was no traffic %s: neither bad nor good", between))
		case chart.Blind:
			all = append(all, fmt.Sprintf("it was blind %s%s: that time does not count", between, because(detail(facts, rule, s.From, s.To))))
		case chart.Pending, chart.StillBad, chart.Early, chart.Held: // told elsewhere
		}
	}
	for _, f := range facts {
		if b, ok := f.Body.(gatekeeper.Vetoed); ok && slices.Contains(b.Rules, rule) {
			all = append(all, fmt.Sprintf("it was muted at %s by a veto%s%s: it counts no more", clock(f.At), by(f.Actor), because(b.Why)))
		}
	}
	return all
}

// preexisting tells that a rule was bad before the release could be the cause, and until when.
func preexisting(facts []gatekeeper.Fact, rule string, clock func(time.Time) string) []string {
	was := false
	for _, f := range facts {
		j, ok := f.Body.(gatekeeper.Judged)
		if !ok || j.Track.Rule != rule || j.Preexisting == was {
			continue
		}
		if was {
			return []string{fmt.Sprintf("it was bad when the release was opened, so it rolled nothing back until it was well, at %s", clock(j.Reading.At))}
		}
		was = true
	}
	if was {
		return []string{"it was bad when the release was opened and never well since: it could roll nothing back"}
	}
	return nil
}

// detail gives what the last blind reading between two instants said.
func detail(facts []gatekeeper.Fact, rule string, from, to time.Time) string {
	says := ""
	for _, f := range facts {
		if j, ok := f.Body.(gatekeeper.Judged); ok && j.Track.Rule == rule && j.Reading.Verdict.Blind() && !j.Reading.At.Before(from) && !j.Reading.At.After(to) {
			says = timeline.Words(string(j.Reading.Verdict))
			if j.Reading.Detail != "" {
				says = j.Reading.Detail
			}
		}
	}
	return says
}

func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
