package lint

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// statusLabels are the labels by which requests are commonly told into good and bad ones.
var statusLabels = []string{
	"status", "status_code", "statuscode", "code", "http_status", "http_status_code", "http_response_status_code",
	"grpc_code", "grpc_status", "response_code", "result", "outcome", "success", "error", "error_type", "exception",
}

func isStatus(name string) bool {
	return slices.ContainsFunc(statusLabels, func(known string) bool { return strings.EqualFold(name, known) })
}

// withoutStatus gives the expression with the matchers on status labels left out: all requests
// instead of the bad ones. ok is false when it has none.
func withoutStatus(e parser.Expr) (all parser.Expr, ok bool) {
	all, err := promexpr.Parser.ParseExpr(e.String())
	if err != nil {
		return nil, false
	}
	for _, vs := range promexpr.Selectors(all) {
		kept := slices.DeleteFunc(slices.Clone(vs.LabelMatchers), func(m *labels.Matcher) bool { return isStatus(m.Name) })
		ok = ok || len(kept) < len(vs.LabelMatchers)
		vs.LabelMatchers = kept
	}
	return all, ok
}

// calls gives the calls of functions in an expression, in the order of the text.
func calls(e parser.Node, names ...string) []*parser.Call {
	var all []*parser.Call
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		if c, ok := n.(*parser.Call); ok && (len(names) == 0 || slices.Contains(names, c.Func.Name)) {
			all = append(all, c)
		}
		return nil
	})
	return all
}

// aggregates gives the aggregations of an expression, in the order of the text.
func aggregates(e parser.Node, ops ...parser.ItemType) []*parser.AggregateExpr {
	var all []*parser.AggregateExpr
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		if a, ok := n.(*parser.AggregateExpr); ok && slices.Contains(ops, a.Op) {
			all = append(all, a)
		}
		return nil
	})
	return all
}

// binaries gives the binary operations of an expression.
func binaries(e parser.Node) []*parser.BinaryExpr {
	var all []*parser.BinaryExpr
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		if b, ok := n.(*parser.BinaryExpr); ok {
			all = append(all, b)
		}
		return nil
	})
	return all
}

// ranged is a function over a range of a selector, such as rate(x[5m]).
type ranged struct {
	call     *parser.Call
	matrix   *parser.MatrixSelector
	selector *parser.VectorSelector
}

// rangedCalls gives the functions over ranges of selectors, in the order of the text.
func rangedCalls(e parser.Node) []ranged {
	var all []ranged
	for _, c := range calls(e) {
		for _, arg := range c.Args {
			m, ok := promexpr.Unparen(arg).(*parser.MatrixSelector)
			if !ok {
				continue
			}
			if vs, ok := m.VectorSelector.(*parser.VectorSelector); ok {
				all = append(all, ranged{c, m, vs})
			}
		}
	}
	return all
}

// longestRange is the longest range of an expression, with its subqueries around it, without offsets.
func longestRange(n parser.Node) time.Duration {
	var own time.Duration
	switch n := n.(type) {
	case *parser.MatrixSelector:
		own = n.Range
	case *parser.SubqueryExpr:
		own = n.Range
	}
	var deepest time.Duration
	for c := range parser.ChildrenIter(n) {
		deepest = max(deepest, longestRange(c))
	}
	return own + deepest
}

// carried gives the labels that an expression's samples have; known is false when that is for the
// metrics to say.
func carried(e parser.Expr) (set map[string]bool, known bool) {
	switch e := promexpr.Unparen(e).(type) {
	case *parser.NumberLiteral:
		return map[string]bool{}, true
	case *parser.AggregateExpr:
		return carriedByAggregate(e)
	case *parser.BinaryExpr:
		return carriedByBinary(e)
	case *parser.UnaryExpr:
		return carried(e.Expr)
	case *parser.Call:
		return carriedByCall(e)
	default:
		return nil, false
	}
}

func carriedByAggregate(e *parser.AggregateExpr) (map[string]bool, bool) {
	switch {
	case e.Without, e.Op == parser.TOPK, e.Op == parser.BOTTOMK, e.Op == parser.COUNT_VALUES, e.Op == parser.LIMITK, e.Op == parser.LIMIT_RATIO:
		return nil, false
	}
	set := map[string]bool{}
	inner, known := carried(e.Expr)
	for _, name := range e.Grouping {
		if !known || inner[name] {
			set[name] = true
		}
	}
	return set, true
}

func carriedByBinary(e *parser.BinaryExpr) (map[string]bool, bool) {
	left, right := e.LHS.Type() == parser.ValueTypeVector, e.RHS.Type() == parser.ValueTypeVector
	switch {
	case !left && !right:
		return map[string]bool{}, true
	case !right, e.Op == parser.LAND, e.Op == parser.LUNLESS:
		return carried(e.LHS)
	case !left:
		return carried(e.RHS)
	}
	a, knownA := carried(e.LHS)
	if e.Op == parser.LOR {
		b, knownB := carried(e.RHS)
		both := map[string]bool{}
		maps.Copy(both, a)
		maps.Copy(both, b)
		return both, knownA && knownB
	}
	m := e.VectorMatching
	if m == nil || m.Card != parser.CardOneToOne {
		return nil, false
	}
	if m.On {
		set := map[string]bool{}
		for _, name := range m.MatchingLabels {
			set[name] = true
		}
		return set, true
	}
	set := maps.Clone(a)
	for _, name := range m.MatchingLabels {
		delete(set, name)
	}
	return set, knownA
}

func carriedByCall(e *parser.Call) (map[string]bool, bool) {
	switch e.Func.Name {
	case "vector", "time", "scalar":
		return map[string]bool{}, true
	case "histogram_quantile", "histogram_fraction":
		set, known := carried(e.Args[len(e.Args)-1])
		set = maps.Clone(set)
		delete(set, "le")
		return set, known
	case "abs", "ceil", "floor", "round", "clamp", "clamp_min", "clamp_max", "sort", "sort_desc", "ln", "log2", "log10", "sqrt", "exp", "sgn":
		return carried(e.Args[0])
	default:
		return nil, false
	}
}

// grouping gives an aggregation's labels as text: equal texts group alike.
func grouping(a *parser.AggregateExpr) string {
	labels := slices.Sorted(slices.Values(a.Grouping))
	if a.Without {
		return "without " + strings.Join(labels, ",")
	}
	return strings.Join(labels, ",")
}

// token is a piece of an expression's text.
type token struct {
	kind     parser.ItemType
	from, to int
	text     string
}

// tokens gives the pieces of an expression's text, without its comments.
func tokens(source string) []token {
	var all []token
	lex := parser.Lex(source)
	for {
		var item parser.Item
		lex.NextItem(&item)
		switch item.Typ {
		case parser.EOF, parser.ERROR:
			return all
		case parser.COMMENT:
		default:
			all = append(all, token{item.Typ, int(item.Pos), int(item.Pos) + len(item.Val), item.Val})
		}
	}
}

// saysRatio finds a text that speaks of a share, as in "5xx ratio is above 1%".
var saysRatio = regexp.MustCompile(`(?i)\d ?%|percent|\bratio\b|\bshare\b`)
