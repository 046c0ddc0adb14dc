package lint

import (
	"slices"
	"strings"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// checkHistogramLE finds buckets that lost the label that tells them apart.
var checkHistogramLE = &Spec{
	Name:  "histogram_le",
	Finds: "a `histogram_quantile()` over buckets that are aggregated without `le`",
	Why:   "Without le there are no buckets to read: the quantile is always empty, and the rule never finds harm.",
	rule:  lintHistogramLE,
	floor: true,
}

func lintHistogramLE(r *rule) []finding {
	var found []finding
	for _, c := range calls(r.AST, "histogram_quantile") {
		a, ok := promexpr.Unparen(c.Args[1]).(*parser.AggregateExpr)
		if !ok || a.Without != slices.Contains(a.Grouping, "le") || !overBuckets(a) {
			continue
		}
		f := r.at(rules.Error, a.PositionRange(), "this aggregates le away", "Keep le: sum by (le) (…).")
		if !a.Without {
			f.edits = r.keepLE(a)
		}
		found = append(found, f)
	}
	return found
}

func overBuckets(a *parser.AggregateExpr) bool {
	return slices.ContainsFunc(promexpr.Selectors(a), func(vs *parser.VectorSelector) bool { return strings.HasSuffix(vs.Name, "_bucket") })
}

// keepLE adds le to an aggregation's labels.
func (r *rule) keepLE(a *parser.AggregateExpr) []replace {
	part := a.PositionRange()
	depth := 0
	all := tokens(r.Source)
	for i, t := range all {
		if t.from < int(part.Start) || t.to > int(part.End) {
			continue
		}
		switch t.kind {
		case parser.LEFT_PAREN:
			depth++
		case parser.RIGHT_PAREN:
			depth--
		case parser.BY:
			if depth == 0 && i+2 < len(all) {
				text := "le, "
				if all[i+2].kind == parser.RIGHT_PAREN {
					text = "le"
				}
				return []replace{{all[i+1].to, all[i+1].to, text}}
			}
		}
	}
	at := int(part.Start) + len(a.Op.String())
	return []replace{{at, at, " by (le) "}}
}
