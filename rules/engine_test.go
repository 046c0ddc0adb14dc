package rules

import (
	"context"
	"sync"
	"testing"
	"time"

	prom "github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/storage"
	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

// backend answers from Prometheus's own engine over series in promtool's notation. It counts what
// it is asked.
type backend struct {
	engine *prom.Engine
	store  storage.Queryable

	mu    sync.Mutex
	asked []string
}

func newBackend(t *testing.T, load string) *backend {
	t.Helper()
	store := promqltest.LoadedStorage(t, load)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return &backend{engine: promqltest.NewTestEngine(t, false, 0, 1e6), store: store}
}

func (b *backend) note(expr string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = append(b.asked, expr)
}

func (b *backend) queries() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := len(b.asked)
	b.asked = nil
	return n
}

func (b *backend) Query(ctx context.Context, expr string, at time.Time) (Vector, error) {
	b.note(expr)
	q, err := b.engine.NewInstantQuery(ctx, b.store, nil, expr, at)
	if err != nil {
		return Vector{}, err
	}
	defer q.Close()
	result := q.Exec(ctx)
	if result.Err != nil {
		return Vector{}, result.Err
	}
	var out Vector
	switch v := result.Value.(type) {
	case prom.Scalar:
		out.Samples = []gatekeeper.Sample{{Value: gatekeeper.Float(v.V)}}
	case prom.Vector:
		for _, s := range v {
			out.Samples = append(out.Samples, gatekeeper.Sample{Labels: s.Metric.Map(), Value: gatekeeper.Float(s.F)})
		}
	}
	return out, nil
}

func (b *backend) QueryRange(ctx context.Context, expr string, from, to time.Time, step time.Duration) (Matrix, error) {
	b.note(expr)
	q, err := b.engine.NewRangeQuery(ctx, b.store, nil, expr, from, to, step)
	if err != nil {
		return Matrix{}, err
	}
	defer q.Close()
	m, err := q.Exec(ctx).Matrix()
	if err != nil {
		return Matrix{}, err
	}
	var out Matrix
	for _, s := range m {
		one := Series{Labels: s.Metric.Map()}
		for _, p := range s.Floats {
			one.Points = append(one.Points, Point{At: time.UnixMilli(p.T), Value: gatekeeper.Float(p.F)})
		}
		out.Series = append(out.Series, one)
	}
	return out, nil
}

// epoch is the instant of the first loaded sample.
var epoch = time.Unix(0, 0).UTC()

func minute(m float64) time.Time { return epoch.Add(time.Duration(m * float64(time.Minute))) }

// oneRule loads a file of one rule and binds it to v2 of shop, after v1.
func oneRule(t *testing.T, expr, more, top string) *BoundRule {
	t.Helper()
	return bound(t, Bundle{File: top + "\ngroups:\n- name: g\n  rules:\n  - alert: A\n    expr: '" + expr + "'\n" + more}).Rules[0]
}

func bound(t *testing.T, b Bundle) *Bound {
	t.Helper()
	f, err := Load(b)
	require.NoError(t, err)
	out, err := f.Bind(Vars{Service: "shop", Environment: "default", Version: "v2", PreviousVersion: "v1", Labels: map[string]string{"region": "eu"}})
	require.NoError(t, err)
	return out
}
