package rules

import (
	"context"
	"sync"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
)

// Samples answers queries at the instants of a grid from one range query per expression and stretch,
// and asks the backend at others. It may be used concurrently.
type Samples struct {
	backend Querier
	from    time.Time
	step    time.Duration
	ends    []time.Time

	mu      sync.Mutex
	answers map[stretched]*answers
	failed  error // the first answer that was none
}

var _ Querier = (*Samples)(nil)

// NewSamples gives the samples at from, from+step, … up to the last of ends. The ends part that time into
// stretches, in order: each is fetched when an instant of it is asked for first.
func NewSamples(backend Querier, from time.Time, step time.Duration, ends ...time.Time) *Samples {
	return &Samples{backend: backend, from: from, step: step, ends: ends, answers: map[stretched]*answers{}}
}

type stretched struct {
	expr    string
	stretch int
}

// answers are one expression's in a stretch, by the millisecond, which is as fine as backends are.
type answers struct {
	once     sync.Once
	byMilli  map[int64][]gatekeeper.Sample
	warnings []string
	err      error
}

// Query gives what the range query gave at an instant of the grid; templates ask at others too.
func (s *Samples) Query(ctx context.Context, expr string, at time.Time) (Vector, error) {
	n, ok := s.stretch(at)
	if !ok {
		v, err := s.backend.Query(ctx, expr, at)
		s.note(err)
		return v, err
	}
	s.mu.Lock()
	a := s.answers[stretched{expr, n}]
	if a == nil {
		a = &answers{}
		s.answers[stretched{expr, n}] = a
	}
	s.mu.Unlock()
	a.once.Do(func() {
		a.fetch(ctx, s, expr, n)
		s.note(a.err)
	})
	if a.err != nil {
		return Vector{}, a.err
	}
	return Vector{Samples: a.byMilli[at.UnixMilli()], Warnings: a.warnings}, nil
}

// QueryRange asks the backend.
func (s *Samples) QueryRange(ctx context.Context, expr string, from, to time.Time, step time.Duration) (Matrix, error) {
	return s.backend.QueryRange(ctx, expr, from, to, step)
}

// Backend gives what is asked beside the grid.
func (s *Samples) Backend() Querier { return s.backend }

// Err gives the first error that the backend answered with; nil: none.
func (s *Samples) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// stretch says which stretch an instant of the grid is in.
func (s *Samples) stretch(at time.Time) (int, bool) {
	if since := at.Sub(s.from); since < 0 || since%s.step != 0 {
		return 0, false
	}
	for i, end := range s.ends {
		if !at.After(end) {
			return i, true
		}
	}
	return 0, false
}

func (s *Samples) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = err
	}
}

// fetch asks for a stretch of the grid.
func (a *answers) fetch(ctx context.Context, s *Samples, expr string, n int) {
	from := s.from
	if n > 0 {
		from = from.Add((s.ends[n-1].Sub(from)/s.step + 1) * s.step)
	}
	m, err := s.backend.QueryRange(ctx, expr, from, s.ends[n], s.step)
	a.err, a.warnings = err, m.Warnings
	a.byMilli = map[int64][]gatekeeper.Sample{}
	for _, one := range m.Series {
		for _, p := range one.Points {
			at := p.At.UnixMilli()
			a.byMilli[at] = append(a.byMilli[at], gatekeeper.Sample{Labels: one.Labels, Value: p.Value, Histogram: p.Histogram})
		}
	}
}
