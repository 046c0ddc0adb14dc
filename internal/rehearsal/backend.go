package rehearsal

import (
	"context"
	"errors"
	"time"

	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// backend is the script's backend with its faults.
type backend struct {
	inner  rules.Querier
	start  time.Time
	faults []Fault
}

// fault gives what is wrong now; "" when nothing is.
func (b *backend) fault() FaultKind {
	at := time.Since(b.start)
	for _, f := range b.faults {
		if f.Kind != Killed && f.holds(at) {
			return f.Kind
		}
	}
	return ""
}

var _ rules.RecordingQuerier = (*backend)(nil)

// WithRecordings gives the backend with recording rules, where it can evaluate them. It has the same faults.
func (b *backend) WithRecordings(all []rules.Recording) (rules.Querier, error) {
	inner, err := rules.WithRecordings(b.inner, all)
	if err != nil {
		return nil, err
	}
	with := *b
	with.inner = inner
	return &with, nil
}

var warned = []string{"the test's script says that this answer is partial"}

// trouble is what a query meets before it could be answered.
func trouble(ctx context.Context, kind FaultKind) error {
	switch kind {
	case FaultError:
		return errors.New("connection refused (by the test's script)")
	case FaultBusy:
		return errors.New("429 Too Many Requests (by the test's script)")
	case FaultSlow:
		<-ctx.Done()
		return ctx.Err()
	case FaultEmpty, FaultPartial, Killed:
	}
	return nil
}

// Query answers, unless something is wrong.
func (b *backend) Query(ctx context.Context, expr string, at time.Time) (rules.Vector, error) {
	kind := b.fault()
	if err := trouble(ctx, kind); err != nil || kind == FaultEmpty {
		return rules.Vector{}, err
	}
	v, err := b.inner.Query(ctx, expr, at)
	if kind == FaultPartial {
		v.Warnings = warned
	}
	return v, err
}

// QueryRange answers, unless something is wrong.
func (b *backend) QueryRange(ctx context.Context, expr string, from, to time.Time, step time.Duration) (rules.Matrix, error) {
	kind := b.fault()
	if err := trouble(ctx, kind); err != nil || kind == FaultEmpty {
		return rules.Matrix{}, err
	}
	m, err := b.inner.QueryRange(ctx, expr, from, to, step)
	if kind == FaultPartial {
		m.Warnings = warned
	}
	return m, err
}
