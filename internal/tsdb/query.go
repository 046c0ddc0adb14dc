package tsdb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

const (
	maxSeries   = 10_000 // of one answer
	maxWarnings = 10
	notCounted  = "no answer, which is not counted against the release"
)

// Query evaluates expr at the instant at, to the millisecond.
func (s *Store) Query(ctx context.Context, expr string, at time.Time) (rules.Vector, error) {
	return s.query(ctx, s.db, expr, at)
}

// QueryRange evaluates expr at from, from+step, … to.
func (s *Store) QueryRange(ctx context.Context, expr string, from, to time.Time, step time.Duration) (rules.Matrix, error) {
	return s.queryRange(ctx, s.db, expr, from, to, step)
}

func (s *Store) query(ctx context.Context, over storage.Queryable, expr string, at time.Time) (rules.Vector, error) {
	ctx, done, err := s.begin(ctx)
	if err != nil {
		return rules.Vector{}, err
	}
	defer done()
	query, err := s.engine.NewInstantQuery(ctx, over, nil, expr, at)
	if err != nil {
		return rules.Vector{}, refuse("correct the expression", err)
	}
	defer query.Close()
	result, err := exec(ctx, query)
	if err != nil {
		return rules.Vector{}, err
	}
	out := rules.Vector{Warnings: warnings(expr, result)}
	switch value := result.Value.(type) {
	case promql.Vector:
		if err := capSeries(len(value)); err != nil {
			return rules.Vector{}, err
		}
		for _, one := range value {
			sample := gatekeeper.Sample{Labels: one.Metric.Map()}
			if one.H == nil {
				sample.Value = gatekeeper.Float(one.F)
			} else { // its value is 0, as in a Prometheus alert
				sample.Histogram = one.H.String()
			}
			out.Samples = append(out.Samples, sample)
		}
	case promql.Scalar:
		out.Samples = []gatekeeper.Sample{{Value: gatekeeper.Float(value.V)}}
	default:
		return rules.Vector{}, refuse("write an expression that gives a vector or a number",
			fmt.Errorf("the expression gives a %s: that is no value at an instant", result.Value.Type()))
	}
	return out, nil
}

func (s *Store) queryRange(ctx context.Context, over storage.Queryable, expr string, from, to time.Time, step time.Duration) (rules.Matrix, error) {
	if step < time.Millisecond || step%time.Millisecond != 0 || to.Before(from) {
		return rules.Matrix{}, gatekeeper.Errorf(gatekeeper.CodeInvalid, "give a step of whole milliseconds and an end after the start",
			"can't ask from %s to %s every %s", from.UTC().Format(time.RFC3339Nano), to.UTC().Format(time.RFC3339Nano), step)
	}
	ctx, done, err := s.begin(ctx)
	if err != nil {
		return rules.Matrix{}, err
	}
	defer done()
	query, err := s.engine.NewRangeQuery(ctx, over, nil, expr, from, to, step)
	if err != nil {
		return rules.Matrix{}, refuse("correct the expression", err)
	}
	defer query.Close()
	result, err := exec(ctx, query)
	if err != nil {
		return rules.Matrix{}, err
	}
	value, err := result.Matrix()
	if err != nil {
		return rules.Matrix{}, refuse("write an expression that gives a vector or a number", err)
	}
	if err := capSeries(len(value)); err != nil {
		return rules.Matrix{}, err
	}
	out := rules.Matrix{Warnings: warnings(expr, result)}
	for _, one := range value {
		out.Series = append(out.Series, rules.Series{Labels: one.Metric.Map(), Points: points(one, from)})
	}
	return out, nil
}

// begin lets a query in: until done is called the store stays open, and ctx ends when it wants to
// close. A store that is closed lets nothing in, for its files are no longer mapped.
func (s *Store) begin(ctx context.Context) (_ context.Context, done func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, unavailable("", errors.New("it is closed"))
	}
	s.queries.Add(1)
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.closing, cancel)
	return ctx, func() {
		stop()
		cancel()
		s.queries.Done()
	}, nil
}

// points gives a series's points at the caller's instants, in order of time. The engine gives
// milliseconds, floats and histograms apart.
func points(s promql.Series, from time.Time) []rules.Point {
	at := func(ms int64) time.Time { return from.Add(time.Duration(ms-from.UnixMilli()) * time.Millisecond) }
	out := make([]rules.Point, 0, len(s.Floats)+len(s.Histograms))
	for _, p := range s.Floats {
		out = append(out, rules.Point{At: at(p.T), Value: gatekeeper.Float(p.F)})
	}
	for _, p := range s.Histograms {
		out = append(out, rules.Point{At: at(p.T), Histogram: p.H.String()})
	}
	slices.SortFunc(out, func(a, b rules.Point) int { return a.At.Compare(b.At) })
	return out
}

func exec(ctx context.Context, query promql.Query) (*promql.Result, error) {
	result := query.Exec(ctx)
	if result.Err == nil {
		return result, nil
	}
	err := result.Err
	if _, ok := errors.AsType[promql.ErrTooManySamples](err); ok {
		return nil, refuse("aggregate, shorten the range, or raise max_samples", err)
	}
	_, timedOut := errors.AsType[promql.ErrQueryTimeout](err)
	_, canceled := errors.AsType[promql.ErrQueryCanceled](err)
	_, storage := errors.AsType[promql.ErrStorage](err)
	switch {
	case ctx.Err() != nil:
		return nil, unavailable("", fmt.Errorf("%w: %w", err, ctx.Err()))
	case timedOut:
		return nil, unavailable("ask for less, or raise query_timeout", fmt.Errorf("%w: %w", err, context.DeadlineExceeded))
	case canceled, storage:
		return nil, unavailable("look into the log of the metric store", err)
	default: // what remains is the expression's fault, such as many-to-many matching
		return nil, refuse("correct the expression", err)
	}
}

func unavailable(hint string, err error) error {
	return gatekeeper.Errorf(gatekeeper.CodeUnavailable, hint, "metric store: %w: %s", err, notCounted)
}

func refuse(hint string, err error) error {
	return gatekeeper.Errorf(gatekeeper.CodeInvalid, hint, "metric store: %w: %s", err, notCounted)
}

func capSeries(n int) error {
	if n <= maxSeries {
		return nil
	}
	return refuse("aggregate in the expression, so that it gives fewer series", fmt.Errorf("the answer has %d series, more than %d", n, maxSeries))
}

// warnings leaves out infos: they are advice about the expression and leave the answer whole.
func warnings(expr string, result *promql.Result) []string {
	found, _ := result.Warnings.AsStrings(expr, maxWarnings, 0)
	slices.Sort(found)
	return found
}
