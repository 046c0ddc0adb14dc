package rules

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
)

// Judge says what the rule says at a slot; it asks for the instant QueryOffset before it. It never
// fails: an error, a partial answer and ctx's end are a reading of NoAnswer whose Detail tells why.
// It leaves nothing running.
//
// A healthy rule takes one query, min_traffic another at the same time; a guard, a comparison of
// two vectors and an operand without a value take more.
func (r *BoundRule) Judge(ctx context.Context, q Querier, at time.Time) gatekeeper.Reading {
	started := time.Now()
	reading := gatekeeper.Reading{}
	if with, err := r.over(q); err != nil {
		reading = noAnswer(err)
		reading.At, reading.Detail = at, capText(reading.Detail, gatekeeper.MaxEvidenceText)
	} else {
		reading = r.judgeOver(ctx, with, at)
	}
	reading.Took = gatekeeper.Duration(time.Since(started))
	return reading
}

// judgeOver judges by a backend that sees what the file records.
func (r *BoundRule) judgeOver(ctx context.Context, q Querier, at time.Time) gatekeeper.Reading {
	reading := r.judge(ctx, q, at.Add(-r.QueryOffset))
	reading.At = at
	reading.Detail = capText(reading.Detail, gatekeeper.MaxEvidenceText)
	return reading
}

// seen is what was asked for one reading.
type seen struct {
	active, operand []gatekeeper.Sample
}

func (r *BoundRule) judge(ctx context.Context, q Querier, at time.Time) gatekeeper.Reading {
	type traffic struct {
		enough bool
		why    string
		err    error
	}
	floor := make(chan traffic, 1)
	if r.floor == nil {
		floor <- traffic{enough: true}
	} else {
		go func() {
			enough, why, err := r.floor.holds(ctx, q, at)
			floor <- traffic{enough, why, err}
		}()
	}
	var s seen
	var err error
	s.active, s.operand, err = r.condition.ask(ctx, q, at)
	t := <-floor
	if err == nil {
		err = t.err
	}
	if err != nil {
		return noAnswer(err)
	}
	var reading gatekeeper.Reading
	switch {
	case !t.enough:
		reading, err = r.idle(ctx, q, at, s, t.why)
	case len(s.active) > 0:
		reading = r.unhealthy(ctx, q, at, s.active)
	default:
		reading, err = r.quiet(ctx, q, at, s)
	}
	if err != nil {
		return noAnswer(err)
	}
	if o := r.condition.operand; o != nil && reading.Limit == "" {
		reading.Operand, reading.Limit = r.evidence(s.operand), capText(o.Limit, gatekeeper.MaxEvidenceText)
	}
	return reading
}

func noAnswer(err error) gatekeeper.Reading {
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no answer in time: %w", err)
	}
	return gatekeeper.Reading{Verdict: gatekeeper.NoAnswer, Detail: err.Error()}
}

// idle is the reading below min_traffic: no traffic, unless there is no data at all.
func (r *BoundRule) idle(ctx context.Context, q Querier, at time.Time, s seen, why string) (gatekeeper.Reading, error) {
	if len(s.active) == 0 && len(s.operand) == 0 {
		some, err := anyAnswers(ctx, q, at, r.probes)
		if err != nil || !some {
			return noData(), err
		}
	}
	return gatekeeper.Reading{Verdict: gatekeeper.NoTraffic, Detail: why}, nil
}

func noData() gatekeeper.Reading {
	return gatekeeper.Reading{Verdict: gatekeeper.NoData, Detail: "no selector of the rule has data"}
}

// quiet is the reading of an expression that gave nothing.
func (r *BoundRule) quiet(ctx context.Context, q Querier, at time.Time, s seen) (gatekeeper.Reading, error) {
	healthy := gatekeeper.Reading{Verdict: gatekeeper.Healthy}
	if r.hidden != nil {
		reading, some, err := r.behindQuiet(ctx, q, at)
		if err != nil || some && (len(s.operand) == 0 || reading.Verdict != gatekeeper.Healthy) {
			return reading, err
		}
	}
	if len(s.operand) > 0 {
		if nothingCounted(s.operand) {
			return zeroByZero(), nil
		}
		if o := r.condition.operand; len(o.Compare) > 0 && len(passing(o, s.operand)) > 0 {
			healthy.Detail = "the comparison holds, but the rule's guard does not"
		}
		return healthy, nil
	}
	if reading, told, err := r.lessQuiet(ctx, q, at); err != nil || told {
		return reading, err
	}
	if r.ratio != nil {
		reading, told, err := r.ratioQuiet(ctx, q, at)
		if err != nil || told {
			return reading, err
		}
	}
	some, err := anyAnswers(ctx, q, at, r.probes)
	if err != nil || !some && len(r.probes) > 0 {
		return noData(), err
	}
	return healthy, nil
}

