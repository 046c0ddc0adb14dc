package rules

import (
	"context"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
)

// JudgeRange gives the readings that Judge gives at from, from+step, … up to to, in that order,
// and asks for each expression once, over the whole range. What can't be answered is NoAnswer, or
// NoData where the backend has nothing. Took is left out.
func (r *BoundRule) JudgeRange(ctx context.Context, q Querier, from, to time.Time, step time.Duration) []gatekeeper.Reading {
	if step <= 0 || to.Before(from) {
		return nil
	}
	asked, err := r.over(q)
	if err != nil {
		return unanswered(from, to, step, err.Error())
	}
	if !r.anchored {
		asked = NewSamples(asked, from.Add(-r.QueryOffset), step, to.Add(-r.QueryOffset))
	}
	var readings []gatekeeper.Reading
	for at := from; !at.After(to); at = at.Add(step) {
		readings = append(readings, r.judgeOver(ctx, asked, at))
	}
	return readings
}
