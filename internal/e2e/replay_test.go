package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper/internal/api"
	"github.com/gatekeeper-engine/gatekeeper/internal/explain"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// replays replays the daemon's record of a release that pinned that health file: what was journaled
// leads to what was done, and lacks nothing.
func (c commandLine) replays(t *testing.T, id, health string) {
	t.Helper()
	url := strings.TrimPrefix(c.env[0], "GATEKEEPER_URL=")
	resp, err := client.Get(url + "/api/v1/releases/" + id + "/facts")
	require.NoError(t, err)
	defer resp.Body.Close()
	var list api.FactList
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&list))
	bundle, err := rules.ReadBundle(health)
	require.NoError(t, err)
	file, err := rules.Load(bundle)
	require.NoError(t, err)
	got, err := explain.Replay(list.Facts, file)
	require.NoError(t, err)
	require.True(t, got.Same(), "%s", got.Says())
	require.Empty(t, got.Missing, "%s", got.Says())
}
