package builtin

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
)

func TestRegistry(t *testing.T) {
	registry, err := Registry(nil)
	require.NoError(t, err)
	require.Equal(t, []string{"exec/run", "flag/set", "haproxy/switch", "http/request", "kubernetes/rollout-undo"}, registry.Names())
	for _, s := range registry.Specs() {
		require.NotEmpty(t, s.Doc, s.Name)
		require.NotEmpty(t, s.Settings, s.Name)
		require.NotEmpty(t, s.Connection, s.Name)
	}
}

func TestEveryActionRefusesWhatItDoesNotKnow(t *testing.T) {
	registry, err := Registry(nil)
	require.NoError(t, err)
	for _, s := range registry.Specs() {
		b := actions.Binding{Connection: actions.Connection{Name: "c", Kind: s.Connection}}
		_, _, err := registry.Open(s.Name, json.RawMessage(`{"no_such_setting":1}`), b)
		require.ErrorContains(t, err, "no_such_setting: unknown setting", s.Name)

		if s.Previous {
			continue
		}
		b.ReturnTo = "previous"
		_, _, err = registry.Open(s.Name, nil, b)
		require.ErrorContains(t, err, "return_to: previous is not supported", s.Name)
		require.Equal(t, gatekeeper.CodeUnsupported, gatekeeper.CodeOf(err), s.Name)
	}
}
