package engine_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
	"github.com/gatekeeper-engine/gatekeeper/engine"
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
