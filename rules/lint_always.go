package rules

import (
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// lintAlways finds an expression that gives a sample whether things are well or not: an alert is
// active for any sample, 0 too.
func lintAlways(c lintContext) []finding {
	if canBeEmpty(c.ast) {
		return nil
	}
	return []finding{{
		severity: Warning,
		part:     c.ast.PositionRange(),
		message:  "this is unhealthy as soon as it has a value, whatever the value is: nothing is compared",
		hint:     "An alert is active for every sample of its expression, 0 too. Compare it, as in … > 0.01, without bool.",
	}}
}

// canBeEmpty says whether an expression can give nothing although its selectors have data.
func canBeEmpty(e parser.Expr) bool {
	switch e := promexpr.Unparen(e).(type) {
	case *parser.BinaryExpr:
		switch {
		case e.Op.IsComparisonOperator() && !e.ReturnBool:
			return true
		case e.Op == parser.LAND || e.Op == parser.LUNLESS:
			return true
		case e.Op == parser.LOR:
			return canBeEmpty(e.LHS) && canBeEmpty(e.RHS)
		}
		return canBeEmpty(e.LHS) || canBeEmpty(e.RHS)
	case *parser.Call:
		if e.Func.Name == "absent" || e.Func.Name == "absent_over_time" {
			return true
		}
		if e.Func.Name == "vector" || e.Func.Name == "scalar" {
			return false
		}
		for _, arg := range e.Args {
			if canBeEmpty(arg) {
				return true
			}
		}
		return false
	case *parser.AggregateExpr:
		return canBeEmpty(e.Expr)
	case *parser.UnaryExpr:
		return canBeEmpty(e.Expr)
	case *parser.SubqueryExpr:
		return canBeEmpty(e.Expr)
	default:
		return false
	}
}
