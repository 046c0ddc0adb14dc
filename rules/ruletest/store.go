package ruletest

import (
	"context"
	"errors"
	"math"
	"os"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/model/value"
	prom "github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
	"github.com/gatekeeper-engine/gatekeeper/rules/recorded"
)

// store holds the samples of one test, in the head of Prometheus's own database: native histograms and
// stale markers then are what they are there.
type store struct {
	dir    string
	head   *tsdb.Head
	engine *prom.Engine
	left   []*series // what is not yet appended
	broken error     // the first sample of a rule that the database refused
}

// series is one input series with the samples that are not appended yet.
type series struct {
	labels  labels.Labels
	samples []prom.Sample
}

// promtool's limit of the samples of one query, and ours for releases, whose backends have more room.
const (
	samplesOfPromtool = 10_000
	samplesOfReleases = 50_000_000
)

// lookback is how long an instant finds the sample before it, as in Prometheus.
const lookback = 5 * time.Minute

// newStore gives a store whose input series begin at start. The caller closes it.
func newStore(f *File, t *Test, start time.Time, maxQuery int) (*store, error) {
	dir, err := os.MkdirTemp("", "gatekeeper-test-")
	if err != nil {
		return nil, err
	}
	o := tsdb.DefaultHeadOptions()
	o.ChunkDirRoot = dir
	o.ChunkRange = (24 * time.Hour).Milliseconds()
	head, err := tsdb.NewHead(nil, nil, nil, nil, o, nil)
	if err == nil {
		err = head.Init(math.MinInt64)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	s := &store{dir: dir, head: head, engine: prom.NewEngine(prom.EngineOpts{
		MaxSamples: maxQuery, Timeout: 100 * time.Second, LookbackDelta: lookback, Parser: promexpr.Parser,
		NoStepSubqueryIntervalFn: func(int64) int64 { return time.Duration(f.EvaluationInterval).Milliseconds() },
		EnableAtModifier:         true, EnableNegativeOffset: true,
	})}
	if err := s.input(t, start); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *store) close() error {
	return errors.Join(s.engine.Close(), s.head.Close(), os.RemoveAll(s.dir))
}

// input takes the test's series; of two with the same labels the later one counts, as in promtool.
func (s *store) input(t *Test, start time.Time) error {
	known := map[uint64]*series{}
	for _, from := range t.InputSeries {
		set, values, err := from.parse()
		if err != nil {
			return err
		}
		one := known[set.Hash()]
		if one == nil {
			one = &series{}
			known[set.Hash()] = one
			s.left = append(s.left, one)
		}
		*one = series{labels: set}
		for i, v := range values {
			if !v.Omitted {
				at := start.Add(time.Duration(i) * time.Duration(t.Interval))
				one.samples = append(one.samples, prom.Sample{T: timestamp.FromTime(at), F: v.Value, H: v.Histogram})
			}
		}
	}
	return nil
}

// last is the instant of the last input sample that is not appended yet.
func (s *store) last() (at int64) {
	at = math.MinInt64
	for _, one := range s.left {
		if n := len(one.samples); n > 0 {
			at = max(at, one.samples[n-1].T)
		}
	}
	return at
}

// until appends the input samples up to an instant.
func (s *store) until(ctx context.Context, at time.Time) error {
	app, limit := s.head.Appender(ctx), timestamp.FromTime(at)
	for _, one := range s.left {
		n := 0
		for ; n < len(one.samples) && one.samples[n].T <= limit; n++ {
			var err error
			if sample := one.samples[n]; sample.H != nil {
				_, err = app.AppendHistogram(0, one.labels, sample.T, nil, sample.H)
			} else {
				_, err = app.Append(0, one.labels, sample.T, sample.F)
			}
			if err != nil {
				return errors.Join(err, app.Rollback())
			}
		}
		one.samples = one.samples[n:]
	}
	return app.Commit()
}

// Querier reads the samples.
func (s *store) Querier(mint, maxt int64) (storage.Querier, error) {
	return tsdb.NewBlockQuerier(tsdb.NewRangeHead(s.head, mint, maxt), mint, maxt)
}

// Appender takes what rules record. A sample that the database refuses is noted: promtool lets the
// evaluation fail for it.
func (s *store) Appender(ctx context.Context) storage.Appender {
	return &appender{s.head.Appender(ctx), s}
}

type appender struct {
	storage.Appender
	of *store
}

func (a *appender) note(err error) {
	if err != nil && a.of.broken == nil {
		a.of.broken = err
	}
}

// Append appends a float. A stale marker may be refused.
func (a *appender) Append(ref storage.SeriesRef, l labels.Labels, t int64, v float64) (storage.SeriesRef, error) {
	got, err := a.Appender.Append(ref, l, t, v)
	if !value.IsStaleNaN(v) {
		a.note(err)
	}
	return got, err
}

// AppendHistogram appends a native histogram.
func (a *appender) AppendHistogram(ref storage.SeriesRef, l labels.Labels, t int64, h *histogram.Histogram, fh *histogram.FloatHistogram) (storage.SeriesRef, error) {
	got, err := a.Appender.AppendHistogram(ref, l, t, h, fh)
	a.note(err)
	return got, err
}

// refused gives the first sample that was refused since it was asked last.
func (s *store) refused() error {
	err := s.broken
	s.broken = nil
	return err
}

// asked is the store as a backend of rules.
type asked struct {
	*store
	query      rules.QueryFunc
	warnings   bool              // whether a warning of PromQL makes an answer partial, as for releases; rules of Prometheus pass over it
	recordings []rules.Recording // of the release that asks
}

func (s *store) asked(warnings bool) *asked {
	return &asked{store: s, query: rules.EngineQuery(s.engine, s), warnings: warnings}
}

var _ rules.RecordingQuerier = (*asked)(nil)

// WithRecordings gives the store with what a release's recording rules record.
func (a *asked) WithRecordings(all []rules.Recording) (rules.Querier, error) {
	with := *a
	with.recordings = all
	return &with, nil
}

// over gives the samples as a question sees them.
func (a *asked) over(at time.Time) storage.Queryable {
	if len(a.recordings) == 0 {
		return a.store
	}
	return recorded.Source{Engine: a.engine, Store: a.store, Lookback: lookback, MaxSamples: samplesOfReleases}.Over(a.recordings, at)
}

// Query evaluates at one instant.
func (a *asked) Query(ctx context.Context, expr string, at time.Time) (rules.Vector, error) {
	q, err := a.engine.NewInstantQuery(ctx, a.over(at), nil, expr, at)
	if err != nil {
		return rules.Vector{}, err
	}
	defer q.Close()
	result := q.Exec(ctx)
	if result.Err != nil {
		return rules.Vector{}, result.Err
	}
	v := rules.Vector{Warnings: a.warned(expr, result)}
	switch all := result.Value.(type) {
	case prom.Scalar:
		v.Samples = []gatekeeper.Sample{{Value: gatekeeper.Float(all.V)}}
	case prom.Vector:
		for _, one := range all {
			v.Samples = append(v.Samples, sampleOf(one.Metric, one.F, one.H))
		}
	default:
		return v, errors.New("a rule needs an instant vector or a number, not a " + string(result.Value.Type()))
	}
	return v, nil
}

// QueryRange evaluates at every step.
func (a *asked) QueryRange(ctx context.Context, expr string, from, to time.Time, step time.Duration) (rules.Matrix, error) {
	q, err := a.engine.NewRangeQuery(ctx, a.over(from), nil, expr, from, to, step)
	if err != nil {
		return rules.Matrix{}, err
	}
	defer q.Close()
	result := q.Exec(ctx)
	all, err := result.Matrix()
	if err != nil {
		return rules.Matrix{}, err
	}
	m := rules.Matrix{Warnings: a.warned(expr, result)}
	for _, one := range all {
		line := rules.Series{Labels: one.Metric.Map()}
		for _, p := range one.Floats {
			line.Points = append(line.Points, rules.Point{At: timestamp.Time(p.T), Value: gatekeeper.Float(p.F)})
		}
		for _, p := range one.Histograms {
			line.Points = append(line.Points, rules.Point{At: timestamp.Time(p.T), Histogram: p.H.String()})
		}
		m.Series = append(m.Series, line)
	}
	return m, nil
}

func (a *asked) warned(expr string, result *prom.Result) []string {
	if !a.warnings {
		return nil
	}
	found, _ := result.Warnings.AsStrings(expr, 10, 0)
	return found
}

func sampleOf(set labels.Labels, v float64, h *histogram.FloatHistogram) gatekeeper.Sample {
	s := gatekeeper.Sample{Labels: set.Map()}
	if h == nil {
		s.Value = gatekeeper.Float(v)
	} else {
		s.Histogram = h.String()
	}
	return s
}
