package lint

import (
	"slices"

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
	operand, through := r.seen(o.Expr)
	if ratio := promexpr.FindRatio(operand, o.Falling()); ratio != nil && ratio.Success && canVanish(ratio.Top, ratio.Bottom) {
		f := r.at(rules.Warning, o.Expr.PositionRange(), "without one success the numerator of this ratio is empty, and so is the whole expression",
			"Compare the errors instead, or say missing_success: unhealthy in the rule, in groups of the health file.")
		if !through {
			f.edits = r.orNone(ratio.Top, ratio.Bottom)
		}
		return []finding{f}
	}
	var found []finding
	for _, d := range promexpr.Differences(operand) {
		if through {
			return []finding{r.at(rules.Warning, o.Expr.PositionRange(), "where what is subtracted has no series this is empty, and so is the whole expression",
				"Ask for what is left by a matcher, such as status!~\"2..\", in the recording rule.")}
		}
		f := r.at(rules.Warning, d.Part.PositionRange(), "where this has no series the difference is empty, and so is the whole expression",
			"Ask for what is left by a matcher, such as status!~\"2..\", or put or 0 * the whole beside it.")
		f.edits = r.orNone(d.Part, d.Whole)
		found = append(found, f)
	}
	return found
}

// orNone puts a 0 in the place of a part that is empty while the whole is not, where both are
// aggregated to the same labels.
func (r *rule) orNone(part, whole parser.Expr) []replace {
	some, okSome := promexpr.Unparen(part).(*parser.AggregateExpr)
	all, okAll := promexpr.Unparen(whole).(*parser.AggregateExpr)
	if !okSome || !okAll || grouping(some) != grouping(all) {
		return nil
	}
	at := part.PositionRange()
	return []replace{{int(at.Start), int(at.Start), "("}, {int(at.End), int(at.End), " or 0 * " + oneLine(r.text(all)) + ")"}}
}

// canVanish says that a numerator can be empty while the denominator is not: it keeps only what passes
// a comparison, or has a matcher that the denominator lacks, and nothing takes its place.
func canVanish(top, bottom parser.Expr) bool {
	if b, ok := promexpr.Unparen(top).(*parser.BinaryExpr); ok && b.Op == parser.LOR {
		return false
	}
	if _, plain := promexpr.Unparen(top).(*parser.VectorSelector); plain && promexpr.OfGauges(top) {
		return false
	}
	if slices.ContainsFunc(binaries(top), func(b *parser.BinaryExpr) bool { return b.Op.IsComparisonOperator() && !b.ReturnBool }) {
		return true
	}
	below := promexpr.Selectors(bottom)
	return slices.ContainsFunc(promexpr.Selectors(top), func(vs *parser.VectorSelector) bool { return promexpr.Narrower(vs, below, !promexpr.OfGauges(top)) })
}
