package lint

import (
	"fmt"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// checkTopk finds aggregations that pick other series at each look.
var checkTopk = &Spec{
	Name:  "topk",
	Finds: "`topk` and its like, which pick other series at each look",
	Why:   "for counts for each series alone: when another one takes its place it starts over, and harm that moves around is never found.",
	rule:  lintTopk,
}

func lintTopk(r *rule) []finding {
	var found []finding
	for _, a := range aggregates(r.AST, parser.TOPK, parser.BOTTOMK, parser.LIMITK, parser.LIMIT_RATIO) {
		found = append(found, r.at(rules.Warning, a.PositionRange(), fmt.Sprintf("%s picks other series from look to look", a.Op),
			"Use max(…) or min(…), or compare every series."))
	}
	return found
}
