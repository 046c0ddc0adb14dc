package lint

import (
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// checkRatioAverage finds ratios that are averaged.
var checkRatioAverage = &Spec{
	Name:  "ratio_average",
	Finds: "an average of ratios, as in `avg(errors / requests)`",
	Why:   "An idle instance counts as much as a busy one, so the share of requests that fail is another one.",
	rule:  lintRatioAverage,
}

func lintRatioAverage(r *rule) []finding {
	var found []finding
	for _, a := range aggregates(r.AST, parser.AVG) {
		b, ok := promexpr.Unparen(a.Expr).(*parser.BinaryExpr)
		if !ok || b.Op != parser.DIV || len(promexpr.Selectors(b.LHS)) == 0 || len(promexpr.Selectors(b.RHS)) == 0 {
			continue
		}
		f := r.at(rules.Warning, a.PositionRange(), "an average of ratios is not the ratio of all", "Divide the sums.")
		if len(a.Grouping) == 0 && b.VectorMatching != nil && b.VectorMatching.Card == parser.CardOneToOne {
			f.rewrite = r.instead(a.PositionRange(), "sum("+r.text(b.LHS)+") / sum("+r.text(b.RHS)+")")
		}
		found = append(found, f)
	}
	return found
}
