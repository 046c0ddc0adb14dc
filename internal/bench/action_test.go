package bench

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
)

// openAction opens an action as the engine does.
func openAction(b *testing.B, c actions.Connection, name, with string, specs ...actions.Spec) actions.Action {
	b.Helper()
	registry, err := actions.NewRegistry(specs...)
	require.NoError(b, err)
	action, _, err := registry.Open(name, json.RawMessage(with), actions.Binding{Connection: c})
	require.NoError(b, err)
	return action
}

// applied applies an action and gives the time until it observes its target, looking again after
// each pause.
func applied(b *testing.B, action actions.Action, pinned gatekeeper.Target, pause time.Duration) time.Duration {
	b.Helper()
	start := time.Now()
	_, err := action.Apply(b.Context(), pinned, "bench/1")
	require.NoError(b, err)
	for {
		live, err := action.Observe(b.Context(), pinned)
		require.NoError(b, err)
		if live.Position == gatekeeper.AtTarget {
			return time.Since(start)
		}
		time.Sleep(pause)
	}
}
