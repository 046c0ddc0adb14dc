package lint

import (
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// checkTraffic finds a ratio that a handful of requests can push over its limit.
var checkTraffic = &Spec{
	Name:  "traffic",
	Finds: "a ratio without `min_traffic` or a guard",
	Why:   "One error in three requests is 33%: a quiet minute rolls a good release back.",
	rule:  lintTraffic,
}

func lintTraffic(r *rule) []finding {
	if r.file.MinTraffic != "" || r.operand == nil || guarded(r.AST) {
		return nil
	}
	operand, through := r.seen(r.operand.Expr)
	ratio := promexpr.FindRatio(operand, r.operand.Falling())
	if ratio == nil || promexpr.OfGauges(ratio.Top) && promexpr.OfGauges(ratio.Bottom) {
		return nil // such as free memory: it counts no requests
	}
	f := r.at(rules.Info, r.operand.Expr.PositionRange(), "a ratio without a floor of traffic",
		`Set min_traffic in the health file, such as sum(rate(http_requests_total{service="${service}", version="${version}"}[1m])) > 1, or guard the rule.`)
	if set, known := carried(ratio.Bottom); known && len(set) == 0 && !through {
		f.rewrite = oneLine(r.Source) + " and on () " + oneLine(r.text(ratio.Bottom)) + " > 1"
	}
	return []finding{f}
}

// guarded says that an expression has a guard at its top.
func guarded(e parser.Expr) bool {
	b, ok := promexpr.Unparen(e).(*parser.BinaryExpr)
	return ok && (b.Op == parser.LAND || b.Op == parser.LUNLESS)
}
