package lint

import (
	"math"

	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// checkNaN finds comparisons with NaN.
var checkNaN = &Spec{
	Name:  "nan",
	Finds: "a comparison with `NaN`",
	Why:   "NaN equals nothing, itself included, so the rule never finds harm, or always with !=.",
	rule:  lintNaN,
	floor: true,
}

func lintNaN(r *rule) []finding {
	var found []finding
	for _, b := range binaries(r.AST) {
		if !b.Op.IsComparisonOperator() {
			continue
		}
		left, okLeft := promexpr.Number(b.LHS)
		right, okRight := promexpr.Number(b.RHS)
		if okLeft && math.IsNaN(left) || okRight && math.IsNaN(right) {
			found = append(found, r.at(rules.Error, b.PositionRange(), "a comparison with NaN says nothing about the value",
				"Gatekeeper tells 0/0 apart by itself (no_traffic). To find NaN, compare a value with itself: x != x."))
		}
	}
	return found
}
