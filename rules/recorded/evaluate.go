package recorded

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// maxInstants is at how many instants the rules of a file are evaluated for one question at most, all
// together: five rules over 1h at 15s are 1200.
const maxInstants = 50_000

// question is one query with what was evaluated for it. The engine selects one series after the other.
type question struct {
	Source
	recordings []recording
	names      map[string]bool
	left       int64 // instants
	samples    int   // recorded
}

type recording struct {
	rules.Recording
	every, anchor int64 // milliseconds: it is evaluated at anchor, and every before and after
	done          []*evaluated
}

// evaluated is what a rule records from one instant to another.
type evaluated struct {
	instants
	series   []promql.Series
	warnings annotations.Annotations
}

// instants are those of a rule, in milliseconds, both ends included.
type instants struct{ from, to int64 }

// span gives the instants of a rule that a selector can find. One that finds the latest sample before an
// instant needs that alone: an older one has ended where it is not in that.
func span(r recording, hints *storage.SelectHints, lookback time.Duration) instants {
	from := r.before(hints.Start-1) + r.every
	if hints.Range == 0 {
		from = max(from, r.before(hints.Start+lookback.Milliseconds()-1))
	}
	return instants{from, r.before(hints.End)}
}

// before gives the last instant of the rule up to t.
func (r recording) before(t int64) int64 {
	since := (t - r.anchor) % r.every
	if since < 0 {
		since += r.every
	}
	return t - since
}

// evaluate gives what a rule records at its instants of a span.
func (q *question) evaluate(ctx context.Context, place int, at instants) (*evaluated, error) {
	r := &q.recordings[place]
	if at.to < at.from {
		return &evaluated{}, nil
	}
	for _, one := range r.done {
		if one.from <= at.from && at.to <= one.to {
			return one, nil
		}
	}
	if q.left -= (at.to-at.from)/r.every + 1; q.left < 0 {
		return nil, r.failed(gatekeeper.Errorf(gatekeeper.CodeInvalid, "Take shorter ranges, or a longer interval for its group.",
			"the question needs the file's recording rules at more than %d instants", maxInstants))
	}
	one, err := q.fresh(ctx, place, at)
	if err != nil {
		return nil, r.failed(err)
	}
	r.done = append(r.done, one)
	return one, nil
}

// failure is why a recording rule could not be evaluated.
type failure struct {
	rule *recording
	err  error
}

func (f *failure) Error() string {
	return fmt.Sprintf("recording rule %s (%s:%d): %v", f.rule.Record, f.rule.File, f.rule.Line, f.err)
}

func (f *failure) Unwrap() error { return f.err }

// failed names the rule that fails, and not those that use it.
func (r *recording) failed(err error) error {
	if first, ok := errors.AsType[*failure](err); ok {
		return first
	}
	return &failure{r, err}
}

// fresh evaluates a rule over the store and the rules before it.
func (q *question) fresh(ctx context.Context, place int, at instants) (*evaluated, error) {
	r := q.recordings[place]
	ast, err := promexpr.Parser.ParseExpr(r.Expr)
	if err != nil {
		return nil, err
	}
	out := &evaluated{instants: at, warnings: annotations.Annotations{}}
	made := &maker{rule: r, index: map[string]int{}, builder: labels.NewBuilder(labels.EmptyLabels()), counts: map[int64]int{}}
	step := at.to - at.from
	if promexpr.Anchored(ast) { // it means each instant's own start and end
		step = 0
	}
	for from := at.from; from <= at.to; from += step + r.every {
		got, warned, err := q.ask(ctx, view{q, place}, r, instants{from, from + step})
		if err != nil {
			return nil, err
		}
		if err := made.add(got); err != nil {
			return nil, err
		}
		out.warnings.Merge(warned)
	}
	out.series = made.series
	for i := range out.series {
		q.samples += end(&out.series[i], at, r.every)
	}
	if q.samples > q.MaxSamples {
		return nil, promql.ErrTooManySamples("query execution")
	}
	return out, nil
}

// ask evaluates at instants, and gives copies: what the engine answers goes back to it.
func (q *question) ask(ctx context.Context, over storage.Queryable, r recording, at instants) (promql.Matrix, annotations.Annotations, error) {
	query, err := q.Engine.NewRangeQuery(ctx, over, nil, r.Expr, time.UnixMilli(at.from), time.UnixMilli(at.to), r.Interval)
	if err != nil {
		return nil, nil, err
	}
	defer query.Close()
	result := query.Exec(ctx)
	if result.Err != nil {
		return nil, nil, result.Err
	}
	answer, err := result.Matrix()
	if err != nil {
		return nil, nil, err
	}
	out := make(promql.Matrix, len(answer))
	for i, one := range answer {
		out[i] = promql.Series{Metric: one.Metric, Floats: slices.Clone(one.Floats), Histograms: slices.Clone(one.Histograms)}
		for k, p := range out[i].Histograms {
			out[i].Histograms[k].H = p.H.Copy()
		}
	}
	return out, result.Warnings, nil
}

// maker makes recorded series of what a rule's expression gives.
type maker struct {
	rule    recording
	series  []promql.Series
	index   map[string]int // of series, by their labels
	builder *labels.Builder
	counts  map[int64]int // of samples, by the instant
}

func (m *maker) add(answer promql.Matrix) error {
	for _, one := range answer {
		one.Metric = m.rule.Name(one.Metric, m.builder)
		for t := range times(one) {
			m.counts[t]++
			if err := m.rule.Within(m.counts[t]); err != nil {
				return err
			}
		}
		key := string(one.Metric.Bytes(nil))
		at, known := m.index[key]
		if !known {
			m.index[key] = len(m.series)
			m.series = append(m.series, one)
			continue
		}
		if err := join(&m.series[at], one); err != nil {
			return err
		}
	}
	return nil
}

// join adds the samples of a series with the same labels.
func join(to *promql.Series, more promql.Series) error {
	there := map[int64]bool{}
	for t := range times(*to) {
		there[t] = true
	}
	for t := range times(more) {
		if there[t] {
			return rules.ErrSameLabels
		}
	}
	to.Floats = append(to.Floats, more.Floats...)
	to.Histograms = append(to.Histograms, more.Histograms...)
	slices.SortFunc(to.Floats, func(a, b promql.FPoint) int { return cmp.Compare(a.T, b.T) })
	slices.SortFunc(to.Histograms, func(a, b promql.HPoint) int { return cmp.Compare(a.T, b.T) })
	return nil
}

// times gives the instants of a series' samples.
func times(s promql.Series) func(yield func(int64) bool) {
	return func(yield func(int64) bool) {
		for _, p := range s.Floats {
			if !yield(p.T) {
				return
			}
		}
		for _, p := range s.Histograms {
			if !yield(p.T) {
				return
			}
		}
	}
}

// end puts a stale marker where a series is not recorded any more, and gives how many samples it has.
func end(s *promql.Series, at instants, every int64) int {
	there := map[int64]bool{}
	for t := range times(*s) {
		there[t] = true
	}
	markers := 0
	for t := range there {
		if next := t + every; next <= at.to && !there[next] {
			s.Floats = append(s.Floats, promql.FPoint{T: next, F: math.Float64frombits(value.StaleNaN)})
			markers++
		}
	}
	if markers > 0 {
		slices.SortFunc(s.Floats, func(a, b promql.FPoint) int { return cmp.Compare(a.T, b.T) })
	}
	return len(there) + markers
}
