package rules

import (
	"math"
	"strings"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/gatekeeper-engine/gatekeeper"
)

// operand is the value that an expression compares: A of A > 0.01. It is asked instead of the
// expression where the comparison can be made here: one query gives the evidence and the verdict,
// so that they can't disagree.
type operand struct {
	expr    parser.Expr
	query   string
	limit   string    // such as "> 0.01"
	compare []compare // with constants, in order
	narrows bool      // no sample of it holds in all of compare: the expression is empty
	exact   bool      // the expression is nothing but it and compare
	own     bool      // the expression's values are the operand's
}

// compare is a comparison with a constant.
type compare struct {
	op    parser.ItemType
	value float64
}

// opposite gives the comparison with its sides exchanged.
var opposite = map[parser.ItemType]parser.ItemType{
	parser.GTR: parser.LSS, parser.LSS: parser.GTR, parser.GTE: parser.LTE, parser.LTE: parser.GTE,
	parser.EQLC: parser.EQLC, parser.NEQ: parser.NEQ,
}

// findOperand finds the value that an expression compares at its top: below parentheses, and
// beside guards, which are the other sides of and and unless.
func findOperand(e parser.Expr) (operand, bool) {
	b, ok := unparen(e).(*parser.BinaryExpr)
	if !ok {
		return operand{}, false
	}
	switch {
	case b.Op.IsComparisonOperator():
		return comparison(b)
	case b.Op == parser.LAND || b.Op == parser.LUNLESS:
		o, found := findOperand(b.LHS)
		if !found && b.Op == parser.LAND {
			o, found = findOperand(b.RHS)
			o.own = false
		}
		o.exact = false
		return o, found
	default:
		return operand{}, false
	}
}

func comparison(b *parser.BinaryExpr) (operand, bool) {
	subject, other, op := b.LHS, b.RHS, b.Op
	limit, constant := number(other)
	if n, ok := number(subject); ok && !constant {
		subject, other, op, limit, constant = b.RHS, b.LHS, opposite[op], n, true
	}
	if _, ok := number(subject); ok {
		return operand{}, false // two numbers
	}
	text := op.String() + " " + capText(unparen(other).String(), 200)
	o, nested := findOperand(subject)
	switch {
	case !nested:
		o = operand{expr: unparen(subject), limit: text, narrows: true, exact: true, own: true}
		o.query = o.expr.String()
	case o.own:
		o.limit += " and " + text
	default: // compares something else than what its inner comparison did
		o.exact = false
		return o, true
	}
	switch {
	case b.ReturnBool: // gives a sample for every value: 0 or 1
		o.narrows, o.exact, o.own = false, false, false
	case constant:
		o.compare = append(o.compare, compare{op, limit})
	default:
		o.exact = false
		if !nested {
			o.narrows = false
		}
	}
	return o, true
}

// number gives the value of an expression of constants.
func number(e parser.Expr) (float64, bool) {
	switch e := unparen(e).(type) {
	case *parser.NumberLiteral:
		return e.Val, true
	case *parser.UnaryExpr:
		v, ok := number(e.Expr)
		if e.Op == parser.SUB {
			v = -v
		}
		return v, ok
	case *parser.BinaryExpr:
		a, okA := number(e.LHS)
		b, okB := number(e.RHS)
		if !okA || !okB {
			return 0, false
		}
		switch e.Op {
		case parser.ADD:
			return a + b, true
		case parser.SUB:
			return a - b, true
		case parser.MUL:
			return a * b, true
		case parser.DIV:
			return a / b, true
		case parser.POW:
			return math.Pow(a, b), true
		case parser.MOD:
			return math.Mod(a, b), true
		}
	}
	return 0, false
}

// holds says whether a value passes the comparison, as in Prometheus: NaN passes != only.
func (c compare) holds(v float64) bool {
	switch c.op {
	case parser.GTR:
		return v > c.value
	case parser.GTE:
		return v >= c.value
	case parser.LSS:
		return v < c.value
	case parser.LTE:
		return v <= c.value
	case parser.EQLC:
		return v == c.value
	default:
		return v != c.value
	}
}

// passing gives the samples that hold in every comparison.
func (o *operand) passing(samples []gatekeeper.Sample) []gatekeeper.Sample {
	var pass []gatekeeper.Sample
	for _, s := range samples {
		all := true
		for _, c := range o.compare {
			all = all && c.holds(float64(s.Value))
		}
		if all {
			pass = append(pass, s)
		}
	}
	return pass
}

// falling says that low values are the bad ones.
func (o *operand) falling() bool { return o != nil && strings.HasPrefix(o.limit, "<") }

// filters says that an expression gives samples only where a comparison holds; others give a
// number that can be 0.
func filters(e parser.Expr) bool {
	b, ok := unparen(e).(*parser.BinaryExpr)
	if !ok {
		return false
	}
	switch {
	case b.Op.IsComparisonOperator():
		return !b.ReturnBool && b.Type() == parser.ValueTypeVector
	case b.Op == parser.LAND:
		return filters(b.LHS) || filters(b.RHS)
	case b.Op == parser.LOR:
		return filters(b.LHS) && filters(b.RHS)
	case b.Op == parser.LUNLESS:
		return filters(b.LHS)
	default:
		return false
	}
}
