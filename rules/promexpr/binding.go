package promexpr

import (
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// Binding says whose data can make an expression give a sample.
type Binding int

// The bindings, the narrower first.
const (
	BoundToNothing  Binding = iota // no selector: numbers and the like
	BoundToPrevious                // the previous version's only
	BoundToVersion                 // the version's, perhaps compared with the previous one's
	Unbound                        // anything's
)

// BindingOf says whose data can make an expression give a sample.
func BindingOf(e parser.Expr) Binding {
	switch e := Unparen(e).(type) {
	case *parser.VectorSelector:
		return SelectorBinding(e)
	case *parser.BinaryExpr:
		left, right := BindingOf(e.LHS), BindingOf(e.RHS)
		switch e.Op {
		case parser.LAND: // both sides are needed: one that is bound is enough
			if left == BoundToVersion || right == BoundToVersion {
				return BoundToVersion
			}
		case parser.LUNLESS:
			return left
		case parser.LOR:
			if left != right {
				return Unbound
			}
		}
		return max(left, right)
	default:
		all := BoundToNothing
		for c := range parser.ChildrenIter(e) {
			if c, ok := c.(parser.Expr); ok {
				all = max(all, BindingOf(c))
			}
		}
		return all
	}
}

// SelectorBinding says whose data a selector reads.
func SelectorBinding(vs *parser.VectorSelector) Binding {
	found := Unbound
	for _, m := range vs.LabelMatchers {
		narrow := m.Type == labels.MatchEqual || m.Type == labels.MatchRegexp && !strings.Contains(m.Value, "|")
		switch {
		case narrow && strings.Contains(m.Value, "${version}"):
			return BoundToVersion
		case narrow && strings.Contains(m.Value, "${previous_version}"):
			found = BoundToPrevious
		}
	}
	return found
}
