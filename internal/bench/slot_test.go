package bench

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
	"github.com/gatekeeper-engine/gatekeeper/engine"
	"github.com/gatekeeper-engine/gatekeeper/internal/httpclient"
	"github.com/gatekeeper-engine/gatekeeper/internal/prometheus"
	"github.com/gatekeeper-engine/gatekeeper/internal/servertest"
	"github.com/gatekeeper-engine/gatekeeper/internal/tsdb"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

const (
	together = 100 // releases at once
	rounds   = 3
)

// BenchmarkSlotToApply tells the time from the instant at which a breach can first be decided to
// Apply: the backend answers, and decision and intent are on disk by then. All releases of a round
// are open, asked and rolled back beside each other.
func BenchmarkSlotToApply(b *testing.B) {
	b.Run("embedded", func(b *testing.B) { slotToApply(b, embedded) })
	b.Run("prometheus", func(b *testing.B) { slotToApply(b, remote) })
}

func slotToApply(b *testing.B, backend func(b *testing.B, target string) rules.Querier) {
	g := &gauges{bad: map[string]bool{}}
	exporter := httptest.NewServer(g)
	b.Cleanup(exporter.Close)
	q := backend(b, exporter.Listener.Addr().String())
	flags := &noted{at: map[string]time.Time{}}
	e := runEngine(b, q, nil, flags.spec())
	var took spread
	for batch := 0; b.Loop(); batch++ {
		for round := range rounds {
			names := make([]string, together)
			for i := range names {
				names[i] = fmt.Sprintf("service-%d-%d-%d", batch, round, i)
			}
			g.add(names)
			await(b, q, fmt.Sprintf(`requests{service=%q}`, names[together-1]))
			times := make(spread, together)
			var all sync.WaitGroup
			for i, name := range names {
				all.Go(func() { times[i] = breach(b, e, g, flags, name) })
			}
			all.Wait()
			took = append(took, times...)
		}
	}
	report(b, took.median(), "p50")
	report(b, took.at(0.99), "p99")
	b.ReportMetric(float64(len(took)), "releases")
}

const gaugeFile = `
service: %s
window: 30m
groups:
  - name: g
    interval: 1s
    rules:
      - alert: R
        expr: sum(errors{service="${service}", version="${version}"}) / sum(requests{service="${service}", version="${version}"}) > 0.01
        for: 1500ms
rollback:
  - action: switch/set
    with: {name: one}
    recover_within: 1s
`

// breach opens a release, which then goes bad, and gives the time to Apply.
func breach(b *testing.B, e *engine.Engine, g *gauges, flags *noted, service string) time.Duration {
	request := openFile(fmt.Sprintf(gaugeFile, service))
	request.Deployed = true
	r, err := e.Open(b.Context(), request)
	if err != nil {
		b.Error(err)
		return 0
	}
	g.spoil(service)
	for {
		at, ok := flags.appliedAt(r.ID)
		if !ok {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		now, err := e.Release(b.Context(), r.ID)
		if err != nil {
			b.Error(err)
			return 0
		}
		first := now.Decision.Breaches[0]
		return at.Sub(first.Since.Add(time.Duration(first.For)))
	}
}

// embedded is the metric store in the process.
func embedded(b *testing.B, target string) rules.Querier {
	store, err := tsdb.Open(tsdb.Config{Path: b.TempDir(), Scrape: []tsdb.Job{
		{Name: "bench", Interval: model.Duration(time.Second), Targets: []string{target}},
	}}, slog.New(slog.DiscardHandler), nil)
	require.NoError(b, err)
	over := make(chan error, 1)
	go func() { over <- store.Run(context.Background()) }()
	b.Cleanup(func() {
		require.NoError(b, store.Close())
		require.NoError(b, <-over)
	})
	return store
}

// remote is a real Prometheus.
func remote(b *testing.B, target string) rules.Querier {
	url := servertest.Prometheus(b, fmt.Sprintf(
		"scrape_configs: [{job_name: bench, scrape_interval: 1s, scrape_timeout: 1s, static_configs: [{targets: [%q]}]}]", target), nil)
	q, err := prometheus.New(prometheus.Config{Config: httpclient.Config{URL: url}})
	require.NoError(b, err)
	return q
}

// await waits until a query has an answer.
func await(b *testing.B, q rules.Querier, expr string) {
	b.Helper()
	for limit := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		v, err := q.Query(b.Context(), expr, time.Now())
		if err == nil && len(v.Samples) > 0 {
			return
		}
		require.True(b, time.Now().Before(limit), "no answer to %s: %v", expr, err)
	}
}

// gauges are the metrics of services; half of the requests of a spoiled one fail.
type gauges struct {
	mu  sync.Mutex
	bad map[string]bool // by service
}

func (g *gauges) add(services []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range services {
		g.bad[s] = false
	}
}

func (g *gauges) spoil(service string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.bad[service] = true
}

// ServeHTTP gives the metrics.
func (g *gauges) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	for service, bad := range g.bad {
		errors := 0
		if bad {
			errors = 50
		}
		fmt.Fprintf(w, "errors{service=%q,version=\"v2\"} %d\nrequests{service=%[1]q,version=\"v2\"} 100\n", service, errors)
	}
}

// noted is an action that notes when it was applied to a release.
type noted struct {
	mu sync.Mutex
	at map[string]time.Time // by release
}

func (n *noted) appliedAt(release string) (at time.Time, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	at, ok = n.at[release]
	return at, ok
}

func (n *noted) spec() actions.Spec {
	type settings struct {
		Name string `json:"name" doc:"of the switch"`
	}
	return actions.Define("switch/set", "switches", gatekeeper.ByTarget, func(_ settings, bind actions.Binding) (actions.Action, error) {
		return &notedAction{noted: n, release: bind.Subject.Release}, nil
	})
}

type notedAction struct {
	*noted
	release string
}

// Prepare pins what is always there.
func (a *notedAction) Prepare(context.Context) (gatekeeper.Target, error) {
	return gatekeeper.Target{Kind: gatekeeper.Set, Version: 1, Data: []byte("1"), Says: "switched"}, nil
}

// Apply notes the time.
func (a *notedAction) Apply(context.Context, gatekeeper.Target, gatekeeper.Key) (gatekeeper.Receipt, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at[a.release] = time.Now()
	return gatekeeper.Receipt{}, nil
}

// Observe is at the target when it was applied.
func (a *notedAction) Observe(context.Context, gatekeeper.Target) (gatekeeper.Live, error) {
	if _, ok := a.appliedAt(a.release); ok {
		return gatekeeper.Live{Position: gatekeeper.AtTarget, Print: "on", Says: "switched"}, nil
	}
	return gatekeeper.Live{Position: gatekeeper.Elsewhere, Print: "off", Says: "not switched"}, nil
}
