package lint

import (
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// checkLopsided finds a success ratio that goes blind when nothing succeeds: a version that fails
// every request never makes a series of successes.
var checkLopsided = &Spec{
	Name:  "lopsided",
	Finds: "a success ratio that is blind when every request fails",
	Why:   "A division by which nothing is divided is not 0 but nothing: the worst release of all looks like missing data.",
	rule:  lintLopsided,
}

func lintLopsided(r *rule) []finding {
	if r.operand == nil || r.MissingSuccess != "" {
		return nil
	}
	o := r.operand
	ratio := promexpr.FindRatio(o.Expr, o.Falling())
	if ratio == nil || !ratio.Success || !narrower(ratio) {
		return nil
	}
	f := r.at(rules.Warning, o.Expr.PositionRange(), "without one success the numerator of this ratio is empty, and so is the whole expression",
		"Compare the errors instead, or say missing_success: unhealthy in the rule, in groups of the health file.")
	top, okTop := promexpr.Unparen(ratio.Top).(*parser.AggregateExpr)
	bottom, okBottom := promexpr.Unparen(ratio.Bottom).(*parser.AggregateExpr)
	if okTop && okBottom && grouping(top) == grouping(bottom) {
		part := ratio.Top.PositionRange()
		f.edits = []replace{{int(part.Start), int(part.Start), "("}, {int(part.End), int(part.End), " or 0 * " + oneLine(r.text(bottom)) + ")"}}
	}
	return []finding{f}
}

// narrower says that the numerator can be empty while the denominator is not: it has a matcher that
// the denominator lacks, and nothing that takes its place.
func narrower(ratio *promexpr.Ratio) bool {
	if b, ok := promexpr.Unparen(ratio.Top).(*parser.BinaryExpr); ok && b.Op == parser.LOR {
		return false
	}
	below := map[string]bool{}
	for _, vs := range promexpr.Selectors(ratio.Bottom) {
		for _, m := range vs.LabelMatchers {
			below[m.String()] = true
		}
	}
	for _, vs := range promexpr.Selectors(ratio.Top) {
		for _, m := range vs.LabelMatchers {
			there := m.Type == labels.MatchNotEqual && m.Value == "" // which asks only that the label is set
			if !below[m.String()] && !there {
				return true
			}
		}
	}
	return false
}
