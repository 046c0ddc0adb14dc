package rules

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/model/value"
	prom "github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"go.yaml.in/yaml/v3"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/yamlnode"
)

// Recording is a recording rule: what its expression gives becomes series of its own. The operator's are
// evaluated slot by slot and kept by metric backends, see [Recorder]; those of a health file are the
// release's own, and evaluated where somebody asks, see [RecordingQuerier].
type Recording struct {
	Record      string // the name of the series
	Expr        string // PromQL; of a bound one with the release's values in it
	Labels      map[string]string
	Group       string // of its group; unique in its file
	Interval    time.Duration
	QueryOffset time.Duration // it is asked for, and recorded at, the instant that long before the slot
	Limit       int           // more series than that are an error, and none is recorded; 0 and less: no limit
	File        string        // the file it stands in
	Line        int           // of its first key, from 1
	Place       int           // in its group, from 0, alerting rules included
}

// RecordingRules reads a rule file of recording rules only, in their order. Its error is [Problems].
func RecordingRules(name, text string) ([]Recording, error) {
	l := newLoader(Bundle{Name: name})
	l.operators = true
	if n := len(text); n > MaxBundle {
		l.reader(name, "").file(checkSyntax, "Split it into several files.", "the rule file has %d bytes, more than %d", n, MaxBundle)
	} else {
		l.ruleFile(path.Base(name), text)
	}
	if l.out.failed {
		return nil, l.out.sorted().Errors()
	}
	all := make([]Recording, len(l.recordings))
	for i, r := range l.recordings {
		all[i] = r.Recording
	}
	return all, nil
}

// recordingNode is a recording rule with the places its parts stand at.
type recordingNode struct {
	Recording
	r        *reader
	at       *yaml.Node // its mapping
	name     *yaml.Node
	exprNode *yaml.Node
	expr     *expression // nil when it does not parse
}

// record reads one recording rule, the place-th of its group (model/rulefmt of Prometheus).
func (l *loader) record(r *reader, g group, n *yaml.Node, place int) {
	rule := &recordingNode{
		Recording: Recording{
			Group: g.name, Interval: g.interval, QueryOffset: g.queryOffset, Limit: g.limit,
			File: r.src.name, Line: yamlnode.Follow(n).Line, Place: place,
		},
		r: r, at: n,
	}
	own := map[string]pair{}
	alerting := func(name string) key {
		return key{name: name, read: func(n *yaml.Node) {
			r.fail(n, checkKey, "Prometheus would refuse it too: a rule records or alerts.", "a recording rule can't have %q", name)
		}}
	}
	r.object(n, "the recording rule",
		key{name: "record", must: true, read: func(n *yaml.Node) { rule.name, rule.Record = n, r.metricName(n) }},
		key{name: "expr", must: true, read: func(n *yaml.Node) {
			rule.exprNode = n
			if rule.expr = r.expression(n, "expr"); rule.expr == nil {
				return
			}
			if rule.Expr = rule.expr.text; l.operators {
				r.noVariables(n)
			}
		}},
		key{name: "labels", read: func(n *yaml.Node) { own = r.labelPairs(n, "the rule's labels", "a recorded series") }},
		alerting("alert"), alerting("for"), alerting("keep_firing_for"), alerting("annotations"),
	)
	rule.Labels = map[string]string{}
	for _, set := range []map[string]pair{g.labels, own} {
		for name, p := range set {
			rule.Labels[name] = p.value.Value
		}
	}
	l.recordings = append(l.recordings, rule)
}

func (r *reader) metricName(n *yaml.Node) string {
	name, ok := r.filled(n, "the recorded series' name")
	if ok && (!model.UTF8Validation.IsValidMetricName(name) || strings.ContainsAny(name, "{}")) {
		r.fail(n, checkValue, "Labels go under labels, an expression under expr.", "%q can't be the name of a series", name)
	}
	return name
}

// noVariables refuses variables where there is no release to give them values.
func (r *reader) noVariables(n *yaml.Node) {
	n = yamlnode.Follow(n)
	for _, m := range variable.FindAllStringIndex(n.Value, -1) {
		r.tellAt(Error, n, m[0], m[1]-m[0], checkVariable, "Group by the label instead: the alert selects what belongs to its release.",
			"variable %s can't stand in a recording rule", n.Value[m[0]:m[1]])
	}
}

// QueryFunc asks PromQL at one instant; a scalar is one sample without labels. A partial answer is an error.
type QueryFunc func(ctx context.Context, expr string, at time.Time) (prom.Vector, error)

// EngineQuery gives the queries of an engine over a store.
func EngineQuery(engine *prom.Engine, store storage.Queryable) QueryFunc {
	return func(ctx context.Context, expr string, at time.Time) (prom.Vector, error) {
		q, err := engine.NewInstantQuery(ctx, store, nil, expr, at)
		if err != nil {
			return nil, err
		}
		defer q.Close()
		result := q.Exec(ctx)
		if result.Err != nil {
			return nil, result.Err
		}
		switch v := result.Value.(type) {
		case prom.Vector:
			return append(prom.Vector(nil), v...), nil // v goes back to the engine
		case prom.Scalar:
			return prom.Vector{prom.Sample{T: v.T, F: v.V, Metric: labels.EmptyLabels()}}, nil
		default:
			return nil, fmt.Errorf("%s gives a %s: a rule needs an instant vector or a number", capText(expr, 200), result.Value.Type())
		}
	}
}

