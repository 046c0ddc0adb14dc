package rules

import (
	"context"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
)

// JudgeRange gives the readings that Judge gives at from, from+step, … up to to, in that order,
// and asks for each expression once, over the whole range, or by parts where the file records much. What
// can't be answered is NoAnswer, or NoData where the backend has nothing. Took is left out.
func (r *BoundRule) JudgeRange(ctx context.Context, q Querier, from, to time.Time, step time.Duration) []gatekeeper.Reading {
	if step <= 0 || to.Before(from) {
		return nil
	}
	asked, err := r.over(q)
	if err != nil {
		return unanswered(from, to, step, err.Error())
	}
	var readings []gatekeeper.Reading
	for !from.After(to) {
		end := to
		if n := r.atOnce(step); n > 0 && from.Add((n-1)*step).Before(to) {
			end = from.Add((n - 1) * step)
		}
		readings = append(readings, r.judgePart(ctx, asked, from, end, step)...)
		from = end.Add(step)
	}
	return readings
}

// recordedAtOnce is at how many instants more than for one slot the file's recording rules are evaluated
// for one range, all together: a backend bounds them.
const recordedAtOnce = 1000

// atOnce is how many slots are asked by one range; 0: all.
func (r *BoundRule) atOnce(step time.Duration) time.Duration {
	var each float64 // instants of a slot
	for _, one := range r.recordings {
		each += float64(step) / float64(one.Interval)
	}
	if each == 0 {
		return 0
	}
	return time.Duration(max(1, recordedAtOnce/each))
}

// judgePart judges slots by one range for each expression. Where that is refused, as it is when a recording
// rule fails at one of its instants, each slot is asked alone: it fails for itself.
func (r *BoundRule) judgePart(ctx context.Context, q Querier, from, to time.Time, step time.Duration) (readings []gatekeeper.Reading) {
	part := NewSamples(q, from.Add(-r.QueryOffset), step, to.Add(-r.QueryOffset))
	alone := func() bool {
		return r.anchored || len(r.recordings) > 0 && gatekeeper.CodeOf(part.Err()) == gatekeeper.CodeInvalid
	}
	for at := from; !at.After(to); at = at.Add(step) {
		var reading gatekeeper.Reading
		if !alone() {
			reading = r.judgeOver(ctx, part, at)
		}
		if alone() {
			reading = r.judgeOver(ctx, q, at)
		}
		readings = append(readings, reading)
	}
	return readings
}
