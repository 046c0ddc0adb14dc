package lint

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// checkImpossible finds comparisons that no value, or every value, passes.
var checkImpossible = &Spec{
	Name:  "impossible",
	Finds: "a comparison that never holds or always does, such as a share above 5 or a quantile of 99; a label that the file's own recording rule drops",
	Why:   "The rule is decided before any release is: it never finds harm, or always.",
	rule:  lintImpossible,
}

func lintImpossible(r *rule) []finding {
	found := slices.Concat(r.quantiles(), r.exclusions(), r.unrecorded())
	o := r.operand
	if o == nil || !o.Own || len(o.Compare) == 0 {
		return found
	}
	low, high, what := bounds(o.Expr)
	holds := interval{low, high}
	all := true
	for _, c := range o.Compare {
		all = all && c.Op != parser.NEQ && c.Op != parser.EQLC && c.Holds(low) && c.Holds(high)
		holds = holds.cut(c)
	}
	switch {
	case holds.empty(o.Compare) && what == share && len(o.Compare) == 1:
		found = append(found, r.at(rules.Error, r.AST.PositionRange(),
			fmt.Sprintf("%s never holds: a share is at most 1", o.Limit), fmt.Sprintf("Write %v%% as %v.", o.Compare[0].Value, o.Compare[0].Value/100)))
	case holds.empty(o.Compare):
		found = append(found, r.at(rules.Error, r.AST.PositionRange(), fmt.Sprintf("%s never holds%s", o.Limit, what.because()), "Correct the comparison."))
	case all && what != anything && what != present && !canBeEmpty(o.Expr):
		found = append(found, r.at(rules.Error, r.AST.PositionRange(), fmt.Sprintf("%s always holds%s", o.Limit, what.because()), "Correct the comparison."))
	}
	return found
}

// quantiles finds quantiles that are no shares.
func (r *rule) quantiles() []finding {
	var found []finding
	for _, c := range calls(r.AST, "histogram_quantile", "quantile_over_time") {
		q, ok := promexpr.Number(c.Args[0])
		if !ok || q >= 0 && q <= 1 {
			continue
		}
		f := r.at(rules.Error, c.Args[0].PositionRange(), fmt.Sprintf("the quantile %v is not between 0 and 1: the answer is infinite", q), "The 99th percentile is 0.99.")
		if q > 1 && q <= 100 {
			part := c.Args[0].PositionRange()
			f.edits = []replace{{int(part.Start), int(part.End), fmt.Sprint(math.Round(q*1e6) / 1e8)}}
		}
		found = append(found, f)
	}
	return found
}

// unrecorded finds selectors that ask what the file records for a label that it does not have.
func (r *rule) unrecorded() []finding {
	var found []finding
	for _, vs := range promexpr.Selectors(r.AST) {
		for _, name := range r.recorded.Excluded(vs) {
			found = append(found, r.at(rules.Error, vs.PositionRange(),
				fmt.Sprintf("%s is recorded without such a label %s: this finds nothing, ever", promexpr.NameOf(vs), name),
				fmt.Sprintf("Keep the label where it is recorded, as in sum by (%s).", name)))
		}
	}
	return found
}

// exclusions finds comparisons of one and the same value, joined by and, that no value passes.
func (r *rule) exclusions() []finding {
	for _, b := range binaries(r.AST) {
		if b.Op != parser.LAND {
			continue
		}
		compared := map[string][]promexpr.Compare{}
		for _, side := range conjuncts(b) {
			if o, ok := promexpr.FindOperand(side); ok && o.Exact && o.Own && !slices.ContainsFunc(promexpr.Selectors(o.Expr), nameless) {
				compared[o.Query] = append(compared[o.Query], o.Compare...)
			}
		}
		for _, query := range slices.Sorted(maps.Keys(compared)) {
			holds := interval{math.Inf(-1), math.Inf(1)}
			for _, c := range compared[query] {
				holds = holds.cut(c)
			}
			if holds.empty(compared[query]) {
				return []finding{r.at(rules.Error, b.PositionRange(), "both sides compare the same, and exclude each other", "Correct one of the comparisons, or write or.")}
			}
		}
	}
	return nil
}

