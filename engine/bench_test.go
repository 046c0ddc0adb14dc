package engine_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
	"github.com/gatekeeper-engine/gatekeeper/engine"
	"github.com/gatekeeper-engine/gatekeeper/internal/etcd"
	"github.com/gatekeeper-engine/gatekeeper/internal/memory"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// constant answers every query at once: what is measured is the engine.
type constant struct{}

func (constant) Query(context.Context, string, time.Time) (rules.Vector, error) {
	return rules.Vector{Samples: []gatekeeper.Sample{{Value: 0.002}}}, nil
}

func (constant) QueryRange(_ context.Context, _ string, from, to time.Time, step time.Duration) (rules.Matrix, error) {
	var s rules.Series
	for at := from; !at.After(to); at = at.Add(step) {
		s.Points = append(s.Points, rules.Point{At: at, Value: 0.002})
	}
	return rules.Matrix{Series: []rules.Series{s}}, nil
}

type instant struct{}

func (instant) Prepare(context.Context) (gatekeeper.Target, error) {
	return gatekeeper.Target{Kind: gatekeeper.Set, Version: 1, Data: []byte("1"), Says: "flag off"}, nil
}

func (instant) Apply(context.Context, gatekeeper.Target, gatekeeper.Key) (gatekeeper.Receipt, error) {
	return gatekeeper.Receipt{}, nil
}

func (instant) Observe(context.Context, gatekeeper.Target) (gatekeeper.Live, error) {
	return gatekeeper.Live{Position: gatekeeper.Elsewhere, Print: "on", Says: "flag on"}, nil
}

// BenchmarkOpenReleases opens 10,000 releases that are watched, and tells the memory that the engine
// keeps for each; the journal's is left out, for it is etcd's.
func BenchmarkOpenReleases(b *testing.B) {
	const n = 10000
	for b.Loop() {
		journal := memory.New()
		registry, err := actions.NewRegistry(actions.Define("switch/set", "switches", gatekeeper.ByTarget,
			func(switchSettings, actions.Binding) (actions.Action, error) { return instant{}, nil }))
		require.NoError(b, err)
		e, err := engine.New(engine.Config{Journal: journal, Actions: registry, Backends: map[string]rules.Querier{"": constant{}}})
		require.NoError(b, err)
		ctx, cancel := context.WithCancel(b.Context())
		over := make(chan error, 1)
		go func() { over <- e.Run(ctx) }()
		for e.Ready() != nil {
			time.Sleep(time.Millisecond)
		}
		start := time.Now()
		var all sync.WaitGroup
		for w := range 8 {
			all.Go(func() {
				for i := w; i < n; i += 8 {
					service := fmt.Sprintf("service-%d", i)
					_, err := e.Open(ctx, engine.OpenRequest{
						Version: "v2", PreviousVersion: "v1", Deployed: true,
						Bundle: bundle(replace(ruleR, "service: checkout", "service: "+service) + flagPlan),
					})
					if err != nil {
						b.Errorf("open: %v", err)
						return
					}
				}
			})
		}
		all.Wait()
		b.ReportMetric(float64(time.Since(start).Milliseconds())/n, "ms/open")
		full := inUse()
		cancel()
		require.NoError(b, <-over)
		e = nil
		b.ReportMetric(float64(full-inUse())/n/1024, "KiB/release")
		runtime.KeepAlive(journal)
	}
}

func inUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// failing is well until a service's release is open, and bad for ever after.
type failing struct {
	constant
	open *sync.Map // by service
}

func (f failing) Query(ctx context.Context, expr string, at time.Time) (rules.Vector, error) {
	_, rest, _ := strings.Cut(expr, `service="`)
	service, _, _ := strings.Cut(rest, `"`)
	if _, open := f.open.Load(service); !open {
		return f.constant.Query(ctx, expr, at)
	}
	return rules.Vector{Samples: []gatekeeper.Sample{{Value: 0.5}}}, nil
}

// clocked notes when it is applied.
type clocked struct {
	instant
	applied func()
}

func (c clocked) Apply(context.Context, gatekeeper.Target, gatekeeper.Key) (gatekeeper.Receipt, error) {
	c.applied()
	return gatekeeper.Receipt{}, nil
}

// BenchmarkSlotToApply tells the time from the instant at which a breach can first be decided to
// Apply, over 100 releases at once on the embedded journal: decision and intent are on disk by then.
func BenchmarkSlotToApply(b *testing.B) {
	const n = 100
	server, err := etcd.Start(b.Context(), etcd.Options{Dir: b.TempDir()})
	require.NoError(b, err)
	defer func() { require.NoError(b, server.Close()) }()
	journal, err := server.OpenJournal(b.Context())
	require.NoError(b, err)
	var open sync.Map
	var mu sync.Mutex
	applied := map[string]time.Time{}
	registry, err := actions.NewRegistry(actions.Define("switch/set", "switches", gatekeeper.ByTarget,
		func(_ switchSettings, bind actions.Binding) (actions.Action, error) {
			return clocked{applied: func() {
				mu.Lock()
				defer mu.Unlock()
				applied[bind.Subject.Release] = time.Now()
			}}, nil
		}))
	require.NoError(b, err)
	e, err := engine.New(engine.Config{Journal: journal, Actions: registry, Backends: map[string]rules.Querier{"": failing{open: &open}}})
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(b.Context())
	over := make(chan error, 1)
	go func() { over <- e.Run(ctx) }()
	for e.Ready() != nil {
		time.Sleep(time.Millisecond)
	}
	for round := 0; b.Loop(); round++ {
		took := make([]time.Duration, n)
		var all sync.WaitGroup
		for i := range n {
			all.Go(func() {
				took[i] = slotToApply(b, e, &open, fmt.Sprintf("service-%d-%d", round, i), func(id string) (time.Time, bool) {
					mu.Lock()
					defer mu.Unlock()
					at, ok := applied[id]
					return at, ok
				})
			})
		}
		all.Wait()
		slices.Sort(took)
		b.ReportMetric(float64(took[n/2].Microseconds())/1000, "p50-ms")
		b.ReportMetric(float64(took[n*99/100].Microseconds())/1000, "p99-ms")
	}
	cancel()
	require.NoError(b, <-over)
}

func slotToApply(b *testing.B, e *engine.Engine, open *sync.Map, service string, applied func(id string) (time.Time, bool)) time.Duration {
	file := replace(replace(replace(ruleR, "service: checkout", "service: "+service), "interval: 15s", "interval: 1s"), "for: 2m", "for: 1500ms")
	r, err := e.Open(b.Context(), engine.OpenRequest{Version: "v2", PreviousVersion: "v1", Deployed: true, Bundle: bundle(file + flagPlan)})
	if err != nil {
		b.Error(err)
		return 0
	}
	open.Store(service, true)
	for {
		if at, ok := applied(r.ID); ok {
			now, err := e.Release(b.Context(), r.ID)
			if err != nil {
				b.Error(err)
				return 0
			}
			breach := now.Decision.Breaches[0]
			return at.Sub(breach.Since.Add(time.Duration(breach.For)))
		}
		time.Sleep(5 * time.Millisecond)
	}
}
