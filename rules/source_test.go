package rules

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// The X of a value must be found where it stands in the file, however the value is written.
func TestLocate(t *testing.T) {
	for name, text := range map[string]string{
		"plain":             "a: one X two",
		"plain over lines":  "a: one\n  two\n\n\n  three X",
		"single":            "a: 'it''s ''X'' now'",
		"single over lines": "a: 'one  \n\n   two\n   X'",
		"double":            `a: "\t\u00fc\x41\U0001F600 \"X"`,
		"double over lines": "a: \"one\n  two\\\n   three\\n\n  X\"",
		"literal":           "a: |\n  one\n\n    two\n  ü X",
		"literal, indented": "a: |2\n    one\n  X",
		"literal, blank":    "a: |\n\n\n  one\n  X",
		"literal, stripped": "b:\n- a: |-\n    one X\n",
		"folded":            "a: >\n  one\n  two\n\n  three X",
		"folded, deeper":    "a: >\n  one\n    two\n    three\n\n  four X",
		"folded, blank":     "a: >-\n\n  one\n\n\n  X",
		"tag and anchor":    "a: !!str &anchor 'one X'",
		"carriage returns":  "a: |\r\n  one\r\n  X\r\n",
		"in a flow":         "a: [x, {b: 'one X'}]",
		"tabs":              "a: 'one\tX'",
	} {
		t.Run(name, func(t *testing.T) {
			var doc yaml.Node
			require.NoError(t, yaml.Unmarshal([]byte(text), &doc))
			n := scalarWith(&doc, "X")
			require.NotNil(t, n)
			src := newSource("x", text)
			line, column := src.locate(n, strings.Index(n.Value, "X"))
			require.Equal(t, "X", string([]rune(src.lines[line-1])[column-1:][:1]), "%d:%d", line, column)
			require.Positive(t, column)
		})
	}
	t.Run("all line breaks of YAML", func(t *testing.T) {
		require.Len(t, splitLines("a\r\nb\rc\nd\u0085e\u2028f\u2029g"), 7)
	})
	t.Run("beyond the end", func(t *testing.T) {
		src := newSource("x", "a: b")
		line, column := src.locate(&yaml.Node{Kind: yaml.ScalarNode, Value: "zzz", Line: 1, Column: 4}, 99)
		require.Equal(t, []int{1, 4}, []int{line, column})
	})
}

func scalarWith(n *yaml.Node, part string) *yaml.Node {
	if n.Kind == yaml.ScalarNode && strings.Contains(n.Value, part) {
		return n
	}
	for _, c := range n.Content {
		if found := scalarWith(c, part); found != nil {
			return found
		}
	}
	return nil
}
