package oracle

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	theirs "github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"
	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

var (
	cases = flag.Int("oracle.cases", 2000, "how many rules are compared")
	seed  = flag.Uint64("oracle.seed", 1, "of the random rules and series")
)

// perWorld is how many rules are compared over one set of series.
const perWorld = 100

var (
	errDown    = errors.New("the backend is down")
	errPartial = errors.New("partial answer")
	outside    = map[string]string{"dc": "eu"}
	address    = &url.URL{Scheme: "http", Host: "prometheus.example", Path: "/p"}
)

// tally says what the comparison has seen, so that it can't pass by having compared nothing.
type tally struct {
	cases, slots, pending, firing, kept, failed, frozen, missed, limited int
}

func TestSameAsPrometheus(t *testing.T) {
	var seen tally
	for world := 0; world*perWorld < *cases; world++ {
		r := rand.New(rand.NewPCG(*seed, uint64(world)))
		store := fill(t, r)
		engine := promqltest.NewTestEngine(t, false, 0, 1e6)
		for n := range min(perWorld, *cases-world*perWorld) {
			c := newCase(r, world*perWorld+n)
			w := &comparison{t: t, seen: &seen, engine: engine, store: store, r: r, c: c, known: map[query]answered{}}
			w.where = func() string { return c.text }
			w.run()
			if t.Failed() {
				t.Fatalf("seed %d, case %d: %s", *seed, world*perWorld+n, c.text)
			}
			seen.cases++
		}
		require.NoError(t, store.Close())
	}
	t.Logf("seed %d: %+v", *seed, seen)
	if *cases < 500 {
		return
	}
	for what, n := range map[string]int{
		"pending": seen.pending, "firing": seen.firing, "kept": seen.kept, "failed": seen.failed,
		"frozen": seen.frozen, "missed": seen.missed, "limited": seen.limited,
	} {
		require.NotZero(t, n, "nothing was %s", what)
	}
}

// comparison compares one rule at every slot.
type comparison struct {
	t      *testing.T
	seen   *tally
	engine *promql.Engine
	store  storage.Queryable
	r      *rand.Rand
	c      someCase
	where  func() string

	down  bool // every query fails
	mu    sync.Mutex
	known map[query]answered
	ours  *rules.BoundRule
	plain *theirs.AlertingRule // evaluated at the slots that are not missed
	whole *theirs.AlertingRule // at all slots, for the track; it keeps nothing firing

	limit  int
	offset time.Duration

	followed []rules.Alert
	track    gatekeeper.Track
	frozen   []time.Time // slots that count for nothing
}

func (w *comparison) load() {
	f, err := rules.Load(rules.Bundle{File: "rule_files: [r.yml]", RuleFiles: map[string]string{"r.yml": w.c.text}})
	require.NoError(w.t, err, w.c.text)
	bound, err := f.Bind(rules.Vars{ExternalLabels: outside, ExternalURL: address.String()})
	require.NoError(w.t, err)
	w.ours = bound.Rules[0]
	promql := parser.NewParser(parser.Options{})
	parsed, errs := rulefmt.Parse([]byte(w.c.text), false, model.UTF8Validation, promql, slog.New(slog.DiscardHandler))
	require.Empty(w.t, errs, w.c.text)
	g := parsed.Groups[0]
	rule := g.Rules[0]
	expr, err := promql.ParseExpr(rule.Expr)
	require.NoError(w.t, err)
	all := maps.Clone(g.Labels)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, rule.Labels)
	made := func(keep time.Duration) *theirs.AlertingRule {
		return theirs.NewAlertingRule(rule.Alert, expr, time.Duration(rule.For), keep, labels.FromMap(all), labels.FromMap(rule.Annotations),
			labels.FromMap(outside), address.String(), true, slog.New(slog.DiscardHandler))
	}
	w.plain, w.whole = made(time.Duration(rule.KeepFiringFor)), made(0)
	w.limit, w.offset = g.Limit, time.Duration(*g.QueryOffset)
}

func (w *comparison) run() {
	w.load()
	phase := pick(w.r, []time.Duration{0, 0, time.Second, 7301 * time.Millisecond})
	var missed []time.Time
	for at := time.Unix(0, 0).UTC().Add(phase); at.Before(time.Unix(0, 0).Add((scrapes + 4) * scrape)); at = at.Add(w.c.interval) {
		w.seen.slots++
		w.down = w.r.IntN(20) == 0
		if w.r.IntN(15) == 0 {
			w.seen.missed++
			missed = append(missed, at)
			continue
		}
		w.comparePlain(at)
		if len(missed) > 0 {
			down := w.down
			w.down = false
			w.catchUp(missed)
			w.down, missed = down, nil
		}
		w.compareTrack(w.ours.Judge(w.t.Context(), w, at))
		if w.t.Failed() {
			return
		}
	}
}

