package backtest

import (
	"context"
	"sync"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// maxPoints is how many points a backend gives of one series in one request: Prometheus's own limit.
const maxPoints = 11_000

// samples answers queries at the instants of a grid from one range query per expression and stretch.
// It may be used concurrently.
type samples struct {
	backend rules.Querier
	from    time.Time
	step    time.Duration
	ends    []time.Time // of the stretches, in order: the later ones are fetched only when they are needed
	back    time.Duration

	mu      sync.Mutex
	answers map[question]*answer
	failed  error // the first answer that was none
}

type question struct {
	expr    string
	stretch int
}

// answer is what one range query gave, by the millisecond, which is as fine as backends are.
type answer struct {
	once     sync.Once
	byMilli  map[int64][]gatekeeper.Sample
	warnings []string
	err      error
}

// Query gives what the range query gave at an instant of the grid, and asks the backend at others.
func (s *samples) Query(ctx context.Context, expr string, at time.Time) (rules.Vector, error) {
	slot := at.Add(s.back)
	n, ok := s.stretch(slot)
	if !ok {
		v, err := s.backend.Query(ctx, expr, at)
		s.note(err)
		return v, err
	}
	s.mu.Lock()
	a := s.answers[question{expr, n}]
	if a == nil {
		a = &answer{}
		s.answers[question{expr, n}] = a
	}
	s.mu.Unlock()
	a.once.Do(func() {
		a.fetch(ctx, s, expr, n)
		s.note(a.err)
	})
	if a.err != nil {
		return rules.Vector{}, a.err
	}
	return rules.Vector{Samples: a.byMilli[slot.UnixMilli()], Warnings: a.warnings}, nil
}

// QueryRange asks the backend.
func (s *samples) QueryRange(ctx context.Context, expr string, from, to time.Time, step time.Duration) (rules.Matrix, error) {
	return s.backend.QueryRange(ctx, expr, from, to, step)
}

// stretch says which stretch an instant of the grid is in.
func (s *samples) stretch(at time.Time) (int, bool) {
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

func (s *samples) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = err
	}
}

// failure gives the first error that the backend answered with.
func (s *samples) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// fetch asks for a stretch of the grid. Slots are asked for the instant that is back before them.
func (a *answer) fetch(ctx context.Context, s *samples, expr string, n int) {
	from := s.from
	if n > 0 {
		from = from.Add((s.ends[n-1].Sub(from)/s.step + 1) * s.step)
	}
	m, err := s.backend.QueryRange(ctx, expr, from.Add(-s.back), s.ends[n].Add(-s.back), s.step)
	a.err, a.warnings = err, m.Warnings
	a.byMilli = map[int64][]gatekeeper.Sample{}
	for _, one := range m.Series {
		for _, p := range one.Points {
			at := p.At.Add(s.back).UnixMilli()
			a.byMilli[at] = append(a.byMilli[at], gatekeeper.Sample{Labels: one.Labels, Value: p.Value, Histogram: p.Histogram})
		}
	}
}
