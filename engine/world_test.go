package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
	"github.com/gatekeeper-engine/gatekeeper/engine"
	"github.com/gatekeeper-engine/gatekeeper/internal/memory"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// world is what a release happens in: a service whose versions have traffic and errors by a
// script, Prometheus's own engine over it, targets that can be changed, hang or refuse, and the
// real engine. Times are since D, the instant at which the version is deployed.
type world struct {
	t       *testing.T
	d       time.Time
	journal *memory.Journal
	cfg     engine.Config
	e       *engine.Engine
	stop    func()
	fenced  <-chan struct{} // closed when Run ended because the journal is another's

	mu      sync.Mutex
	series  func(name, version string, at time.Duration) (float64, bool)
	down    func(at time.Duration) bool // the backend can't be reached at that moment
	targets map[string]*target
	told    []gatekeeper.Fact
	serves  map[string]bool // the versions that have been deployed
	queries int
}

// R of semantics.md, section 6, on gauges: what a script says is what a query sees.
const ruleR = `
service: checkout
window: 30m
groups:
  - name: g
    interval: 15s
    rules:
      - alert: R
        expr: sum(errors{service="${service}", version="${version}"}) / sum(requests{service="${service}", version="${version}"}) > 0.01
        for: 2m
`

const flagPlan = `
rollback:
  - action: switch/set
    with: {name: one}
    recover_within: 2m
`

func newWorld(t *testing.T) *world {
	w := &world{t: t, d: time.Now(), targets: map[string]*target{}, serves: map[string]bool{"v1": true}, journal: memory.New()}
	w.traffic(always(0.002))
	for _, name := range []string{"one", "two"} {
		w.targets[name] = &target{world: w, name: name, live: "v1"}
	}
	w.cfg = engine.Config{
		Backends: map[string]rules.Querier{"": w.backend()},
		Actions:  w.registry(),
		Phase:    func(string, string, string, time.Duration) time.Duration { return 0 },
		Tell: func(_ gatekeeper.Release, f gatekeeper.Fact) {
			w.mu.Lock()
			w.told = append(w.told, f)
			w.mu.Unlock()
		},
	}
	w.start()
	t.Cleanup(func() {
		w.stop()
		w.replayAll()
	})
	return w
}

// start runs an engine on the journal; an earlier one loses it.
func (w *world) start() {
	w.cfg.Journal = w.journal
	w.boot()
}

// boot runs an engine with the world's configuration.
func (w *world) boot() {
	e, err := engine.New(w.cfg)
	require.NoError(w.t, err)
	ctx, cancel := context.WithCancel(w.t.Context())
	over := make(chan struct{})
	fenced := make(chan struct{})
	go func() {
		defer close(over)
		switch err := e.Run(ctx); {
		case errors.Is(err, gatekeeper.ErrFenced):
			close(fenced)
		case err != nil:
			w.t.Errorf("engine: %v", err)
		}
	}()
	synctest.Wait()
	require.NoError(w.t, e.Ready())
	w.e, w.fenced, w.stop = e, fenced, func() { cancel(); <-over }
}

// kill ends the engine as kill -9 would: nothing more of it reaches the journal.
func (w *world) kill() {
	w.journal = w.journal.Reopen()
	w.stop()
}

// to sleeps until D + at.
func (w *world) to(at time.Duration) {
	time.Sleep(time.Until(w.d.Add(at)))
	synctest.Wait()
}

func (w *world) since(t time.Time) time.Duration { return t.Sub(w.d).Round(time.Millisecond) }

// now is the time since D, also for what runs beside the test.
func (w *world) now() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Since(w.d)
}

// open opens version v2 over v1 and marks it as deployed at once: D is now.
func (w *world) open(file string, with ...func(*engine.OpenRequest)) gatekeeper.Release {
	w.t.Helper()
	req := engine.OpenRequest{Version: "v2", PreviousVersion: "v1", Bundle: &rules.Bundle{Name: "health.yml", File: file}}
	for _, f := range with {
		f(&req)
	}
	r, err := w.e.Open(w.t.Context(), req)
	require.NoError(w.t, err)
	return r
}

