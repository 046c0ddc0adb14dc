package promexpr

import (
	"math"
	"strings"

	"github.com/prometheus/prometheus/promql/parser"
)

// Operand is the value that an expression compares: A of A > 0.01. It is asked instead of the
// expression where the comparison can be made here: one query gives the evidence and the verdict,
// so that they can't disagree.
type Operand struct {
	Expr    parser.Expr
	Query   string
	Limit   string    // such as "> 0.01"
	Compare []Compare // with constants, in order
	Narrows bool      // no sample of it holds in all of compare: the expression is empty
	Exact   bool      // the expression is nothing but it and compare
	Own     bool      // the expression's values are the operand's
}

// Compare is a comparison with a constant.
type Compare struct {
	Op    parser.ItemType
	Value float64
}

// opposite gives the comparison with its sides exchanged.
var opposite = map[parser.ItemType]parser.ItemType{
	parser.GTR: parser.LSS, parser.LSS: parser.GTR, parser.GTE: parser.LTE, parser.LTE: parser.GTE,
	parser.EQLC: parser.EQLC, parser.NEQ: parser.NEQ,
}

// FindOperand finds the value that an expression compares at its top: below parentheses, and
// beside guards, which are the other sides of and and unless.
func FindOperand(e parser.Expr) (Operand, bool) {
	b, ok := Unparen(e).(*parser.BinaryExpr)
	if !ok {
		return Operand{}, false
	}
	switch {
	case b.Op.IsComparisonOperator():
		return comparison(b)
	case b.Op == parser.LAND || b.Op == parser.LUNLESS:
		o, found := FindOperand(b.LHS)
		if !found && b.Op == parser.LAND {
			o, found = FindOperand(b.RHS)
			o.Own = false
		}
		o.Exact = false
		return o, found
	default:
		return Operand{}, false
	}
}

func comparison(b *parser.BinaryExpr) (Operand, bool) {
	subject, other, op := b.LHS, b.RHS, b.Op
	limit, constant := Number(other)
	if n, ok := Number(subject); ok && !constant {
		subject, other, op, limit, constant = b.RHS, b.LHS, opposite[op], n, true
	}
	if _, ok := Number(subject); ok {
		return Operand{}, false // two numbers
	}
	text := op.String() + " " + Unparen(other).String()
	o, nested := FindOperand(subject)
	switch {
	case !nested:
		o = Operand{Expr: Unparen(subject), Limit: text, Narrows: true, Exact: true, Own: true}
		o.Query = o.Expr.String()
	case o.Own:
		o.Limit += " and " + text
	default: // compares something else than what its inner comparison did
		o.Exact = false
		return o, true
	}
	switch {
	case b.ReturnBool: // gives a sample for every value: 0 or 1
		o.Narrows, o.Exact, o.Own = false, false, false
	case constant:
		o.Compare = append(o.Compare, Compare{op, limit})
	default:
		o.Exact = false
		if !nested {
			o.Narrows = false
		}
	}
	return o, true
}

// Number gives the value of an expression of constants.
func Number(e parser.Expr) (float64, bool) {
	switch e := Unparen(e).(type) {
	case *parser.NumberLiteral:
		return e.Val, true
	case *parser.UnaryExpr:
		v, ok := Number(e.Expr)
		if e.Op == parser.SUB {
			v = -v
		}
		return v, ok
	case *parser.BinaryExpr:
		a, okA := Number(e.LHS)
		b, okB := Number(e.RHS)
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

// Holds says whether a value passes the comparison, as in Prometheus: NaN passes != only.
func (c Compare) Holds(v float64) bool {
	switch c.Op {
	case parser.GTR:
		return v > c.Value
	case parser.GTE:
		return v >= c.Value
	case parser.LSS:
		return v < c.Value
	case parser.LTE:
		return v <= c.Value
	case parser.EQLC:
		return v == c.Value
	default:
		return v != c.Value
	}
}

// Falling says that low values are the bad ones.
func (o *Operand) Falling() bool { return o != nil && strings.HasPrefix(o.Limit, "<") }

// Filters says that an expression gives samples only where a comparison holds; others give a
// number that can be 0.
func Filters(e parser.Expr) bool {
	b, ok := Unparen(e).(*parser.BinaryExpr)
	if !ok {
		return false
	}
	switch {
	case b.Op.IsComparisonOperator():
		return !b.ReturnBool && b.Type() == parser.ValueTypeVector
	case b.Op == parser.LAND:
		return Filters(b.LHS) || Filters(b.RHS)
	case b.Op == parser.LOR:
		return Filters(b.LHS) && Filters(b.RHS)
	case b.Op == parser.LUNLESS:
		return Filters(b.LHS)
	default:
		return false
	}
}
