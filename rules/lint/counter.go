package lint

import (
	"fmt"
	"strings"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// checkCounter finds counters that are compared as they are.
var checkCounter = &Spec{
	Name:  "counter",
	Finds: "a counter that is compared without `rate()` or `increase()`, or read by a function for gauges",
	Why:   "A counter only grows: once it is over a limit it stays there until the process restarts, however well the release does.",
	rule:  lintCounter,
	floor: true,
}

// forGauges are functions that take a counter's reset for a fall.
var forGauges = map[string]string{"delta": "increase", "idelta": "increase", "deriv": "rate", "predict_linear": "rate"}

func lintCounter(r *rule) []finding {
	var found []finding
	parser.Inspect(r.AST, func(n parser.Node, path []parser.Node) error {
		vs, ok := n.(*parser.VectorSelector)
		if !ok || !strings.HasSuffix(vs.Name, "_total") {
			return nil
		}
		call, counted := around(vs, path)
		switch {
		case call != nil && forGauges[call.Func.Name] != "":
			found = append(found, r.at(rules.Warning, call.PositionRange(),
				fmt.Sprintf("%s() is for gauges, and %s is a counter: a restart looks like a fall", call.Func.Name, vs.Name),
				fmt.Sprintf("Use %s().", forGauges[call.Func.Name])))
		case call == nil && !counted:
			found = append(found, r.at(rules.Warning, vs.PositionRange(),
				fmt.Sprintf("%s is a counter since the process began, and is compared as it is", vs.Name),
				fmt.Sprintf("Ask how fast it grows: increase(%s[5m]).", vs.Name)))
		}
		return nil
	})
	return found
}

// around gives the function over the range of a selector, if it has one, and whether what stands
// around it asks only whether there are series.
func around(selector parser.Expr, path []parser.Node) (call *parser.Call, counted bool) {
	for i := len(path) - 1; i >= 0; i-- {
		switch n := path[i].(type) {
		case *parser.MatrixSelector, *parser.SubqueryExpr:
			if i > 0 {
				if c, ok := path[i-1].(*parser.Call); ok {
					return c, false
				}
			}
			return &parser.Call{Func: &parser.Function{}}, false
		case *parser.Call:
			switch n.Func.Name {
			case "absent", "timestamp", "label_replace", "label_join":
				return nil, true
			}
		case *parser.AggregateExpr:
			switch n.Op {
			case parser.COUNT, parser.GROUP, parser.COUNT_VALUES:
				return nil, true
			}
		case *parser.BinaryExpr:
			switch {
			case n.Op == parser.LUNLESS, n.Op == parser.SUB, n.Op == parser.LAND && within(selector, n.RHS):
				return nil, true // new series, differences and guards
			}
		}
	}
	return nil, false
}