func (w *world) deploy(id string) {
	w.t.Helper()
	w.targets["one"].set("v2")
	w.targets["two"].set("v2")
	version := w.release(id).Version
	w.mu.Lock()
	w.d, w.serves[version] = time.Now(), true
	w.mu.Unlock()
	_, err := w.e.Deployed(w.t.Context(), id, engine.By{Actor: "pipeline"})
	require.NoError(w.t, err)
}

func (w *world) release(id string) gatekeeper.Release {
	w.t.Helper()
	r, err := w.e.Release(w.t.Context(), id)
	require.NoError(w.t, err)
	return r
}

// facts gives the bodies of one kind with their times since D.
func (w *world) facts(id string, kind gatekeeper.Kind) (at []time.Duration, bodies []gatekeeper.Body) {
	w.t.Helper()
	all, err := w.e.Facts(w.t.Context(), id)
	require.NoError(w.t, err)
	for _, f := range all {
		if f.Body.Kind() == kind {
			at, bodies = append(at, w.since(f.At)), append(bodies, f.Body)
		}
	}
	return at, bodies
}

// one gives the only fact of a kind.
func (w *world) one(id string, kind gatekeeper.Kind) (time.Duration, gatekeeper.Body) {
	w.t.Helper()
	at, bodies := w.facts(id, kind)
	require.Len(w.t, bodies, 1, "facts of kind %s; %s", kind, w.story(id))
	return at[0], bodies[0]
}

// pending gives when the rule became pending last.
func (w *world) pending(id string) time.Duration {
	w.t.Helper()
	_, bodies := w.facts(id, gatekeeper.KindJudged)
	var since time.Time
	for _, b := range bodies {
		if p := b.(gatekeeper.Judged).Track.Pending(); !p.IsZero() {
			since = p
		}
	}
	require.False(w.t, since.IsZero(), "never pending; %s", w.story(id))
	return w.since(since)
}

// story is the journal for a failing test's message; it is read only then.
func (w *world) story(id string) fmt.Stringer { return story{w, id} }

type story struct {
	*world
	id string
}

func (w story) String() string {
	id := w.id
	all, _ := w.e.Facts(w.t.Context(), id)
	s := "the journal:\n"
	for _, f := range all {
		body, _ := json.Marshal(f.Body)
		s += fmt.Sprintf("  %8s %s %.300s\n", w.since(f.At), f.Body.Kind(), body)
	}
	return s
}

func (w *world) outcome(id string, want gatekeeper.Outcome) gatekeeper.Release {
	w.t.Helper()
	r := w.release(id)
	require.Equal(w.t, want, r.Outcome, w.story(id))
	return r
}

// traffic scripts the error ratio of the version that is live at target one; the other has none.
func (w *world) traffic(ratio func(at time.Duration) float64) {
	w.script(func(name, version string, at time.Duration) (float64, bool) {
		bad := 0.002
		if version == "v2" {
			bad = ratio(at)
		}
		if name == "errors" {
			return 10 * bad, true
		}
		return 10, true
	})
}

func (w *world) script(series func(name, version string, at time.Duration) (float64, bool)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.series = series
}

func always(v float64) func(time.Duration) float64 { return func(time.Duration) float64 { return v } }

// between gives bad from a to b and 0.2% otherwise.
func between(a, b time.Duration, bad float64) func(time.Duration) float64 {
	return func(at time.Duration) float64 {
		if at >= a && at < b {
			return bad
		}
		return 0.002
	}
}

const forever = 1000 * time.Hour

func phase(d time.Duration) func(string, string, string, time.Duration) time.Duration {
	return func(string, string, string, time.Duration) time.Duration { return d }
}

// backend is Prometheus's engine over the script; a sample lives for the second it was taken in.
func (w *world) backend() rules.Querier {
	return &backend{w, promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute, LookbackDelta: time.Second})}
}

