// Package yamlnode has what strict readers of YAML share: they walk over nodes, for a position in each
// message.
package yamlnode

import (
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Follow gives what an alias stands for; nil for nil.
func Follow(n *yaml.Node) *yaml.Node {
	for n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// IsNull says whether nothing is written.
func IsNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// Kind names what a node is, for messages: "a mapping", "a list", "nothing", or its text in quotes.
func Kind(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case IsNull(n):
		return "nothing"
	}
	const most = 60
	if len(n.Value) > most {
		return strconv.Quote(strings.ToValidUTF8(n.Value[:most], "") + "…")
	}
	return strconv.Quote(n.Value)
}

// Limits say how much a document may unfold to; aliases count as often as they are used.
type Limits struct {
	Nodes int
	Bytes int // of all its texts
	Depth int
}

// Fit says whether a document stays within the limits.
func (l Limits) Fit(doc *yaml.Node) bool { return (&weight{limits: l}).fits(doc, 0) }

type weight struct {
	limits       Limits
	nodes, bytes int
}

func (w *weight) fits(n *yaml.Node, depth int) bool {
	w.nodes++
	w.bytes += len(n.Value)
	if w.nodes > w.limits.Nodes || w.bytes > w.limits.Bytes || depth > w.limits.Depth {
		return false
	}
	if n.Kind == yaml.AliasNode {
		return w.fits(n.Alias, depth+1)
	}
	return !slices.ContainsFunc(n.Content, func(c *yaml.Node) bool { return !w.fits(c, depth+1) })
}
