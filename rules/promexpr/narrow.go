package promexpr

import (
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// push narrows an expression's selectors to what has a matcher in its result. It says whether they give
// the same then as the matched result.
func push(e parser.Expr, m *labels.Matcher) bool {
	switch e := e.(type) {
	case *parser.VectorSelector:
		e.LabelMatchers = append(e.LabelMatchers, m)
		return true
	case *parser.MatrixSelector:
		return push(e.VectorSelector, m)
	case *parser.ParenExpr:
		return push(e.Expr, m)
	case *parser.SubqueryExpr:
		return push(e.Expr, m)
	case *parser.UnaryExpr:
		return push(e.Expr, m)
	case *parser.AggregateExpr:
		switch e.Op {
		case parser.TOPK, parser.BOTTOMK, parser.LIMITK, parser.LIMIT_RATIO, parser.COUNT_VALUES:
			return false
		}
		return slices.Contains(e.Grouping, m.Name) != e.Without && push(e.Expr, m)
	case *parser.BinaryExpr:
		return pushBoth(e, m)
	case *parser.Call:
		return pushCall(e, m)
	default: // a number has no labels
		return false
	}
}

func pushBoth(e *parser.BinaryExpr, m *labels.Matcher) bool {
	switch v := e.VectorMatching; {
	case e.LHS.Type() == parser.ValueTypeScalar:
		return push(e.RHS, m)
	case e.RHS.Type() == parser.ValueTypeScalar, e.Op == parser.LAND, e.Op == parser.LUNLESS:
		return push(e.LHS, m)
	case slices.Contains(v.MatchingLabels, m.Name) != v.On || slices.Contains(v.Include, m.Name):
		return false
	default:
		return push(e.LHS, m) && push(e.RHS, m)
	}
}

// pushCall narrows what a function reads, but for functions that make labels.
func pushCall(e *parser.Call, m *labels.Matcher) bool {
	switch e.Func.Name {
	case "label_replace", "label_join", "absent", "absent_over_time", "vector", "info", "scalar", "time":
		return false
	}
	pushed := false
	for _, arg := range e.Args {
		if t := arg.Type(); t == parser.ValueTypeVector || t == parser.ValueTypeMatrix {
			if m.Name == labels.BucketLabel || !push(arg, m) {
				return false
			}
			pushed = true
		}
	}
	return pushed
}

// drops says that no series of an expression's result has a label.
func drops(e parser.Expr, name string) bool {
	switch e := e.(type) {
	case *parser.ParenExpr:
		return drops(e.Expr, name)
	case *parser.SubqueryExpr:
		return drops(e.Expr, name)
	case *parser.UnaryExpr:
		return drops(e.Expr, name)
	case *parser.AggregateExpr:
		switch e.Op {
		case parser.COUNT_VALUES: // makes one
			return false
		case parser.TOPK, parser.BOTTOMK, parser.LIMITK, parser.LIMIT_RATIO:
			return drops(e.Expr, name)
		}
		return slices.Contains(e.Grouping, name) == e.Without || drops(e.Expr, name)
	case *parser.BinaryExpr:
		switch {
		case e.LHS.Type() == parser.ValueTypeScalar && e.RHS.Type() == parser.ValueTypeVector:
			return drops(e.RHS, name)
		case e.Op == parser.LAND, e.Op == parser.LUNLESS:
			return drops(e.LHS, name)
		default: // either side's labels may be in the result
			return drops(e.LHS, name) && drops(e.RHS, name)
		}
	case *parser.Call:
		switch e.Func.Name {
		case "label_replace", "label_join", "absent", "absent_over_time", "info":
			return false
		}
		return !slices.ContainsFunc(e.Args, func(arg parser.Expr) bool { return !drops(arg, name) })
	case *parser.MatrixSelector, *parser.VectorSelector:
		return false
	default: // a number has no labels
		return true
	}
}