// Recorder evaluates one recording rule, slot after slot (rules/recording.go and group.go of
// Prometheus). It belongs to one goroutine.
type Recorder struct {
	rule Recording
	last map[uint64]labels.Labels // recorded at the last slot
}

// NewRecorder gives the recorder of a rule that has recorded nothing yet.
func NewRecorder(rule Recording) *Recorder { return &Recorder{rule: rule} }

// RecordGroup evaluates recording rules of one group in their order: a rule sees what those before it
// recorded at the same slot. One that fails does not stop those behind it; the error names them all.
func RecordGroup(ctx context.Context, group []*Recorder, query QueryFunc, to storage.Appendable, at time.Time) error {
	var failed []error
	for _, r := range group {
		if err := r.Record(ctx, query, to, at); err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// Record evaluates the rule at a slot and appends what it gives, and a stale marker to each series
// that it gave at the last slot only. An error has recorded nothing; the series then go on as they were.
func (r *Recorder) Record(ctx context.Context, query QueryFunc, to storage.Appendable, at time.Time) error {
	at = at.Add(-r.rule.QueryOffset)
	samples, err := query(ctx, r.rule.Expr, at)
	if err == nil {
		samples, err = r.rule.series(samples)
	}
	if err != nil {
		return fmt.Errorf("recording rule %s: %w", r.rule.Record, err)
	}
	app := to.Appender(ctx)
	app.SetOptions(&storage.AppendOptions{DiscardOutOfOrder: true})
	recorded, err := r.append(app, samples, timestamp.FromTime(at))
	if err != nil {
		return fmt.Errorf("recording rule %s: %w", r.rule.Record, errors.Join(err, app.Rollback()))
	}
	if err := app.Commit(); err != nil {
		return fmt.Errorf("recording rule %s: %w", r.rule.Record, err)
	}
	r.last = recorded
	return nil
}

func (r *Recorder) append(app storage.Appender, samples prom.Vector, at int64) (map[uint64]labels.Labels, error) {
	recorded := make(map[uint64]labels.Labels, len(samples))
	for _, s := range samples {
		var err error
		if s.H != nil {
			_, err = app.AppendHistogram(0, s.Metric, at, nil, s.H)
		} else {
			_, err = app.Append(0, s.Metric, at, s.F)
		}
		if err != nil && !late(err) {
			return nil, fmt.Errorf("append %s: %w", s.Metric, err)
		}
		if err == nil {
			recorded[s.Metric.Hash()] = s.Metric
		}
	}
	for hash, series := range r.last {
		if _, still := recorded[hash]; still {
			continue
		}
		if _, err := app.Append(0, series, at, math.Float64frombits(value.StaleNaN)); err != nil && !late(err) {
			return nil, fmt.Errorf("end %s: %w", series, err)
		}
	}
	return recorded, nil
}

// late says that there is a sample of that instant or a later one already, as when another rule
// records the same series.
func late(err error) bool {
	return errors.Is(err, storage.ErrOutOfOrderSample) || errors.Is(err, storage.ErrTooOldSample) ||
		errors.Is(err, storage.ErrDuplicateSampleForTimestamp)
}

// series names and labels what the expression gave.
func (r Recording) series(samples prom.Vector) (prom.Vector, error) {
	out := make(prom.Vector, len(samples))
	b := labels.NewBuilder(labels.EmptyLabels())
	for i, s := range samples {
		s.Metric = r.Name(s.Metric, b)
		out[i] = s
	}
	switch {
	case out.ContainsSameLabelset():
		return nil, ErrSameLabels
	default:
		return out, r.Within(len(out))
	}
}

// ErrSameLabels is the error of a recording rule two of whose samples of one instant have the same labels.
var ErrSameLabels = gatekeeper.Errorf(gatekeeper.CodeInvalid, "Keep the label that tells them apart.",
	"two of its samples have the same labels, so nothing was recorded")

// Within is an error when the rule gives more series at an instant than its group's limit.
func (r Recording) Within(series int) error {
	if r.Limit <= 0 || series <= r.Limit {
		return nil
	}
	return gatekeeper.Errorf(gatekeeper.CodeInvalid, "Aggregate in its expression, or raise the group's limit.",
		"it gives %d series, more than the group's limit of %d, so nothing was recorded", series, r.Limit)
}

// Name gives the labels of what is recorded for a series of the expression; b is overwritten.
func (r Recording) Name(series labels.Labels, b *labels.Builder) labels.Labels {
	b.Reset(series)
	b.Set(model.MetricNameLabel, r.Record)
	for name, text := range r.Labels {
		b.Set(name, text)
	}
	return b.Labels()
}
