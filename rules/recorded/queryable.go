package recorded

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"

	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// Source is an engine over a store.
type Source struct {
	Engine     *promql.Engine // without a tracker of active queries: queries run inside of others
	Store      storage.Queryable
	Lookback   time.Duration // the engine's: how long an instant finds the sample before it
	MaxSamples int           // that the recorded series of one question may have together
}

// Over gives the store as one question sees it: a query at an instant, or over a range that begins there,
// of milliseconds both. It answers as [rules.RecordingQuerier] says, and serves one query.
func (s Source) Over(all []rules.Recording, at time.Time) storage.Queryable {
	q := &question{Source: s, names: map[string]bool{}, left: maxInstants}
	for _, r := range all {
		q.names[r.Record] = true
		q.recordings = append(q.recordings, recording{
			Recording: r, every: r.Interval.Milliseconds(), anchor: at.UnixMilli() - r.QueryOffset.Milliseconds(),
		})
	}
	return view{q, len(all)}
}

// view is the store as a recording rule sees it: with what the rules before it record.
type view struct {
	*question
	known int
}

// Querier gives a querier of the store, and of what is recorded.
func (v view) Querier(mint, maxt int64) (storage.Querier, error) {
	inner, err := v.Store.Querier(mint, maxt)
	if err != nil {
		return nil, err
	}
	return &querier{inner, v, mint, maxt}, nil
}

type querier struct {
	storage.Querier
	view       view
	mint, maxt int64
}

// Select gives the store's series but for those that the file records, and the recorded ones.
func (q *querier) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	if hints == nil {
		hints = &storage.SelectHints{Start: q.mint, End: q.maxt, Range: q.maxt - q.mint}
	}
	found := &series{at: -1, warnings: annotations.Annotations{}}
	if !q.view.names[exactly(matchers)] {
		found.takeBut(q.view.names, q.Querier.Select(ctx, true, hints, matchers...))
	}
	for i := 0; i < q.view.known && found.err == nil; i++ {
		if r := q.view.recordings[i]; promexpr.MatchesName(r.Record, matchers) {
			one, err := q.view.evaluate(ctx, i, span(r, hints, q.view.Lookback))
			found.take(one, err, matchers)
		}
	}
	found.distinct()
	if sorted {
		slices.SortFunc(found.all, func(a, b storage.Series) int { return labels.Compare(a.Labels(), b.Labels()) })
	}
	return found
}

// exactly gives the one metric name that matchers let through; "" where they say something else of it.
func exactly(matchers []*labels.Matcher) string {
	for _, m := range matchers {
		if m.Name == model.MetricNameLabel && m.Type == labels.MatchEqual {
			return m.Value
		}
	}
	return ""
}

// series is a set of series that is there as a whole.
type series struct {
	all      []storage.Series
	at       int
	warnings annotations.Annotations
	err      error
}

// Next goes to the next series.
func (s *series) Next() bool {
	s.at++
	return s.err == nil && s.at < len(s.all)
}

// At gives the series.
func (s *series) At() storage.Series { return s.all[s.at] }

// Err gives why there is none.
func (s *series) Err() error { return s.err }

// Warnings gives what the rules' evaluations warned of.
func (s *series) Warnings() annotations.Annotations { return s.warnings }

// takeBut takes the store's series of other names.
func (s *series) takeBut(names map[string]bool, from storage.SeriesSet) {
	for from.Next() {
		if one := from.At(); !names[one.Labels().Get(model.MetricNameLabel)] {
			s.all = append(s.all, one)
		}
	}
	s.err = from.Err()
	s.warnings.Merge(from.Warnings())
}

// take takes what a rule records, as far as matchers let it through.
func (s *series) take(from *evaluated, err error, matchers []*labels.Matcher) {
	if s.err = err; err != nil {
		return
	}
	s.warnings.Merge(from.warnings)
	for _, one := range from.series {
		if matches(one.Metric, matchers) {
			s.all = append(s.all, promql.NewStorageSeries(one))
		}
	}
}

// distinct is an error where two rules record the same series.
func (s *series) distinct() {
	seen := make(map[string]bool, len(s.all))
	for _, one := range s.all {
		key := string(one.Labels().Bytes(nil))
		if seen[key] && s.err == nil {
			s.err = fmt.Errorf("%s: %w", one.Labels(), rules.ErrSameLabels)
		}
		seen[key] = true
	}
}

func matches(set labels.Labels, matchers []*labels.Matcher) bool {
	return !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(set.Get(m.Name)) })
}