type backend struct {
	*world
	engine *promql.Engine
}

var errDown = errors.New("connection refused")

func (b *backend) ask() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queries++
	if b.down != nil && b.down(time.Since(b.d)) {
		return errDown
	}
	return nil
}

func (b *backend) Query(ctx context.Context, expr string, at time.Time) (rules.Vector, error) {
	if err := b.ask(); err != nil {
		return rules.Vector{}, err
	}
	q, err := b.engine.NewInstantQuery(ctx, b, nil, expr, at)
	if err != nil {
		return rules.Vector{}, err
	}
	defer q.Close()
	res := q.Exec(ctx)
	if res.Err != nil {
		return rules.Vector{}, res.Err
	}
	var v rules.Vector
	switch val := res.Value.(type) {
	case promql.Vector:
		for _, s := range val {
			v.Samples = append(v.Samples, gatekeeper.Sample{Labels: s.Metric.Map(), Value: gatekeeper.Float(s.F)})
		}
	case promql.Scalar:
		v.Samples = []gatekeeper.Sample{{Value: gatekeeper.Float(val.V)}}
	}
	return v, nil
}

func (b *backend) QueryRange(ctx context.Context, expr string, from, to time.Time, step time.Duration) (rules.Matrix, error) {
	if err := b.ask(); err != nil {
		return rules.Matrix{}, err
	}
	q, err := b.engine.NewRangeQuery(ctx, b, nil, expr, from, to, step)
	if err != nil {
		return rules.Matrix{}, err
	}
	defer q.Close()
	res := q.Exec(ctx)
	if res.Err != nil {
		return rules.Matrix{}, res.Err
	}
	m, err := res.Matrix()
	if err != nil {
		return rules.Matrix{}, err
	}
	var out rules.Matrix
	for _, s := range m {
		one := rules.Series{Labels: s.Metric.Map()}
		for _, p := range s.Floats {
			one.Points = append(one.Points, rules.Point{At: time.UnixMilli(p.T).UTC(), Value: gatekeeper.Float(p.F)})
		}
		out.Series = append(out.Series, one)
	}
	return out, nil
}

func (b *backend) Querier(mint, maxt int64) (storage.Querier, error) {
	return &querier{b, mint, maxt}, nil
}

type querier struct {
	*backend
	mint, maxt int64
}

func (q *querier) Select(_ context.Context, _ bool, _ *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	q.mu.Lock()
	defer q.mu.Unlock()
	var found []storage.Series
	for _, name := range []string{"errors", "requests"} {
		for _, version := range []string{"v1", "v2", "v3"} {
			l := labels.FromStrings(model.MetricNameLabel, name, "service", "checkout", "version", version)
			if !matches(l, ms) || !q.serves[version] {
				continue
			}
			var samples []chunks.Sample
			for t := (q.mint + 999) / 1000 * 1000; t <= q.maxt; t += 1000 {
				if v, ok := q.series(name, version, time.UnixMilli(t).Sub(q.d)); ok {
					samples = append(samples, sample{t, v})
				}
			}
			if len(samples) > 0 {
				found = append(found, storage.NewListSeries(l, samples))
			}
		}
	}
	return &seriesSet{series: found, i: -1}
}

func matches(l labels.Labels, ms []*labels.Matcher) bool {
	for _, m := range ms {
		if !m.Matches(l.Get(m.Name)) {
			return false
		}
	}
	return true
}

func (q *querier) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (q *querier) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (q *querier) Close() error { return nil }

type seriesSet struct {
	series []storage.Series
	i      int
}

func (s *seriesSet) Next() bool                        { s.i++; return s.i < len(s.series) }
func (s *seriesSet) At() storage.Series                { return s.series[s.i] }
func (s *seriesSet) Err() error                        { return nil }
func (s *seriesSet) Warnings() annotations.Annotations { return nil }

type sample struct {
	t int64
	v float64
}

