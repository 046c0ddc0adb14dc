package config

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const running = `listen: 127.0.0.1:9095
store: {endpoints: ["http://x"]}
tokens: [{name: ci, scopes: [open], token_file: ci}]
guards: {kill_switch_file: off, dry_run: true}
`

func TestKeep(t *testing.T) {
	for text, want := range map[string]string{
		running: "",
		"store:\n  endpoints:\n    - http://x # the same\nlisten: \"127.0.0.1:9095\"\nguards: {kill_switch_file: off, cool_down: 5m}\npolicy: []\nbackends: {main: {prometheus: {url: \"http://x\"}}}\nalertmanagers: [{url: \"http://x\"}]\n": "",
		running + "data_dir: /x\n": ":5:11: error: data_dir can't be changed while the daemon runs",
		"listen: 127.0.0.1:9096\nstore: {endpoints: [\"http://x\"]}\nguards: {kill_switch_file: off}\n": ":1:9: error: listen can't be changed",
		"store: {endpoints: [\"http://x\"]}\nguards: {kill_switch_file: off}\n":                         "listen can't be changed",
		"listen: 127.0.0.1:9095\nstore: {endpoints: [\"http://y\"]}\nguards: {kill_switch_file: off}\n": ":2:8: error: store can't be changed",
		"listen: 127.0.0.1:9095\nstore: {endpoints: [\"http://x\"]}\nguards: {kill_switch_file: on}\n":  ":3:28: error: kill_switch_file can't be changed",
		"": "can't be changed",
	} {
		now, next := Parse("gatekeeper.yml", "/etc", running), Parse("gatekeeper.yml", "/etc", text)
		require.NoError(t, now.Err())
		next.Keep(now)
		if want == "" {
			require.NoError(t, next.Err(), text)
		} else {
			require.ErrorContains(t, next.Err(), want, text)
		}
	}
	require.Contains(t, fixed(), "store", "what is new is fixed until it is said to be reloadable")
}
