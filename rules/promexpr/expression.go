// Package promexpr takes PromQL expressions of health rules apart: what they compare with what, what
// they divide by what, what they read, how far back, and whose data it is. It asks nothing and
// changes nothing; its functions may be called concurrently on expressions that nobody changes.
package promexpr

import (
	"strings"
	"time"

	"github.com/prometheus/prometheus/promql/parser"
)

// Parser reads the language of the backends, without its experiments.
var Parser = parser.NewParser(parser.Options{})

// Depth is how deep an expression nests.
func Depth(n parser.Node) int {
	deepest := 0
	for c := range parser.ChildrenIter(n) {
		deepest = max(deepest, Depth(c))
	}
	return deepest + 1
}

// Reach is how far before its instant an expression looks at most, but for the lookback by which
// a backend finds the latest sample of a series.
func Reach(n parser.Node, known Recordings) time.Duration {
	var own time.Duration
	switch n := n.(type) {
	case *parser.VectorSelector:
		own = n.OriginalOffset
		for _, one := range known.all(n) {
			own = max(own, n.OriginalOffset+one.reach)
		}
	case *parser.MatrixSelector:
		own = n.Range
	case *parser.SubqueryExpr:
		own = n.Range + n.OriginalOffset
	}
	var deepest time.Duration
	for c := range parser.ChildrenIter(n) {
		deepest = max(deepest, Reach(c, known))
	}
	return max(0, own+deepest)
}

// Unparen strips parentheses.
func Unparen(e parser.Expr) parser.Expr {
	for {
		p, ok := e.(*parser.ParenExpr)
		if !ok {
			return e
		}
		e = p.Expr
	}
}

// Selectors gives the selectors of an expression in the order of the text.
func Selectors(n parser.Node) []*parser.VectorSelector {
	var all []*parser.VectorSelector
	parser.Inspect(n, func(n parser.Node, _ []parser.Node) error {
		if vs, ok := n.(*parser.VectorSelector); ok {
			all = append(all, vs)
		}
		return nil
	})
	return all
}

// Anchored says that an expression has @ start() or @ end(), or sorts: these mean something else in a range
// query than at an instant.
func Anchored(n parser.Node) bool {
	found := false
	parser.Inspect(n, func(n parser.Node, _ []parser.Node) error {
		switch n := n.(type) {
		case *parser.VectorSelector:
			found = found || n.StartOrEnd != 0
		case *parser.SubqueryExpr:
			found = found || n.StartOrEnd != 0
		case *parser.Call: // sorting warns there, and an answer with a warning is none
			found = found || strings.HasPrefix(n.Func.Name, "sort")
		}
		return nil
	})
	return found
}
