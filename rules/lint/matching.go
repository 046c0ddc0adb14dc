package lint

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// checkMatching finds two sides of an operation whose labels can't match.
var checkMatching = &Spec{
	Name:  "matching",
	Finds: "an operation between two sides that never have the same labels, as in `sum by (pod) (a) / sum(b)`",
	Why:   "Nothing ever matches: the expression is always empty, or its guard never holds.",
	rule:  lintMatching,
	floor: true,
}

func lintMatching(r *rule) []finding {
	var found []finding
	for _, b := range binaries(r.AST) {
		m := b.VectorMatching
		if b.Op == parser.LOR || m == nil || m.On || len(m.MatchingLabels) > 0 ||
			b.LHS.Type() != parser.ValueTypeVector || b.RHS.Type() != parser.ValueTypeVector {
			continue
		}
		left, okLeft := carried(b.LHS)
		right, okRight := carried(b.RHS)
		if !okLeft || !okRight || maps.Equal(left, right) {
			continue
		}
		found = append(found, r.at(rules.Error, b.PositionRange(),
			fmt.Sprintf("the left side has the labels %s, the right side %s: they never match", names(left), names(right)),
			fmt.Sprintf("Group both sides alike, or say on which labels they match: %s on (…).", b.Op)))
	}
	return found
}

func names(set map[string]bool) string {
	return "{" + strings.Join(slices.Sorted(maps.Keys(set)), ", ") + "}"
}
