package tsdb

import (
	"context"
	"time"

	"github.com/prometheus/prometheus/storage"

	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/recorded"
)

var _ rules.RecordingQuerier = (*Store)(nil)

// WithRecordings gives the store with what a release's recording rules record; nothing is written.
func (s *Store) WithRecordings(all []rules.Recording) (rules.Querier, error) {
	return recordings{s, all}, nil
}

// recordings are a release's recording rules over the store.
type recordings struct {
	store *Store
	all   []rules.Recording
}

// Query evaluates expr at the instant at, to the millisecond.
func (r recordings) Query(ctx context.Context, expr string, at time.Time) (rules.Vector, error) {
	return r.store.query(ctx, r.over(at), expr, at)
}

// QueryRange evaluates expr at from, from+step, … to.
func (r recordings) QueryRange(ctx context.Context, expr string, from, to time.Time, step time.Duration) (rules.Matrix, error) {
	return r.store.queryRange(ctx, r.over(from), expr, from, to, step)
}

func (r recordings) over(at time.Time) storage.Queryable {
	return recorded.Source{Engine: r.store.engine, Store: r.store.db, Lookback: lookback, MaxSamples: r.store.maxSamples}.Over(r.all, at)
}
