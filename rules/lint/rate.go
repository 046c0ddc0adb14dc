package lint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// checkRate finds a per-second rate that is compared with what looks like a ratio: the most common
// mistake of rollback rules.
var checkRate = &Spec{
	Name:  "rate",
	Finds: "a per-second rate where a ratio seems meant, as in `rate(errors[5m]) > 0.01`",
	Why:   "A busy service passes an absolute rate with next to no errors, and is rolled back for nothing; a quiet one never does.",
	rule:  lintRate,
}

func lintRate(r *rule) []finding {
	if r.operand == nil || len(r.operand.Compare) == 0 {
		return nil
	}
	limit := r.operand.Compare[0]
	if limit.Value <= 0 || limit.Value >= 1 || limit.Op != parser.GTR && limit.Op != parser.GTE {
		return nil
	}
	call, by := perSecond(r.operand.Expr)
	if call == nil || slices.ContainsFunc(promexpr.Selectors(call), ofSeconds) {
		return nil
	}
	what := "a per-second rate"
	if by == nil {
		what = "a per-second rate of each series"
	}
	f := r.at(rules.Warning, r.operand.Expr.PositionRange(),
		fmt.Sprintf("this is %s, not a ratio: %s means more than one in %.4g seconds, however many requests there are", what, r.operand.Limit, 1/limit.Value),
		"For a ratio, divide by the rate of all requests.")
	r.divide(&f, call, by)
	return []finding{f}
}

// ofSeconds says that a metric counts seconds: their rate is a share of the time, as of a processor.
func ofSeconds(vs *parser.VectorSelector) bool { return strings.Contains(vs.Name, "_seconds") }

// divide offers the ratio: safe where the rule itself says that it means one.
func (r *rule) divide(f *finding, call *parser.Call, by *parser.AggregateExpr) {
	all, ok := withoutStatus(call)
	if !ok || by != nil && by.Op != parser.SUM {
		return
	}
	part, bad, of := r.operand.Expr.PositionRange(), r.text(r.operand.Expr), "sum("+all.String()+")"
	if by == nil {
		bad = "sum(" + bad + ")"
	} else {
		group := *by
		group.Expr = all
		of = group.String()
	}
	ratio := bad + " / " + of
	f.rewrite = r.instead(part, ratio)
	for _, text := range r.Annotations {
		if saysRatio.MatchString(text) {
			f.edits = []replace{{int(part.Start) + len(r.text(r.operand.Expr)), int(part.End), " / " + of}}
			if by == nil {
				f.edits = []replace{{int(part.Start), int(part.Start), "sum("}, {int(part.End), int(part.End), ") / " + of}}
			}
			return
		}
	}
}

// perSecond gives the rate that an expression is, and the aggregation around it where there is one.
func perSecond(e parser.Expr) (call *parser.Call, by *parser.AggregateExpr) {
	switch e := promexpr.Unparen(e).(type) {
	case *parser.Call:
		if e.Func.Name == "rate" || e.Func.Name == "irate" {
			return e, nil
		}
	case *parser.AggregateExpr:
		switch e.Op {
		case parser.SUM, parser.AVG, parser.MAX, parser.MIN:
			call, _ := perSecond(e.Expr)
			return call, e
		}
	}
	return nil, nil
}
