package lint

import (
	"slices"
	"strings"

	"github.com/prometheus/common/model"
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
	if ratio := promexpr.FindRatio(o.Expr, o.Falling()); ratio != nil && ratio.Success && canVanish(ratio.Top, ratio.Bottom) {
		f := r.at(rules.Warning, o.Expr.PositionRange(), "without one success the numerator of this ratio is empty, and so is the whole expression",
			"Compare the errors instead, or say missing_success: unhealthy in the rule, in groups of the health file.")
		f.edits = r.orNone(ratio.Top, ratio.Bottom)
		return []finding{f}
	}
	var found []finding
	for _, b := range binaries(o.Expr) {
		if b.Op == parser.SUB && subset(b.RHS, b.LHS) {
			f := r.at(rules.Warning, b.RHS.PositionRange(), "where this has no series the difference is empty, and so is the whole expression",
				"Ask for what is left by a matcher, such as status!~\"2..\", or put or 0 * the whole beside it.")
			f.edits = r.orNone(b.RHS, b.LHS)
			found = append(found, f)
		}
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
	if _, plain := promexpr.Unparen(top).(*parser.VectorSelector); plain && ofGauges(top) {
		return false
	}
	if slices.ContainsFunc(binaries(top), func(b *parser.BinaryExpr) bool { return b.Op.IsComparisonOperator() && !b.ReturnBool }) {
		return true
	}
	below := promexpr.Selectors(bottom)
	return slices.ContainsFunc(promexpr.Selectors(top), func(vs *parser.VectorSelector) bool { return narrower(vs, below, !ofGauges(top)) })
}

// subset says that a part of a counter's series is subtracted from more of them.
func subset(part, whole parser.Expr) bool {
	if b, ok := promexpr.Unparen(part).(*parser.BinaryExpr); ok && b.Op == parser.LOR || ofGauges(part) {
		return false
	}
	return slices.ContainsFunc(promexpr.Selectors(part), func(vs *parser.VectorSelector) bool {
		return slices.ContainsFunc(promexpr.Selectors(whole), func(w *parser.VectorSelector) bool {
			return metric(w) == metric(vs) && !narrower(w, []*parser.VectorSelector{vs}, false) && narrower(vs, []*parser.VectorSelector{w}, false)
		})
	})
}

// narrower says that a selector has a matcher that none of the others has. A metric of another name
// may be missing too, where named says so: a counter of successes is often made with the first.
func narrower(vs *parser.VectorSelector, others []*parser.VectorSelector, named bool) bool {
	there := map[string]bool{}
	for _, o := range others {
		there[metric(o)] = true
		for _, m := range o.LabelMatchers {
			there[m.String()] = true
		}
	}
	if named && !there[metric(vs)] {
		return true
	}
	return slices.ContainsFunc(vs.LabelMatchers, func(m *labels.Matcher) bool {
		switch {
		case m.Name == model.MetricNameLabel:
			return false
		case m.Name == labels.BucketLabel && strings.HasSuffix(vs.Name, "_bucket"):
			return false // a histogram has all its buckets from its first sample on
		case m.Type == labels.MatchNotEqual && m.Value == "":
			return false // which asks only that the label is set
		default:
			return !there[m.String()]
		}
	})
}

// metric is a selector's metric, a histogram's for its parts.
func metric(vs *parser.VectorSelector) string {
	for _, suffix := range []string{"_bucket", "_count", "_sum"} {
		if base, ok := strings.CutSuffix(vs.Name, suffix); ok {
			return base
		}
	}
	return vs.Name
}

// ofGauges says that an expression reads gauges, as far as it shows: no function for counters, no
// counter's name and no recorded one. A gauge is there when it is 0, too.
func ofGauges(e parser.Expr) bool {
	if len(calls(e, "rate", "irate", "increase")) > 0 {
		return false
	}
	return !slices.ContainsFunc(promexpr.Selectors(e), func(vs *parser.VectorSelector) bool {
		return vs.Name == "" || strings.HasSuffix(vs.Name, "_total") || strings.Contains(vs.Name, ":")
	})
}
