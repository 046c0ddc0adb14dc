package rules

import (
	"context"
	"sync"
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
	asked := q
	if !r.anchored {
		offset := r.QueryOffset
		asked = &replay{backend: q, from: from.Add(-offset), to: to.Add(-offset), step: step, answers: map[string]*answers{}}
	}
	var readings []gatekeeper.Reading
	for at := from; !at.After(to); at = at.Add(step) {
		reading := r.Judge(ctx, asked, at)
		reading.Took = 0
		readings = append(readings, reading)
	}
	return readings
}

// replay answers queries at the instants of a range from one range query per expression.
type replay struct {
	backend  Querier
	from, to time.Time
	step     time.Duration

	mu      sync.Mutex
	answers map[string]*answers
}

// answers are one expression's, by the millisecond, which is as fine as backends are.
type answers struct {
	once     sync.Once
	byMilli  map[int64][]gatekeeper.Sample
	warnings []string
	err      error
}

// Query gives what the range query gave at an instant; templates ask at others too.
func (r *replay) Query(ctx context.Context, expr string, at time.Time) (Vector, error) {
	if since := at.Sub(r.from); since < 0 || at.After(r.to) || since%r.step != 0 {
		return r.backend.Query(ctx, expr, at)
	}
	r.mu.Lock()
	a := r.answers[expr]
	if a == nil {
		a = &answers{}
		r.answers[expr] = a
	}
	r.mu.Unlock()
	a.once.Do(func() { a.fetch(ctx, r, expr) })
	if a.err != nil {
		return Vector{}, a.err
	}
	return Vector{Samples: a.byMilli[at.UnixMilli()], Warnings: a.warnings}, nil
}

// QueryRange asks the backend.
func (r *replay) QueryRange(ctx context.Context, expr string, from, to time.Time, step time.Duration) (Matrix, error) {
	return r.backend.QueryRange(ctx, expr, from, to, step)
}

func (a *answers) fetch(ctx context.Context, r *replay, expr string) {
	m, err := r.backend.QueryRange(ctx, expr, r.from, r.to, r.step)
	a.err, a.warnings = err, m.Warnings
	a.byMilli = map[int64][]gatekeeper.Sample{}
	for _, s := range m.Series {
		for _, p := range s.Points {
			at := p.At.UnixMilli()
			a.byMilli[at] = append(a.byMilli[at], gatekeeper.Sample{Labels: s.Labels, Value: p.Value, Histogram: p.Histogram})
		}
	}
}