func nothingCounted(samples []gatekeeper.Sample) bool {
	return !slices.ContainsFunc(samples, func(s gatekeeper.Sample) bool { return !math.IsNaN(float64(s.Value)) })
}

func zeroByZero() gatekeeper.Reading {
	return gatekeeper.Reading{Verdict: gatekeeper.NoTraffic, Detail: "what is compared is 0/0: nothing was counted"}
}

// behindQuiet is the reading where a recording rule makes the comparison, so that nothing, or 0, is
// recorded while it does not hold; some is false where what it compares has no value.
func (r *BoundRule) behindQuiet(ctx context.Context, q Querier, at time.Time) (reading gatekeeper.Reading, some bool, err error) {
	samples, err := ask(ctx, q, r.hidden.Query, at)
	switch {
	case err != nil || len(samples) == 0:
		return reading, false, err
	case nothingCounted(samples):
		return zeroByZero(), true, nil
	default:
		return gatekeeper.Reading{
			Verdict: gatekeeper.Healthy, Operand: r.evidence(samples), Limit: capText(r.hidden.Limit, gatekeeper.MaxEvidenceText),
		}, true, nil
	}
}

// less is a subtraction of some of a counter's series from all of them.
type less struct {
	whole string   // the query
	part  []string // a probe per selector
}

// lessQuiet is the reading where what is subtracted has no series, as of successes when everything
// fails; told is false where every part is there.
func (r *BoundRule) lessQuiet(ctx context.Context, q Querier, at time.Time) (reading gatekeeper.Reading, told bool, err error) {
	for _, l := range r.less {
		whole, err := ask(ctx, q, l.whole, at)
		if err != nil {
			return reading, false, err
		}
		whole = slices.DeleteFunc(slices.Clone(whole), func(s gatekeeper.Sample) bool { return !(s.Value > 0) })
		if len(whole) == 0 {
			continue
		}
		if some, err := anyAnswers(ctx, q, at, l.part); err != nil || some {
			if err != nil {
				return reading, false, err
			}
			continue
		}
		return r.nothingSucceeds(ctx, q, at, whole, "what is subtracted has no series at all, while there is traffic"), true, nil
	}
	return reading, false, nil
}

// ratioQuiet is the reading of a division without a value: told is false when its denominator has
// none either.
func (r *BoundRule) ratioQuiet(ctx context.Context, q Querier, at time.Time) (reading gatekeeper.Reading, told bool, err error) {
	below, err := ask(ctx, q, r.ratio.Denominator, at)
	if err != nil || len(below) == 0 {
		return reading, false, err
	}
	below = slices.DeleteFunc(slices.Clone(below), func(s gatekeeper.Sample) bool { return !(s.Value > 0) })
	switch {
	case len(below) == 0:
		return gatekeeper.Reading{Verdict: gatekeeper.NoTraffic, Detail: "what is divided by is 0: nothing was counted"}, true, nil
	case !r.ratio.Success:
		return gatekeeper.Reading{Verdict: gatekeeper.Healthy}, true, nil
	}
	some, err := anyAnswers(ctx, q, at, r.ratio.Numerator)
	switch {
	case err != nil:
		return reading, false, err
	case some:
		return gatekeeper.Reading{
			Verdict: gatekeeper.Healthy,
			Detail:  "both sides of the division have data, but their labels do not match: this rule can't see anything",
		}, true, nil
	default:
		for i := range below {
			below[i].Value = 0
		}
		return r.nothingSucceeds(ctx, q, at, below, "no success was counted at all, while there is traffic"), true, nil
	}
}

// nothingSucceeds is the reading where the series of what succeeds is not there; samples stand for it.
func (r *BoundRule) nothingSucceeds(ctx context.Context, q Querier, at time.Time, samples []gatekeeper.Sample, says string) gatekeeper.Reading {
	if r.MissingSuccess != MissingUnhealthy {
		return gatekeeper.Reading{
			Verdict: gatekeeper.Lopsided,
			Detail:  says + ": everything fails, or successes are not measured; missing_success: unhealthy in the rule says which",
		}
	}
	reading := r.unhealthy(ctx, q, at, samples)
	reading.Detail = says
	return reading
}

// anyAnswers asks one query after the other until one has an answer, the last first: in a division
// that is the denominator, which has data more often.
func anyAnswers(ctx context.Context, q Querier, at time.Time, queries []string) (bool, error) {
	for _, query := range slices.Backward(queries) {
		samples, err := ask(ctx, q, query, at)
		if err != nil || len(samples) > 0 {
			return err == nil, err
		}
	}
	return false, nil
}
