package lint

import (
	"fmt"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
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
		if r.joined(a) {
			continue
		}
		found = append(found, r.at(rules.Warning, a.PositionRange(), fmt.Sprintf("%s picks other series from look to look", a.Op),
			"Use max(…) or min(…), or compare every series."))
	}
	return found
}

// joined says that an expression only lends labels: it is on the one side of a group_left or
// group_right, where picking any of several series is what makes the join possible.
func (r *rule) joined(e parser.Expr) bool {
	for _, b := range binaries(r.AST) {
		if b.VectorMatching == nil {
			continue
		}
		switch b.VectorMatching.Card {
		case parser.CardManyToOne:
			if promexpr.Unparen(b.RHS) == e {
				return true
			}
		case parser.CardOneToMany:
			if promexpr.Unparen(b.LHS) == e {
				return true
			}
		case parser.CardOneToOne, parser.CardManyToMany:
		}
	}
	return false
}
