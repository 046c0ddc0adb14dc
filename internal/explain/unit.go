package explain

import (
	"slices"
	"strings"

	"github.com/gatekeeper-engine/gatekeeper/internal/chart"
	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// unitOf gives the unit of a rule whose expression is known: percent where a ratio is compared with
// a limit below 1.
func unitOf(expr string, c chart.Chart) chart.Unit {
	ast, err := promexpr.Parser.ParseExpr(expr)
	if err != nil || c.Limit == nil || c.Limit.Value <= 0 || c.Limit.Value >= 1 {
		return c.Unit
	}
	operand, ok := promexpr.FindOperand(ast)
	if !ok {
		return chart.Plain
	}
	ratio := promexpr.FindRatio(operand.Expr, operand.Falling())
	if ratio == nil || slices.ContainsFunc(ratio.Numerator, measured) {
		return chart.Plain
	}
	return chart.Percent
}

// measured says whether a query is of an amount rather than of a number of events, so that a
// division of it gives an average.
func measured(query string) bool {
	return strings.Contains(query, "_sum") || strings.Contains(query, "_seconds") || strings.Contains(query, "_bytes")
}
