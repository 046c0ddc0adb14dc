package promexpr

import "github.com/prometheus/prometheus/promql/parser"

// Ratio is a division that is compared: the errors among the requests, or the successes.
type Ratio struct {
	Numerator   []string // a probe per selector
	Denominator string   // the query
	Top, Bottom parser.Expr
	Success     bool // low values of the division are the bad ones
}

// FindRatio finds the division in what is compared: below parentheses, beside factors, and in
// 1 - A / B, where low values of A / B become high ones. falling says that low values of e are bad.
func FindRatio(e parser.Expr, falling bool) *Ratio {
	b, ok := Unparen(e).(*parser.BinaryExpr)
	if !ok {
		return nil
	}
	_, left := Number(b.LHS)
	_, right := Number(b.RHS)
	switch {
	case (b.Op == parser.MUL || b.Op == parser.SUB || b.Op == parser.ADD || b.Op == parser.DIV) && right:
		return FindRatio(b.LHS, falling)
	case (b.Op == parser.MUL || b.Op == parser.ADD) && left:
		return FindRatio(b.RHS, falling)
	case b.Op == parser.SUB && left:
		return FindRatio(b.RHS, !falling)
	case b.Op == parser.DIV && !left:
		top, bottom := Probes(b.LHS), Selectors(b.RHS)
		if len(top) == 0 || len(bottom) == 0 {
			return nil
		}
		return &Ratio{Numerator: top, Denominator: Unparen(b.RHS).String(), Top: b.LHS, Bottom: b.RHS, Success: falling}
	default:
		return nil
	}
}
