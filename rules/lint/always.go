package lint

import (
	"regexp"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// checkAlways finds an expression that gives a sample whether things are well or not.
var checkAlways = &Spec{
	Name:  "always",
	Finds: "an expression that compares nothing, or with `bool`, and so is unhealthy whenever it has a value",
	Why:   "An alert is active for every sample of its expression, 0 too: every release would be rolled back.",
	rule:  lintAlways,
}

func lintAlways(r *rule) []finding {
	if canBeEmpty(r.AST) {
		return nil
	}
	f := r.at(rules.Warning, r.AST.PositionRange(),
		"this is unhealthy as soon as it has a value, whatever the value is", "Compare it, as in … > 0.01, without bool.")
	if b, ok := promexpr.Unparen(r.AST).(*parser.BinaryExpr); ok && b.ReturnBool {
		from, to := int(b.LHS.PositionRange().End), int(b.RHS.PositionRange().Start)
		if m := boolWord.FindStringIndex(r.Source[from:to]); m != nil {
			f.edits = []replace{{from + m[0], from + m[1], ""}}
		}
	}
	return []finding{f}
}

var boolWord = regexp.MustCompile(`(?i)\bbool\s*`)

// canBeEmpty says whether an expression can give nothing although its selectors have data.
func canBeEmpty(e parser.Expr) bool {
	switch e := promexpr.Unparen(e).(type) {
	case *parser.BinaryExpr:
		switch {
		case e.Op.IsComparisonOperator() && !e.ReturnBool:
			return true
		case e.Op == parser.LAND || e.Op == parser.LUNLESS:
			return true
		case e.Op == parser.LOR:
			return canBeEmpty(e.LHS) && canBeEmpty(e.RHS)
		}
		return canBeEmpty(e.LHS) || canBeEmpty(e.RHS)
	case *parser.Call:
		switch e.Func.Name {
		case "absent", "absent_over_time":
			return true
		case "vector", "scalar":
			return false
		}
		for _, arg := range e.Args {
			if canBeEmpty(arg) {
				return true
			}
		}
		return false
	case *parser.AggregateExpr:
		return canBeEmpty(e.Expr)
	case *parser.UnaryExpr:
		return canBeEmpty(e.Expr)
	case *parser.SubqueryExpr:
		return canBeEmpty(e.Expr)
	default:
		return false
	}
}
