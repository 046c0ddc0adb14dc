package lint

import (
	"slices"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// checkQuantileAverage finds quantiles that are averaged or added up.
var checkQuantileAverage = &Spec{
	Name:  "quantile_average",
	Finds: "an average or a sum of quantiles",
	Why:   "The average of quantiles is no quantile: one slow instance among many vanishes in it, and so does a slow release.",
	rule:  lintQuantileAverage,
	floor: true,
}

func lintQuantileAverage(r *rule) []finding {
	var found []finding
	parser.Inspect(r.AST, func(n parser.Node, path []parser.Node) error {
		if !isQuantile(n) {
			return nil
		}
		for _, above := range slices.Backward(path) {
			a, ok := above.(*parser.AggregateExpr)
			if ok && (a.Op == parser.AVG || a.Op == parser.SUM) {
				found = append(found, r.at(rules.Warning, a.PositionRange(), "quantiles can't be averaged",
					"Aggregate the buckets first: histogram_quantile(0.99, sum by (le) (rate(…_bucket[1m]))). Of a summary take the worst: max(…)."))
				return nil
			}
		}
		return nil
	})
	return found
}

// isQuantile says that a node gives quantiles: a histogram's, or a summary's.
func isQuantile(n parser.Node) bool {
	switch n := n.(type) {
	case *parser.Call:
		return n.Func.Name == "histogram_quantile" || n.Func.Name == "quantile_over_time"
	case *parser.VectorSelector:
		for _, m := range n.LabelMatchers {
			if m.Name == "quantile" {
				return true
			}
		}
	}
	return false
}
