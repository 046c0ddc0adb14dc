package backtest

import (
	"context"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// judge is a rule with its readings, each made once.
type judge struct {
	ctx      context.Context
	rule     *rules.BoundRule
	samples  *rules.Samples
	grid     grid
	interval time.Duration
	readings map[int64]*gatekeeper.Reading
}

// newJudge leaves the annotations out, for nobody reads them and they may ask queries.
func newJudge(ctx context.Context, rule *rules.BoundRule, s *rules.Samples, g grid) *judge {
	plain := *rule
	plain.Annotations = nil
	return &judge{ctx: ctx, rule: &plain, samples: s, grid: g, interval: rule.Interval, readings: map[int64]*gatekeeper.Reading{}}
}

// at gives what the rule said at an instant. A rule that means something else in a range query is
// asked at the instant itself.
func (j *judge) at(t time.Time) gatekeeper.Reading {
	if r, ok := j.readings[t.UnixNano()]; ok {
		return *r
	}
	var q rules.Querier = j.samples
	if j.rule.Anchored() {
		q = j.samples.Backend()
	}
	r := j.rule.Judge(j.ctx, q, t)
	j.readings[t.UnixNano()] = &r
	return r
}

// answer gives what a watch asks for.
func (j *judge) answer(q rules.Question) []gatekeeper.Reading {
	var all []gatekeeper.Reading
	if !q.From.IsZero() {
		for at := q.From; at.Before(q.At); at = at.Add(j.interval) {
			all = append(all, j.at(at))
		}
	}
	return append(all, j.at(q.At))
}

// with gives the judge of the same rule with another `for`, which changes no reading.
func (j *judge) with(wait time.Duration) *judge {
	out, rule := *j, *j.rule
	rule.For = wait
	out.rule = &rule
	return &out
}