// nameless says that a selector may give series that differ by their names only: an and joins these.
func nameless(vs *parser.VectorSelector) bool { return vs.Name == "" }

// conjuncts gives the sides of an and, and of those within it, where a series meets itself only.
func conjuncts(e parser.Expr) []parser.Expr {
	b, ok := promexpr.Unparen(e).(*parser.BinaryExpr)
	if !ok || b.Op != parser.LAND || b.VectorMatching == nil || b.VectorMatching.On || len(b.VectorMatching.MatchingLabels) > 0 {
		return []parser.Expr{e}
	}
	return append(conjuncts(b.LHS), conjuncts(b.RHS)...)
}

// kind says what values an expression can have.
type kind string

const (
	anything kind = ""
	count    kind = "a count is never below 0"
	share    kind = "a share is between 0 and 1"
	up       kind = "up is 0 or 1"
	present  kind = "a count that is there is at least 1" // whether it is there can be the question
)

func (k kind) because() string {
	if k == anything {
		return ""
	}
	return ": " + string(k)
}

// bounds gives the least and the greatest value that an expression can have.
func bounds(e parser.Expr) (low, high float64, what kind) {
	switch e := promexpr.Unparen(e).(type) {
	case *parser.VectorSelector:
		if e.Name == "up" {
			return 0, 1, up
		}
	case *parser.Call:
		switch e.Func.Name {
		case "rate", "irate", "increase", "changes", "resets", "count_over_time":
			return 0, math.Inf(1), count
		}
	case *parser.AggregateExpr:
		switch e.Op {
		case parser.COUNT:
			return 1, math.Inf(1), present
		case parser.SUM, parser.MAX, parser.MIN, parser.AVG:
			low, high, what := bounds(e.Expr)
			if (what == share || what == up) && e.Op == parser.SUM {
				return 0, math.Inf(1), count
			}
			return low, high, what
		}
	case *parser.BinaryExpr:
		if e.Op == parser.DIV && isShare(e) {
			return 0, 1, share
		}
	}
	return math.Inf(-1), math.Inf(1), anything
}

// isShare says that a division's numerator counts a part of what its denominator counts.
func isShare(b *parser.BinaryExpr) bool {
	top, bottom := sumOfRate(b.LHS), sumOfRate(b.RHS)
	if top == nil || bottom == nil || top.selector.Name != bottom.selector.Name || top.call.Func.Name != bottom.call.Func.Name ||
		top.matrix.Range != bottom.matrix.Range || top.selector.OriginalOffset != bottom.selector.OriginalOffset {
		return false
	}
	has := map[string]bool{}
	for _, m := range top.selector.LabelMatchers {
		has[m.String()] = true
	}
	for _, m := range bottom.selector.LabelMatchers {
		if !has[m.String()] {
			return false
		}
	}
	return true
}

// sumOfRate gives the rate that is summed up, or nil.
func sumOfRate(e parser.Expr) *ranged {
	a, ok := promexpr.Unparen(e).(*parser.AggregateExpr)
	if !ok || a.Op != parser.SUM {
		return nil
	}
	c, ok := promexpr.Unparen(a.Expr).(*parser.Call)
	if !ok || c.Func.Name != "rate" && c.Func.Name != "increase" {
		return nil
	}
	all := rangedCalls(c)
	if len(all) != 1 {
		return nil
	}
	return &all[0]
}

// interval is what is left of the values after comparisons.
type interval struct{ low, high float64 }

func (i interval) cut(c promexpr.Compare) interval {
	switch c.Op {
	case parser.GTR, parser.GTE:
		i.low = math.Max(i.low, c.Value)
	case parser.LSS, parser.LTE:
		i.high = math.Min(i.high, c.Value)
	case parser.EQLC:
		i.low, i.high = math.Max(i.low, c.Value), math.Min(i.high, c.Value)
	}
	return i
}

// empty says that no value is left: the ends themselves must pass every comparison.
func (i interval) empty(all []promexpr.Compare) bool {
	if i.low != i.high {
		return i.low > i.high
	}
	for _, c := range all {
		if !c.Holds(i.low) {
			return true
		}
	}
	return false
}