// comparePlain holds Active and Follow to Prometheus's alerts.
func (w *comparison) comparePlain(at time.Time) {
	_, err := w.plain.Eval(w.t.Context(), w.offset, at, w.answers, address, w.limit)
	active, oursErr := w.ours.Active(w.t.Context(), w, at)
	if oursErr == nil {
		var now []rules.Alert
		if now, oursErr = w.ours.Follow(w.followed, active, at); oursErr == nil || strings.Contains(oursErr.Error(), "exceeded limit") {
			w.followed = now
		}
	}
	require.Equal(w.t, err == nil, oursErr == nil, "%s: at %s Prometheus says %v, we %v", w.where(), at, err, oursErr)
	if err != nil {
		w.seen.failed++
		if strings.Contains(err.Error(), "exceeded limit") {
			w.seen.limited++
		}
	}
	want := map[string]rules.Alert{}
	for _, a := range w.plain.ActiveAlerts() {
		want[a.Labels.String()] = rules.Alert{
			Labels: a.Labels.Map(), Annotations: a.Annotations.Map(), Value: gatekeeper.Float(a.Value),
			Firing: a.State == theirs.StateFiring, ActiveAt: a.ActiveAt, KeptSince: a.KeepFiringSince,
		}
	}
	require.Len(w.t, w.followed, len(want), "%s: at %s: %v", w.where(), at, want)
	for _, got := range w.followed {
		expected := want[labels.FromMap(got.Labels).String()]
		if math.IsNaN(float64(got.Value)) && math.IsNaN(float64(expected.Value)) {
			got.Value, expected.Value = 0, 0
		}
		require.Equal(w.t, expected, got, "%s: at %s", w.where(), at)
		switch {
		case !got.KeptSince.IsZero():
			w.seen.kept++
		case got.Firing:
			w.seen.firing++
		default:
			w.seen.pending++
		}
	}
}

// catchUp judges missed slots by range, as the daemon does; that must say what judging each would
// have said.
func (w *comparison) catchUp(missed []time.Time) {
	ranged := w.ours.JudgeRange(w.t.Context(), w, missed[0], missed[len(missed)-1], w.c.interval)
	i := 0
	for _, reading := range ranged {
		if i == len(missed) || !reading.At.Equal(missed[i]) {
			continue
		}
		i++
		alone := w.ours.Judge(w.t.Context(), w, reading.At)
		require.Equal(w.t, alone.Verdict, reading.Verdict, "%s: by range at %s: %s, alone: %s", w.where(), reading.At, reading.Detail, alone.Detail)
		require.ElementsMatch(w.t, alone.Active, reading.Active)
		w.compareTrack(reading)
	}
	require.Equal(w.t, len(missed), i)
}

// compareTrack holds the track, by which releases are decided, to a Prometheus without limit and
// keep_firing_for. A slot without an answer that bears on the release freezes both; Prometheus must
// have seen nothing there, or have failed itself.
func (w *comparison) compareTrack(reading gatekeeper.Reading) {
	at, ctx := reading.At, w.t.Context()
	w.track = w.track.Next(reading, w.c.interval)
	if !reading.Verdict.Answered() {
		w.seen.frozen++
		w.frozen = append(w.frozen, at)
		found, err := w.answers(ctx, w.ours.Expr, at.Add(-w.offset))
		if err == nil && reading.Verdict != gatekeeper.NoAnswer {
			require.Empty(w.t, found, "%s: %s at %s", w.where(), reading.Verdict, at)
		}
		if err == nil && reading.Verdict == gatekeeper.NoAnswer {
			_, err = w.whole.Eval(ctx, w.offset, at, w.answers, address, 0)
			require.Error(w.t, err, "%s: no answer at %s: %s", w.where(), at, reading.Detail)
		}
		return
	}
	_, err := w.whole.Eval(ctx, w.offset, at, w.answers, address, 0)
	require.NoError(w.t, err, w.where())
	require.Equal(w.t, reading.Verdict == gatekeeper.Unhealthy, len(w.whole.ActiveAlerts()) > 0, "%s: %s at %s", w.where(), reading.Verdict, at)
	want := map[string]*theirs.Alert{}
	var summaries []string
	for _, a := range w.whole.ActiveAlerts() {
		want[journaled(a.Labels.String())] = a
		summaries = append(summaries, short(a.Annotations.Get("summary")))
	}
	if len(summaries) > 0 {
		require.Contains(w.t, summaries, short(reading.Summary), w.where())
	}
	require.Len(w.t, w.track.Active, len(want), "%s: at %s", w.where(), at)
	for _, got := range w.track.Active {
		a := want[lastOf(got.Identity)]
		require.NotNil(w.t, a, "%s: %s is not active in Prometheus at %s", w.where(), got.Identity, at)
		require.Equal(w.t, a.ActiveAt, got.ActiveAt, "%s: %s at %s", w.where(), got.Identity, at)
		lost := time.Duration(len(slices.DeleteFunc(slices.Clone(w.frozen), func(f time.Time) bool { return !f.After(a.ActiveAt) }))) * w.c.interval
		full := at.Sub(got.ActiveAt)-time.Duration(got.Unanswered) >= w.ours.For
		require.Equal(w.t, at.Sub(a.ActiveAt)-lost >= w.ours.For, full, "%s: %s at %s", w.where(), got.Identity, at)
		if lost == 0 {
			require.Equal(w.t, a.State == theirs.StateFiring, full, "%s: %s at %s", w.where(), got.Identity, at)
		}
	}
}

