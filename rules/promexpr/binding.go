package promexpr

import (
	"slices"
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
func BindingOf(e parser.Expr, known Recordings) Binding {
	switch e := Unparen(e).(type) {
	case *parser.VectorSelector:
		return SelectorBinding(e, known)
	case *parser.BinaryExpr:
		left, right := BindingOf(e.LHS, known), BindingOf(e.RHS, known)
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
				all = max(all, BindingOf(c, known))
			}
		}
		return all
	}
}

// SelectorBinding says whose data a selector reads. A recorded series is bound by what its rule
// reads, or by a matcher of what the rule keeps.
func SelectorBinding(vs *parser.VectorSelector, known Recordings) Binding {
	own, one := ownBinding(vs), known.of(vs)
	switch {
	case one == nil:
		return own
	case own == Unbound:
		return one.binding
	default:
		return one.bindingOf(vs, known)
	}
}

// ownBinding says whose data a selector's matchers let through.
func ownBinding(vs *parser.VectorSelector) Binding {
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

// bindingOf says whose data a selector of the name reads, by a matcher of it where that reaches all
// that is recorded of.
func (r *Recorded) bindingOf(vs *parser.VectorSelector, known Recordings) Binding {
	if r.inlined == nil || r.binding == BoundToNothing {
		return r.binding
	}
	seen, _ := r.narrowed(vs)
	if slices.ContainsFunc(Selectors(seen), func(vs *parser.VectorSelector) bool { return known.of(vs) != nil }) {
		return r.binding
	}
	return min(r.binding, BindingOf(seen, nil))
}
