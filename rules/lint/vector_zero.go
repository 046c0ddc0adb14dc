package lint

import (
	"fmt"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// checkVectorZero finds a number in the place of missing data.
var checkVectorZero = &Spec{
	Name:  "vector_zero",
	Finds: "`or vector(0)` in the place of missing data, but for a numerator's",
	Why:   "Missing data looks like a value: a release whose metrics are gone is called healthy, or harmful, and nobody is told.",
	rule:  lintVectorZero,
}

func lintVectorZero(r *rule) []finding {
	if r.operand == nil {
		return nil
	}
	o := r.operand
	numerator := parser.Expr(nil)
	if ratio := promexpr.FindRatio(o.Expr, o.Falling()); ratio != nil {
		numerator = ratio.Top
	}
	var found []finding
	for _, b := range binaries(o.Expr) {
		value, ok := constantVector(b)
		if !ok || numerator != nil && within(b, numerator) {
			continue
		}
		f := r.at(rules.Warning, b.RHS.PositionRange(), fmt.Sprintf("this puts %v in the place of missing data", value),
			"Leave it out: no_data of the route says what missing data does.")
		if r.changesNothing(b, value) {
			f.edits = []replace{{int(b.LHS.PositionRange().End), int(b.RHS.PositionRange().End), ""}}
		}
		found = append(found, f)
	}
	return found
}

// constantVector gives the number of A or vector(number).
func constantVector(b *parser.BinaryExpr) (float64, bool) {
	if b.Op != parser.LOR {
		return 0, false
	}
	c, ok := promexpr.Unparen(b.RHS).(*parser.Call)
	if !ok || c.Func.Name != "vector" {
		return 0, false
	}
	return promexpr.Number(c.Args[0])
}

func within(e, of parser.Expr) bool {
	a, b := e.PositionRange(), of.PositionRange()
	return a.Start >= b.Start && a.End <= b.End
}

// changesNothing says that the number stands for the whole operand and never passes its comparison.
func (r *rule) changesNothing(b *parser.BinaryExpr, value float64) bool {
	if promexpr.Unparen(r.operand.Expr) != parser.Expr(b) || len(r.operand.Compare) == 0 {
		return false
	}
	for _, c := range r.operand.Compare {
		if !c.Holds(value) {
			return true
		}
	}
	return false
}
