package lint

import (
	"fmt"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// checkOffset finds selectors that look at another time than the release's.
var checkOffset = &Spec{
	Name:  "offset",
	Finds: "a negative `offset`, and `@` with a fixed time",
	Why:   "The rule does not see what happens while the release is watched, but what is not there yet or never changes again.",
	rule:  lintOffset,
	floor: true,
}

func lintOffset(r *rule) []finding {
	var found []finding
	look := func(n parser.Expr, offset model.Duration, at *int64) {
		switch {
		case at != nil:
			found = append(found, r.at(rules.Warning, n.PositionRange(), "@ names a fixed instant: what is read never changes", "Leave @ out; offset looks back from each look."))
		case offset < 0:
			found = append(found, r.at(rules.Warning, n.PositionRange(), fmt.Sprintf("an offset of -%s looks into the future, where there is no data yet", -offset), "Leave it out."))
		}
	}
	parser.Inspect(r.AST, func(n parser.Node, _ []parser.Node) error {
		switch n := n.(type) {
		case *parser.VectorSelector:
			look(n, model.Duration(n.OriginalOffset), n.Timestamp)
		case *parser.SubqueryExpr:
			look(n, model.Duration(n.OriginalOffset), n.Timestamp)
		}
		return nil
	})
	return found
}
