package yamlnode_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/gatekeeper-engine/gatekeeper/internal/yamlnode"
)

func read(t *testing.T, text string) *yaml.Node {
	t.Helper()
	var doc yaml.Node
	require.NoError(t, yaml.Unmarshal([]byte(text), &doc))
	return doc.Content[0]
}

func TestKinds(t *testing.T) {
	for text, want := range map[string]string{
		"{a: b}": "a mapping", "[a]": "a list", "~": "nothing", "": "nothing", "x": `"x"`, "5": `"5"`, `"\e"`: `"\x1b"`,
		strings.Repeat("é", 40): `"` + strings.Repeat("é", 30) + `…"`,
	} {
		n := read(t, "a: "+text).Content[1]
		require.Equal(t, want, yamlnode.Kind(n), text)
		require.Equal(t, want == "nothing", yamlnode.IsNull(n), text)
	}
}

func TestFollow(t *testing.T) {
	n := read(t, "[&a {b: 1}, *a]")
	require.Same(t, n.Content[0], yamlnode.Follow(n.Content[1]))
}

func TestLimits(t *testing.T) {
	l := yamlnode.Limits{Nodes: 100, Bytes: 100, Depth: 5}
	require.True(t, l.Fit(read(t, "[a, b, [c]]")))
	require.False(t, l.Fit(read(t, "["+strings.Repeat("a, ", 100)+"]")))
	require.False(t, l.Fit(read(t, strings.Repeat("a", 101))))
	require.False(t, l.Fit(read(t, "[[[[[[[[a]]]]]]]]")))
	require.False(t, l.Fit(read(t, "[&a [x, x, x, x, x], &b [*a, *a, *a, *a, *a], [*b, *b, *b, *b, *b]]")), "aliases unfold")
}
