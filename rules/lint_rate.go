package rules

import (
	"fmt"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// lintRate finds a per-second rate that is compared with what looks like a ratio: the most common
// mistake of rollback rules. rate(errors[5m]) > 0.01 is not "more than 1% errors" but "more than
// one error in 100 seconds", for each series alone, whatever the traffic is.
func lintRate(c lintContext) []finding {
	o, ok := promexpr.FindOperand(c.ast)
	if !ok || len(o.Compare) == 0 {
		return nil
	}
	limit := o.Compare[0]
	if limit.Value <= 0 || limit.Value >= 1 || limit.Op != parser.GTR && limit.Op != parser.GTE {
		return nil
	}
	call, each := perSecond(o.Expr)
	if call == nil {
		return nil
	}
	what := "a per-second rate"
	if each {
		what = "a per-second rate of each series"
	}
	return []finding{{
		severity: Warning,
		part:     o.Expr.PositionRange(),
		message: fmt.Sprintf("this is %s, not a ratio: %s means more than one in %.4g seconds, however many requests there are",
			what, o.Limit, 1/limit.Value),
		hint: rateHint(call, limit),
	}}
}

func rateHint(call *parser.Call, limit promexpr.Compare) string {
	bad := "sum(" + call.String() + ")"
	all, ok := withoutStatus(call)
	if !ok {
		return fmt.Sprintf("For a ratio, divide by the rate of all requests: %s / sum(rate(…)) %s %v", bad, limit.Op, limit.Value)
	}
	return fmt.Sprintf("For a ratio, divide by the rate of all requests:\n%s / sum(%s) %s %v", bad, all, limit.Op, limit.Value)
}

// perSecond gives the rate that an expression is, perhaps summed up; each says that it is one of
// every series.
func perSecond(e parser.Expr) (call *parser.Call, each bool) {
	switch e := promexpr.Unparen(e).(type) {
	case *parser.Call:
		if e.Func.Name == "rate" || e.Func.Name == "irate" {
			return e, true
		}
	case *parser.AggregateExpr:
		switch e.Op {
		case parser.SUM, parser.AVG, parser.MAX, parser.MIN:
			call, _ := perSecond(e.Expr)
			return call, false
		}
	}
	return nil, false
}
