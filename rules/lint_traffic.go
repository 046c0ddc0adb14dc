package rules

import (
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// lintTraffic finds a ratio that a handful of requests can push over its limit: one error in three
// requests is 33%.
func lintTraffic(c lintContext) []finding {
	if c.file.MinTraffic != "" {
		return nil
	}
	o, ok := promexpr.FindOperand(c.ast)
	if !ok || promexpr.FindRatio(o.Expr, o.Falling()) == nil || guarded(c.ast) {
		return nil
	}
	return []finding{{
		severity: Info,
		part:     o.Expr.PositionRange(),
		message:  "a ratio without a floor of traffic: one error in three requests is 33%",
		hint:     `Set min_traffic in the health file: sum(rate(http_requests_total{service="${service}", version="${version}"}[1m])) > 1`,
	}}
}

// guarded says that an expression has a guard at its top.
func guarded(e parser.Expr) bool {
	b, ok := promexpr.Unparen(e).(*parser.BinaryExpr)
	return ok && (b.Op == parser.LAND || b.Op == parser.LUNLESS)
}
