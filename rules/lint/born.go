package lint

import (
	"fmt"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// checkBorn finds small counts of what a new version's counters may have counted before anybody
// looked.
var checkBorn = &Spec{
	Name:  "born",
	Finds: "a small count by `increase()` on series that begin with the release",
	Why:   "A counter's first sample is no increase: 30 errors before the first scrape of a new version count as 0.",
	rule:  lintBorn,
}

// fewEvents is the limit up to which what came before the first scrape can make the difference.
const fewEvents = 10

func lintBorn(r *rule) []finding {
	o := r.operand
	if o == nil || len(o.Compare) == 0 || o.Falling() || o.Compare[0].Value > fewEvents {
		return nil
	}
	e := promexpr.Unparen(o.Expr)
	if a, ok := e.(*parser.AggregateExpr); ok && (a.Op == parser.SUM || a.Op == parser.MAX) {
		e = promexpr.Unparen(a.Expr)
	}
	c, ok := e.(*parser.Call)
	if !ok || c.Func.Name != "increase" {
		return nil
	}
	all := rangedCalls(c)
	if len(all) != 1 || promexpr.SelectorBinding(all[0].selector, r.recorded) != promexpr.BoundToVersion {
		return nil
	}
	f := r.at(rules.Warning, c.PositionRange(), "what the new version counted before its first scrape is not in this increase", "Take a series that was not there before with its value.")
	if from, to, ok := r.rangeAt(all[0].matrix); ok && all[0].selector.OriginalOffset == 0 {
		name := r.text(all[0].selector)
		text := fmt.Sprintf("(%s unless %s offset %s) or %s", name, name, r.Source[from:to], r.text(c))
		if promexpr.Unparen(o.Expr) == parser.Expr(c) {
			text = "(" + text + ")"
		}
		f.rewrite = r.instead(c.PositionRange(), text)
	}
	return []finding{f}
}
