package tsdb

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions/builtin"
	"github.com/gatekeeper-engine/gatekeeper/engine"
	"github.com/gatekeeper-engine/gatekeeper/internal/explain"
	"github.com/gatekeeper-engine/gatekeeper/internal/rehearsal"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

const released = `
service: shop
window: 10m
min_traffic: sum(requests{version="${version}"}) > 1
groups:
- name: g
  interval: 15s
  rules:
  - {record: requests, expr: 'sum by (version) (rate(req_total[1m]))'}
  - {record: ratio, expr: 'sum by (version) (rate(req_total{code="500"}[1m])) / requests'}
  - {alert: Errors, expr: 'avg_over_time(ratio{version="${version}"}[1m]) > 0.01', for: 1m}
rollback:
- {action: flag/set, connection: flags, with: {flag: f, enabled: false}}
`

// asker has a store asked outside of virtual time, in which its own locks and channels can't be used.
type asker struct {
	rules.Querier
	work chan func()
	done chan struct{}
	one  *sync.Mutex // at a time
}

func outside(t *testing.T, s *Store) asker {
	a := asker{s, make(chan func()), make(chan struct{}), &sync.Mutex{}}
	go func() {
		for f := range a.work {
			f()
			a.done <- struct{}{}
		}
	}()
	t.Cleanup(func() { close(a.work) })
	return a
}

func (a asker) do(f func()) {
	a.one.Lock()
	defer a.one.Unlock()
	a.work <- f
	<-a.done
}

func (a asker) WithRecordings(all []rules.Recording) (with rules.Querier, err error) {
	a.Querier, err = rules.WithRecordings(a.Querier, all)
	return a, err
}

func (a asker) Query(_ context.Context, expr string, at time.Time) (v rules.Vector, err error) {
	a.do(func() { v, err = a.Querier.Query(context.Background(), expr, at) })
	return v, err
}

func (a asker) QueryRange(_ context.Context, expr string, from, to time.Time, step time.Duration) (m rules.Matrix, err error) {
	a.do(func() { m, err = a.Querier.QueryRange(context.Background(), expr, from, to, step) })
	return m, err
}

// Two releases at once record by the same names. One is taken back for what its own file records, with
// the daemon killed in between; the other passes. The journal tells the same without a backend.
func TestReleasesOverRecordedSeries(t *testing.T) {
	s := open(t, Config{Path: t.TempDir()}, nil)
	app := s.db.Appender(t.Context())
	for i := range 80 {
		for code, n := range map[string]int{"200": 150 * i, "500": 8 * max(0, i-20)} { // from 3:00 on
			at := rehearsal.Epoch.Add(time.Duration(i-8) * 15 * time.Second)
			_, err := app.Append(0, labels.FromStrings("__name__", "req_total", "version", "v2", "code", code), at.UnixMilli(), float64(n))
			require.NoError(t, err)
		}
	}
	require.NoError(t, app.Commit())
	registry, err := builtin.Registry(nil)
	require.NoError(t, err)

	other := strings.Replace(strings.Replace(released, "service: shop", "service: blog", 1), `{code="500"}`, `{code="404"}`, 1)
	script := rehearsal.Script{
		Actions: registry.Specs(), Backend: outside(t, s),
		Faults: []rehearsal.Fault{{Span: rehearsal.Span{From: 4 * time.Minute, To: 4*time.Minute + 20*time.Second}, Kind: rehearsal.Killed}},
	}
	deployed := time.Duration(0)
	for _, text := range []string{released, other} {
		script.Releases = append(script.Releases, rehearsal.Release{
			Request: engine.OpenRequest{Version: "v2", PreviousVersion: "v1", Bundle: &rules.Bundle{File: text}}, Opened: -time.Second, Deployed: &deployed,
		})
	}
	story, err := rehearsal.Run(t.Context(), script)
	require.NoError(t, err)
	want := []gatekeeper.Outcome{gatekeeper.OutcomeRolledBack, gatekeeper.OutcomePassed}
	for i, told := range story.Releases {
		file, err := rules.Load(*script.Releases[i].Request.Bundle)
		require.NoError(t, err)
		replayed, err := explain.Replay(told.Facts, file)
		require.NoError(t, err)
		require.Empty(t, replayed.Differences)
		explained, err := explain.Of("r", told.Facts, file)
		require.NoError(t, err)
		require.Equal(t, []string{"requests", "ratio"}, []string{explained.Rules[0].Recorded[0].Name, explained.Rules[0].Recorded[1].Name})
		var text strings.Builder
		require.NoError(t, explained.Write(&text, explain.Options{}))
		require.Contains(t, text.String(), "\n    requests is sum by (version) (rate(req_total[1m]))\n    ratio is sum by (version)")
		last := told.Facts[len(told.Facts)-1].Body.(gatekeeper.Closed)
		require.Equal(t, want[i], last.Outcome, last.Why)
		for _, f := range told.Facts {
			if d, ok := f.Body.(gatekeeper.Decided); ok {
				require.Equal(t, "Errors", d.Breaches[0].Rule)
				require.Equal(t, 4*time.Minute+45*time.Second, f.At.Sub(story.Start))
			}
		}
	}
}
