package rules

import "github.com/prometheus/prometheus/promql/parser"

// ratio is a division that is compared: the errors among the requests, or the successes.
type ratio struct {
	numerator   []string // a probe per selector
	denominator string   // the query
	success     bool     // low values of the division are the bad ones
}

// findRatio finds the division in what is compared: below parentheses, beside factors, and in
// 1 - A / B, where low values of A / B become high ones. falling says that low values of e are bad.
func findRatio(e parser.Expr, falling bool) *ratio {
	b, ok := unparen(e).(*parser.BinaryExpr)
	if !ok {
		return nil
	}
	_, left := number(b.LHS)
	_, right := number(b.RHS)
	switch {
	case (b.Op == parser.MUL || b.Op == parser.SUB || b.Op == parser.ADD || b.Op == parser.DIV) && right:
		return findRatio(b.LHS, falling)
	case (b.Op == parser.MUL || b.Op == parser.ADD) && left:
		return findRatio(b.RHS, falling)
	case b.Op == parser.SUB && left:
		return findRatio(b.RHS, !falling)
	case b.Op == parser.DIV && !left:
		top, bottom := probes(b.LHS), selectors(b.RHS)
		if len(top) == 0 || len(bottom) == 0 {
			return nil
		}
		return &ratio{numerator: top, denominator: unparen(b.RHS).String(), success: falling}
	default:
		return nil
	}
}
