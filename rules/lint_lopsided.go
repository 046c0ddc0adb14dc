package rules

import (
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// lintLopsided finds a success ratio that goes blind when nothing succeeds: a version that fails
// every request never makes a series of successes, and a division by which nothing is divided is
// not 0 but nothing.
func lintLopsided(c lintContext) []finding {
	o, ok := promexpr.FindOperand(c.ast)
	if !ok || c.rule.MissingSuccess != "" {
		return nil
	}
	if r := promexpr.FindRatio(o.Expr, o.Falling()); r == nil || !r.Success || !narrower(o.Expr) {
		return nil
	}
	return []finding{{
		severity: Warning,
		part:     o.Expr.PositionRange(),
		message:  "this success ratio is blind when every request fails: without one success its numerator is empty, and so is the whole expression",
		hint:     "Compare the errors: sum(rate(…bad…)) / sum(rate(…all…)) > 0.01. Or say missing_success: unhealthy in the rule, in groups of the health file.",
	}}
}

// narrower says that the division's numerator can be empty while its denominator is not: it has a
// matcher that the denominator lacks, or reads another metric.
func narrower(e parser.Expr) bool {
	narrow := false
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		b, ok := n.(*parser.BinaryExpr)
		if !ok || b.Op != parser.DIV {
			return nil
		}
		below := map[string]bool{}
		for _, vs := range promexpr.Selectors(b.RHS) {
			for _, m := range vs.LabelMatchers {
				below[m.String()] = true
			}
		}
		for _, vs := range promexpr.Selectors(b.LHS) {
			for _, m := range vs.LabelMatchers {
				there := m.Type == labels.MatchNotEqual && m.Value == "" // which asks only that the label is set
				narrow = narrow || !below[m.String()] && !there
			}
		}
		return nil
	})
	return narrow
}
