package rules

import (
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// Anchored says that the rule must be asked instant by instant: @ start(), @ end() and sorting mean
// something else in a range query.
func (r *BoundRule) Anchored() bool { return r.anchored }

// Metrics gives the selectors of the rule for whatever version: matchers of a version, or of a label
// of the release, are left out. While one of them has data the backend holds the rule's metrics.
func (r Rule) Metrics(v Vars) ([]string, error) {
	ast, err := parsed(r.Expr)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, vs := range promexpr.Selectors(ast) {
		vs.LabelMatchers = slices.DeleteFunc(slices.Clone(vs.LabelMatchers), func(m *labels.Matcher) bool {
			return strings.Contains(m.Value, "version}") || strings.Contains(m.Value, "${labels.")
		})
		if len(vs.LabelMatchers) == 0 {
			continue // a selector needs one
		}
		vs.OriginalOffset, vs.Timestamp, vs.StartOrEnd = 0, nil, 0
		if _, err := v.substitute(vs); err != nil {
			return nil, err
		}
		if one := vs.String(); !slices.Contains(all, one) {
			all = append(all, one)
		}
	}
	return all, nil
}

// Threshold is the one number that a rule compares its value with.
type Threshold struct {
	Operator string // as it is read from the value's side: ">" also for 0.01 < A
	Value    float64
	Success  bool // the value is a share of what is well, so that its distance from 1 is what matters
}

// Threshold gives the number that the rule compares its value with, or an error that says why another
// number can't be tried in its place.
func (r *BoundRule) Threshold() (Threshold, error) {
	ast, err := parsed(r.Expr)
	if err != nil {
		return Threshold{}, err
	}
	at, err := comparisonOf(ast)
	if err != nil {
		return Threshold{}, err
	}
	c := r.condition.operand.Compare[0]
	return Threshold{Operator: c.Op.String(), Value: at.value, Success: r.ratio != nil && r.ratio.Success && c.Value > 0.5 && c.Value < 1}, nil
}

// WithThreshold gives the rule with another number and another `for`. Whatever the numbers are, it asks
// the backend the same queries: the comparison is made here, and beside guards too, since
// (A > 1) and G is what of (A and G) is above 1. The error is that of [BoundRule.Threshold].
func (r *BoundRule) WithThreshold(value float64, wait time.Duration) (*BoundRule, error) {
	ast, err := parsed(r.Expr)
	if err != nil {
		return nil, err
	}
	at, err := comparisonOf(ast)
	if err != nil {
		return nil, err
	}
	out := *r
	out.For = wait
	guarded := at.without().String()
	at.set(value)
	out.Expr = ast.String()
	out.condition = newCondition(ast)
	if !out.condition.operand.Exact {
		out.condition.guarded = guarded
	}
	return &out, nil
}

// place is where an expression compares with a number.
type place struct {
	at     *parser.BinaryExpr
	guards []*parser.BinaryExpr // around it, the outermost first
	left   bool                 // the number stands on the left
	value  float64
}

// comparisonOf finds the one comparison with a number that decides whether an expression gives
// samples: at its top, or on the left of guards.
func comparisonOf(e parser.Expr) (place, error) {
	var p place
	for {
		b, ok := promexpr.Unparen(e).(*parser.BinaryExpr)
		switch {
		case !ok:
			return p, notOne("the expression compares nothing with a number")
		case b.Op == parser.LAND || b.Op == parser.LUNLESS:
			p.guards, e = append(p.guards, b), b.LHS
		case !b.Op.IsComparisonOperator():
			return p, notOne("the expression's top is %q, which is no comparison", b.Op)
		case b.ReturnBool:
			return p, notOne("the comparison is one of bool: it gives 0 and 1")
		default:
			p.at = b
			return p, p.number()
		}
	}
}

func notOne(format string, args ...any) error {
	return gatekeeper.Errorf(gatekeeper.CodeUnsupported, "write the rule as VALUE > NUMBER, with guards after it: VALUE > NUMBER and GUARD", format, args...)
}

// number finds which side of the comparison is a number.
func (p *place) number() error {
	subject := p.at.LHS
	right, isRight := promexpr.Number(p.at.RHS)
	left, isLeft := promexpr.Number(p.at.LHS)
	switch {
	case isRight && isLeft:
		return notOne("the expression compares two numbers")
	case isRight:
		p.value = right
	case isLeft:
		p.left, p.value, subject = true, left, p.at.RHS
	default:
		return notOne("the expression compares with another series instead of a number")
	}
	if promexpr.Filters(subject) {
		return notOne("the expression compares twice")
	}
	if subject.Type() != parser.ValueTypeVector {
		return notOne("what is compared is no vector")
	}
	return nil
}

// set puts another number in the place.
func (p *place) set(value float64) {
	n := &parser.NumberLiteral{Val: value}
	if p.left {
		p.at.LHS = n
	} else {
		p.at.RHS = n
	}
}

// without gives the expression without the comparison, its guards still around it.
func (p *place) without() parser.Expr {
	subject := p.at.LHS
	if p.left {
		subject = p.at.RHS
	}
	for i := len(p.guards) - 1; i >= 0; i-- {
		guard := *p.guards[i]
		guard.LHS = &parser.ParenExpr{Expr: subject}
		subject = &guard
	}
	return subject
}
