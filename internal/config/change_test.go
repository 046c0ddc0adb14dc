package config

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What changed is told by the keys, however it is written, and never by values.
func TestChanged(t *testing.T) {
	parse := func(text string) *Config { return Parse("gatekeeper.yml", "/etc", text) }
	const base = "backends: {main: {prometheus: {url: http://a}}, b: {tsdb: {}}}\nguards: {dry_run: true}\ntokens: [{name: ci, scopes: [open], token_file: ci}]\n"
	for text, want := range map[string][]string{
		base: {},
		"tokens:\n  - name: ci\n    scopes: [open]\n    token_file: /etc/ci\nguards:\n  dry_run: true\nbackends: {b: {tsdb: {}}, main: {prometheus: {url: 'http://a'}}}\n": {},
		"backends: {main: {prometheus: {url: http://secret}}}\nguards: {dry_run: true, cool_down: 5m}\n":                                                                   {"backends.b", "backends.main", "guards.cool_down", "tokens"},
		base + "policy: []\n":   {"policy"},
		"":                      {"backends.b", "backends.main", "guards.dry_run", "tokens"},
		"guards: [not, a map]":  {"backends.b", "backends.main", "guards", "tokens"},
		base + "dreamt: {a: 1}": {"dreamt.a"},
	} {
		require.Equal(t, want, parse(text).Changed(parse(base)), "%s", text)
	}
	require.Equal(t, parse(base).Digest(), parse(base).Digest())
	require.NotEqual(t, parse(base).Digest(), parse(base+"\n").Digest())
	require.Len(t, parse("").Digest(), 64)
}
