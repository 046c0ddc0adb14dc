// Package queriertest is the conformance suite of [rules.Querier]: what every metric backend
// must do, run on each against the same data.
package queriertest

import (
	"context"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// Exporter serves the suite's data: constant gauges and a counter of its own scrapes.
func Exporter() http.Handler {
	var scrapes atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		_, _ = fmt.Fprintf(w, `# TYPE qt_scrapes_total counter
qt_scrapes_total %d
# TYPE qt_gauge gauge
qt_gauge{case="a"} 1
qt_gauge{case="b"} 2.5
qt_special{is="nan"} NaN
qt_special{is="inf"} +Inf
qt_special{is="neg"} -Inf
qt_label{text="a\"b\\c\nü"} 7
`, scrapes.Add(1))
	})
}

// Run checks q, whose backend scrapes [Exporter] every second; it waits for the first data.
func Run(t *testing.T, q rules.Querier) {
	t.Helper()
	require.Eventually(t, func() bool {
		v, err := q.Query(t.Context(), "qt_scrapes_total >= 8", time.Now())
		return err == nil && len(v.Samples) == 1
	}, time.Minute, 200*time.Millisecond, "the backend has no data of the exporter")
	settled := time.Now().Add(-3 * time.Second).Truncate(time.Millisecond) // nothing new comes before it

	t.Run("instant", func(t *testing.T) { instant(t, q, settled) })
	t.Run("range is what the instants give", func(t *testing.T) { ranges(t, q, settled) })
	t.Run("long range", func(t *testing.T) { longRange(t, q, settled) })
	t.Run("refused", func(t *testing.T) { refused(t, q, settled) })
	t.Run("deadline", func(t *testing.T) { deadline(t, q, settled) })
	t.Run("concurrent", func(t *testing.T) { concurrent(t, q, settled) })
}

func instant(t *testing.T, q rules.Querier, at time.Time) {
	label := map[string]string{"text": "a\"b\\c\nü"}
	for expr, want := range map[string][]gatekeeper.Sample{
		`sum by (case) (qt_gauge)`:      {{Labels: map[string]string{"case": "a"}, Value: 1}, {Labels: map[string]string{"case": "b"}, Value: 2.5}},
		`sum by (case) (qt_gauge) > 2`:  {{Labels: map[string]string{"case": "b"}, Value: 2.5}},
		`qt_gauge > 3`:                  nil,
		`no_such_metric`:                nil,
		`sum by (text) (qt_label)`:      {{Labels: label, Value: 7}},
		`sum by (is) (qt_special) == 1`: nil,
		`max(qt_special{is="inf"})`:     {{Value: gatekeeper.Float(math.Inf(1))}},
		`max(qt_special{is="neg"})`:     {{Value: gatekeeper.Float(math.Inf(-1))}},
		`max(qt_special{is="nan"})`:     {{Value: gatekeeper.Float(math.NaN())}},
		`1 + 0.5`:                       {{Value: 1.5}},
		`time()`:                        {{Value: gatekeeper.Float(float64(at.UnixMilli()) / 1000)}},
	} {
		v, err := q.Query(t.Context(), expr, at)
		require.NoError(t, err, expr)
		require.Empty(t, v.Warnings, expr)
		require.Equal(t, text(want), text(v.Samples), expr)
	}
	v, err := q.Query(t.Context(), `qt_gauge{case="a"}`, at)
	require.NoError(t, err)
	require.Len(t, v.Samples, 1)
	require.Equal(t, "qt_gauge", v.Samples[0].Labels["__name__"], "a selector keeps the metric's name")
	require.Contains(t, v.Samples[0].Labels, "instance")

	v, err = q.Query(t.Context(), "qt_gauge", at.Add(-time.Hour))
	require.NoError(t, err)
	require.Empty(t, v.Samples, "before the first scrape there is nothing")
}

