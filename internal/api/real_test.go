package api

import (
	"context"
	"encoding/json"
	"strings"
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

// calm answers that nothing is wrong, with data.
type calm struct{}

func (calm) Query(context.Context, string, time.Time) (rules.Vector, error) {
	return rules.Vector{Samples: []gatekeeper.Sample{{Value: 0}}}, nil
}

func (calm) QueryRange(context.Context, string, time.Time, time.Time, time.Duration) (rules.Matrix, error) {
	return rules.Matrix{}, nil
}

// realEngine runs an engine over a journal in memory.
func realEngine(t *testing.T) *engine.Engine {
	t.Helper()
	registry, err := actions.NewRegistry()
	require.NoError(t, err)
	e, err := engine.New(engine.Config{
		Journal: memory.New(), Backends: map[string]rules.Querier{"calm": calm{}}, DefaultBackend: "calm", Actions: registry,
	})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = e.Run(ctx) }) // its error would show in the calls
	t.Cleanup(func() { stop(); wg.Wait() })
	require.Eventually(t, func() bool { return e.Ready() == nil }, 5*time.Second, time.Millisecond)
	return e
}

// A release's whole way through the face of a real engine.
func TestOverTheRealEngine(t *testing.T) {
	f := serve(t, Config{Engine: realEngine(t)})
	file, err := json.Marshal(map[string]any{
		"id": "r1", "version": "2", "watch_only": true, "actor": "ci",
		"bundle": rules.Bundle{Name: "health.yml", File: "service: shop\ngroups:\n  - name: a\n    rules:\n      - alert: Bad\n        expr: rate(errors_total{version=\"${version}\"}[1m]) > 1\n"},
	})
	require.NoError(t, err)
	status, first := f.do("POST", "/api/v1/releases", string(file))
	require.Equal(t, 201, status, first)
	status, again := f.do("POST", "/api/v1/releases", string(file))
	require.Equal(t, 201, status, again)
	var a, b gatekeeper.Release
	require.NoError(t, json.Unmarshal([]byte(first), &a))
	require.NoError(t, json.Unmarshal([]byte(again), &b))
	require.Equal(t, "r1", a.ID)
	require.Equal(t, a.ID, b.ID)

	p := f.problem("POST", "/api/v1/releases", strings.Replace(string(file), `"version":"2"`, `"version":"3"`, 1))
	require.Equal(t, gatekeeper.CodeConflict, p.Code, "a different body with the same id: %s", p.Detail)

	p = f.problem("POST", "/api/v1/releases", `{"version":"3","service":"shop","bundle":{"name":"h.yml","file":"grops: []\nwindow: soon\n"}}`)
	require.Equal(t, gatekeeper.CodeInvalid, p.Code)
	require.GreaterOrEqual(t, len(p.Errors), 2, "every problem of the health file")
	require.Equal(t, 1, p.Errors[0].Line)
	require.NotEmpty(t, p.Errors[0].File)

	events := follow(f, "/api/v1/releases/r1/events")
	require.Equal(t, "1 fact", events.next())
	status, body := f.do("POST", "/api/v1/releases/r1/deployed", `{"actor":"ci"}`)
	require.Equal(t, 200, status, body)
	require.Equal(t, gatekeeper.CodeConflict, f.problem("POST", "/api/v1/releases/r1/approve", `{}`).Code)
	status, body = f.do("POST", "/api/v1/releases/r1/close", `{"actor":"ci","why":"never mind"}`)
	require.Equal(t, 200, status, body)
	for events.next() != "" { // to the end of the stream, after the closed fact
	}
	status, body = f.do("GET", "/api/v1/releases/r1", "")
	require.Equal(t, 200, status)
	require.NoError(t, json.Unmarshal([]byte(body), &a))
	require.Equal(t, gatekeeper.OutcomeAborted, a.Outcome)
}
