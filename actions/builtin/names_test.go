package builtin

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper/actions"
)

// Every action says what its settings name, or a policy with targets could not tell them apart.
func TestEveryActionIsNamed(t *testing.T) {
	registry, err := Registry(nil)
	require.NoError(t, err)
	cases := map[string]struct {
		with, connection string
		want             []string
	}{
		"flag/set":       {`{"flag":"checkout","enabled":false}`, `{}`, []string{"checkout"}},
		"haproxy/switch": {`{"backend":"shop"}`, `{"socket":"/run/haproxy.sock"}`, []string{"shop"}},
		"http/request": {
			`{"path":"/undo/${service}/${key}","preflight":"/ok","observe":{"path":"/live/${release}"}}`, `{"url":"http://127.0.0.1/base"}`,
			[]string{"/base/undo/shop/key", "/base/ok", "/base/live/r1"},
		},
		"exec/run":                {`{"run":["/bin/undo","x"],"observe":["/bin/undo"],"prepare":["/bin/look"]}`, `{"programs":["/bin/undo","/bin/look"]}`, []string{"/bin/undo", "/bin/look"}},
		"kubernetes/rollout-undo": {`{"namespace":"shop","deployment":"checkout"}`, `{}`, []string{"deployment shop/checkout"}},
	}
	for _, spec := range registry.Specs() {
		c, ok := cases[spec.Name]
		require.True(t, ok, "%s has no case here", spec.Name)
		a, _, err := registry.Open(spec.Name, json.RawMessage(c.with), actions.Binding{
			Connection: actions.Connection{Name: "c", Kind: spec.Connection, Settings: json.RawMessage(c.connection)},
			Subject:    actions.Subject{Release: "r1", Service: "shop"},
		})
		require.NoError(t, err, spec.Name)
		named, ok := a.(actions.Named)
		require.True(t, ok, spec.Name)
		require.Equal(t, c.want, named.Names(), spec.Name)
	}
}