func ranges(t *testing.T, q rules.Querier, to time.Time) {
	for _, step := range []time.Duration{time.Second, 700 * time.Millisecond} {
		from := to.Add(-4 * time.Second)
		for _, expr := range []string{
			`qt_scrapes_total`, `rate(qt_scrapes_total[3s])`, `qt_gauge`, `qt_gauge > 2`, `qt_gauge > 3`,
			`qt_special`, `1 + 0.5`, `time()`, `qt_scrapes_total % 2 == 0`,
		} {
			m, err := q.QueryRange(t.Context(), expr, from, to, step)
			require.NoError(t, err, expr)
			require.Empty(t, m.Warnings, expr)
			got := map[time.Time][]gatekeeper.Sample{}
			for _, s := range m.Series {
				last := time.Time{}
				for _, p := range s.Points {
					require.True(t, p.At.After(last), "points are in order of time")
					last = p.At
					got[p.At] = append(got[p.At], gatekeeper.Sample{Labels: s.Labels, Value: p.Value})
				}
			}
			for at := from; !at.After(to); at = at.Add(step) {
				v, err := q.Query(t.Context(), expr, at)
				require.NoError(t, err, expr)
				require.Equal(t, text(v.Samples), text(got[at]), "%s at %s", expr, at)
				delete(got, at)
			}
			require.Empty(t, got, "%s: nothing at instants that were not asked for", expr)
		}
	}
	m, err := q.QueryRange(t.Context(), "qt_gauge", to, to, time.Second)
	require.NoError(t, err)
	require.Len(t, m.Series, 2)
	require.Len(t, m.Series[0].Points, 1, "both ends are included")
}

func longRange(t *testing.T, q rules.Querier, to time.Time) {
	const n = 25_000
	m, err := q.QueryRange(t.Context(), "time()", to.Add(-(n-1)*time.Second), to, time.Second)
	require.NoError(t, err)
	require.Len(t, m.Series, 1)
	require.Len(t, m.Series[0].Points, n)
	for i, p := range m.Series[0].Points {
		require.Equal(t, to.Add(-time.Duration(n-1-i)*time.Second), p.At)
		require.InDelta(t, float64(p.At.UnixMilli())/1000, float64(p.Value), 1e-6)
	}
}

func refused(t *testing.T, q rules.Querier, at time.Time) {
	for _, expr := range []string{`sum(`, ``, `qt_gauge[1m]`, `"text"`, `qt_gauge + on() qt_gauge`} {
		_, err := q.Query(t.Context(), expr, at)
		require.Error(t, err, expr)
		require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(err), "%s: %v", expr, err)
		_, err = q.QueryRange(t.Context(), expr, at, at.Add(time.Second), time.Second)
		require.Error(t, err, expr)
		require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(err), "%s: %v", expr, err)
	}
	for _, step := range []time.Duration{0, -time.Second, 1500 * time.Microsecond} {
		_, err := q.QueryRange(t.Context(), "qt_gauge", at, at.Add(time.Second), step)
		require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(err))
	}
	_, err := q.QueryRange(t.Context(), "qt_gauge", at, at.Add(-time.Second), time.Second)
	require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(err))
}

func deadline(t *testing.T, q rules.Querier, at time.Time) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := q.Query(over, "qt_gauge", at)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, gatekeeper.CodeUnavailable, gatekeeper.CodeOf(err))
	_, err = q.QueryRange(over, "qt_gauge", at, at.Add(time.Second), time.Second)
	require.ErrorIs(t, err, context.Canceled)

	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	_, err = q.Query(late, "qt_gauge", at)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "not counted against the release")
}

func concurrent(t *testing.T, q rules.Querier, at time.Time) {
	group, ctx := errgroup.WithContext(t.Context())
	for i := range 50 {
		group.Go(func() error {
			v, err := q.Query(ctx, fmt.Sprintf("sum(qt_gauge) + %d", i), at)
			if err == nil && (len(v.Samples) != 1 || v.Samples[0].Value != gatekeeper.Float(3.5+float64(i))) {
				err = fmt.Errorf("query %d got %v", i, v.Samples)
			}
			return err
		})
	}
	require.NoError(t, group.Wait())
}

// text gives samples as sorted lines, so that NaN equals NaN and order doesn't matter.
func text(samples []gatekeeper.Sample) []string {
	lines := make([]string, 0, len(samples))
	for _, s := range samples {
		line := ""
		for _, name := range slices.Sorted(maps.Keys(s.Labels)) {
			line += name + "=" + strconv.Quote(s.Labels[name]) + " "
		}
		lines = append(lines, line+s.Value.String())
	}
	slices.Sort(lines)
	return lines
}