// journaled is what the journal keeps of a long identity: the end of it, its hash, tells it apart.
func journaled(identity string) string {
	if len(identity) <= gatekeeper.MaxEvidenceText {
		return identity
	}
	sum := sha256.Sum256([]byte(identity))
	return fmt.Sprintf("%x", sum[:8])
}

func lastOf(identity string) string {
	if len(identity) <= gatekeeper.MaxEvidenceText {
		return identity
	}
	return identity[strings.LastIndexByte(identity, ' ')+1:]
}

// short cuts what the journal would cut.
func short(text string) string {
	const kept = gatekeeper.MaxEvidenceText - 10
	return text[:min(len(text), kept)]
}

// answers is what Prometheus asks. A partial answer is an error here, which is a documented
// difference: Prometheus would take it for a whole one.
func (w *comparison) answers(ctx context.Context, expr string, at time.Time) (promql.Vector, error) {
	if w.down {
		return nil, errDown
	}
	asked := query{expr, at}
	w.mu.Lock() // a rule asks for two things at once
	defer w.mu.Unlock()
	a, known := w.known[asked]
	if !known {
		a.found, a.err = w.evaluate(ctx, expr, at)
		w.known[asked] = a
	}
	return slices.Clone(a.found), a.err
}

// query is what was asked, answered what the engine said: both sides ask much the same.
type (
	query struct {
		expr string
		at   time.Time
	}
	answered struct {
		found promql.Vector
		err   error
	}
)

func (w *comparison) evaluate(ctx context.Context, expr string, at time.Time) (promql.Vector, error) {
	q, err := w.engine.NewInstantQuery(ctx, w.store, nil, expr, at)
	if err != nil {
		return nil, err
	}
	defer q.Close()
	result := q.Exec(ctx)
	if result.Err != nil {
		return nil, result.Err
	}
	if warnings, _ := result.Warnings.AsStrings(expr, 0, 0); len(warnings) > 0 {
		return nil, errPartial
	}
	switch v := result.Value.(type) {
	case promql.Vector:
		return slices.Clone(v), nil
	case promql.Scalar:
		return promql.Vector{{T: v.T, F: v.V, Metric: labels.EmptyLabels()}}, nil
	default:
		return nil, errors.New("not a vector")
	}
}

// Query is what Gatekeeper asks.
func (w *comparison) Query(ctx context.Context, expr string, at time.Time) (rules.Vector, error) {
	found, err := w.answers(ctx, expr, at)
	if err != nil {
		return rules.Vector{}, err
	}
	var out rules.Vector
	for _, s := range found {
		one := gatekeeper.Sample{Labels: s.Metric.Map(), Value: gatekeeper.Float(s.F)}
		if s.H != nil {
			one.Histogram = s.H.String()
		}
		out.Samples = append(out.Samples, one)
	}
	return out, nil
}

// QueryRange is what Gatekeeper asks for missed slots.
func (w *comparison) QueryRange(ctx context.Context, expr string, from, to time.Time, step time.Duration) (rules.Matrix, error) {
	q, err := w.engine.NewRangeQuery(ctx, w.store, nil, expr, from, to, step)
	if err != nil {
		return rules.Matrix{}, err
	}
	defer q.Close()
	result := q.Exec(ctx)
	m, err := result.Matrix()
	if err != nil {
		return rules.Matrix{}, err
	}
	warnings, _ := result.Warnings.AsStrings(expr, 0, 0)
	out := rules.Matrix{Warnings: warnings}
	for _, s := range m {
		one := rules.Series{Labels: s.Metric.Map()}
		for _, p := range s.Floats {
			one.Points = append(one.Points, rules.Point{At: time.UnixMilli(p.T), Value: gatekeeper.Float(p.F)})
		}
		for _, p := range s.Histograms {
			one.Points = append(one.Points, rules.Point{At: time.UnixMilli(p.T), Histogram: p.H.String()})
		}
		out.Series = append(out.Series, one)
	}
	return out, nil
}