func (s sample) ST() int64                     { return 0 }
func (s sample) T() int64                      { return s.t }
func (s sample) F() float64                    { return s.v }
func (s sample) H() *histogram.Histogram       { return nil }
func (s sample) FH() *histogram.FloatHistogram { return nil }
func (s sample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (s sample) Copy() chunks.Sample           { return s }

// target is a system that serves one version.
type target struct {
	*world
	name    string
	live    string
	effects []string      // every change that an Apply made
	refuse  error         // Apply and Prepare fail with it
	hang    time.Duration // Apply takes so long and ignores its context
	stuck   time.Duration // so do Prepare and Observe
	lose    bool          // Apply has its effect and then loses the reply
	after   func()        // called after an effect
	rolling bool          // it is in progress to where it is
}

func (t *target) set(live string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.live = live
}

func (t *target) refuses(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refuse = err
}

func (t *target) done() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string(nil), t.effects...)
}

type switchSettings struct {
	Name    string `json:"name" doc:"which target" required:"true"`
	Restore bool   `json:"restore" doc:"return to what is live at open"`
}

func (w *world) registry() *actions.Registry {
	open := func(s switchSettings, _ actions.Binding) (actions.Action, error) {
		return &switchAction{w.targets[s.Name], s.Restore}, nil
	}
	r, err := actions.NewRegistry(
		actions.Define("switch/set", "switches a version", gatekeeper.ByTarget, open),
		actions.Define("switch/once", "switches a version, never twice", gatekeeper.NoRetry, open))
	require.NoError(w.t, err)
	return r
}

type switchAction struct {
	*target
	restore bool
}

func (a *switchAction) Prepare(context.Context) (gatekeeper.Target, error) {
	time.Sleep(a.stuck)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.refuse != nil {
		return gatekeeper.Target{}, a.refuse
	}
	kind, to := gatekeeper.Set, "v1"
	if a.restore {
		kind, to = gatekeeper.Restore, a.live
	}
	data, err := json.Marshal(to)
	return gatekeeper.Target{Kind: kind, Version: 1, Data: data, Says: a.name + " at " + to}, err
}

func (a *switchAction) Apply(ctx context.Context, t gatekeeper.Target, _ gatekeeper.Key) (gatekeeper.Receipt, error) {
	var to string
	if err := json.Unmarshal(t.Data, &to); err != nil {
		return gatekeeper.Receipt{}, err
	}
	if a.hang > 0 {
		time.Sleep(a.hang)
		return gatekeeper.Receipt{}, ctx.Err()
	}
	a.mu.Lock()
	if err := a.refuse; err != nil {
		a.mu.Unlock()
		return gatekeeper.Receipt{}, err
	}
	a.live = to
	a.effects = append(a.effects, to)
	after, lose := a.after, a.lose
	a.mu.Unlock()
	if after != nil {
		after()
	}
	if lose {
		return gatekeeper.Receipt{}, errors.New("connection reset by peer")
	}
	return gatekeeper.Receipt{Says: "switched to " + to}, nil
}

func (a *switchAction) Observe(_ context.Context, t gatekeeper.Target) (gatekeeper.Live, error) {
	time.Sleep(a.stuck)
	a.mu.Lock()
	defer a.mu.Unlock()
	var to string
	if err := json.Unmarshal(t.Data, &to); err != nil {
		return gatekeeper.Live{}, err
	}
	if a.live == to && a.rolling {
		return gatekeeper.Live{Position: gatekeeper.InProgress, Print: a.live, Says: a.name + " goes to " + a.live}, nil
	}
	if a.live == to {
		return gatekeeper.Live{Position: gatekeeper.AtTarget, Print: a.live, Says: a.name + " is at " + a.live}, nil
	}
	return gatekeeper.Live{Position: gatekeeper.Elsewhere, Print: a.live, Says: a.name + " is at " + a.live}, nil
}

func bundle(file string) *rules.Bundle { return &rules.Bundle{Name: "health.yml", File: file} }

func replace(s, old, with string) string {
	if !strings.Contains(s, old) {
		panic("nothing to replace: " + old)
	}
	return strings.ReplaceAll(s, old, with)
}
