package bench

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
	"github.com/gatekeeper-engine/gatekeeper/engine"
	"github.com/gatekeeper-engine/gatekeeper/internal/etcd"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// runEngine runs an engine on an embedded journal on disk until the benchmark ends.
func runEngine(b *testing.B, q rules.Querier, connections map[string]actions.Connection, specs ...actions.Spec) *engine.Engine {
	b.Helper()
	server, err := etcd.Start(b.Context(), etcd.Options{Dir: b.TempDir()})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, server.Close()) })
	journal, err := server.OpenJournal(b.Context())
	require.NoError(b, err)
	registry, err := actions.NewRegistry(specs...)
	require.NoError(b, err)
	e, err := engine.New(engine.Config{
		Journal: journal, Actions: registry, Connections: connections, Backends: map[string]rules.Querier{"": q},
	})
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- e.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		require.NoError(b, <-over)
	})
	for e.Ready() != nil {
		time.Sleep(time.Millisecond)
	}
	return e
}

// openFile asks for a release of v2 over v1 with a health file's text.
func openFile(file string) engine.OpenRequest {
	return engine.OpenRequest{Version: "v2", PreviousVersion: "v1", Bundle: &rules.Bundle{Name: "health.yml", File: file}}
}

// well answers every query at once, and never with harm.
type well struct{}

func (well) Query(context.Context, string, time.Time) (rules.Vector, error) {
	return rules.Vector{Samples: []gatekeeper.Sample{{Value: 0}}}, nil
}

func (well) QueryRange(context.Context, string, time.Time, time.Time, time.Duration) (rules.Matrix, error) {
	return rules.Matrix{}, nil
}

// decisionToTarget has a person roll the release back and gives the time from the durable decision
// to the target observed.
func decisionToTarget(b *testing.B, e *engine.Engine, id string) time.Duration {
	b.Helper()
	_, err := e.Rollback(b.Context(), id, engine.By{Actor: "bench"})
	require.NoError(b, err)
	for {
		facts, err := e.Facts(b.Context(), id)
		require.NoError(b, err)
		var decided time.Time
		for _, f := range facts {
			switch f.Body.Kind() {
			case gatekeeper.KindDecided:
				decided = f.At
			case gatekeeper.KindReached:
				return f.At.Sub(decided)
			default: // on the way
				require.NotEqual(b, gatekeeper.KindClosed, f.Body.Kind(), "it was not rolled back")
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
}
