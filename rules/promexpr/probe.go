package promexpr

import (
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/promql/parser"
)

// Probes gives one query per selector of an expression, which has an answer when the selector has
// data. Where a function reads the selector's range, such as rate, data means that the function
// has an answer: one sample is not yet a rate, and a rule must not count as healthy for it.
func Probes(e parser.Expr) []string {
	var p prober
	p.visit(e, view{})
	return p.queries
}

// Newest gives a query for the time of the newest sample that an expression reads, in seconds since
// 1970; "" where it looks at other instants than its own, or reads nothing.
func Newest(e parser.Expr) string {
	var of []string
	shifted := false
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		switch n := n.(type) {
		case *parser.VectorSelector:
			shifted = shifted || n.OriginalOffset != 0 || n.Timestamp != nil || n.StartOrEnd != 0
			if one := "timestamp(" + n.String() + ")"; !slices.Contains(of, one) {
				of = append(of, one)
			}
		case *parser.SubqueryExpr:
			shifted = true
		}
		return nil
	})
	if shifted || len(of) == 0 {
		return ""
	}
	return "max(" + strings.Join(of, " or ") + ")"
}

// view is what the subqueries around a selector make of its range and place.
type view struct {
	reach, offset time.Duration
	timestamp     *int64
	anchor        parser.ItemType // of @ start() and @ end()
}

type prober struct{ queries []string }

func (p *prober) add(query string) {
	if !slices.Contains(p.queries, query) {
		p.queries = append(p.queries, query)
	}
}

func (p *prober) visit(n parser.Node, v view) {
	switch n := n.(type) {
	case *parser.VectorSelector:
		p.selector(n, v.reach, v)
		return
	case *parser.MatrixSelector:
		if vs, ok := n.VectorSelector.(*parser.VectorSelector); ok {
			p.selector(vs, v.reach+n.Range, v)
		}
		return
	case *parser.Call:
		for _, arg := range n.Args {
			if _, ok := Unparen(arg).(*parser.MatrixSelector); ok && v == (view{}) && n.Func.Name != "absent_over_time" {
				p.add("count(" + n.String() + ")")
				continue
			}
			p.visit(arg, v)
		}
		return
	case *parser.SubqueryExpr:
		v.reach += n.Range
		v.offset += n.OriginalOffset
		if v.timestamp == nil && v.anchor == 0 {
			v.timestamp, v.anchor = n.Timestamp, n.StartOrEnd
		}
	}
	for c := range parser.ChildrenIter(n) {
		p.visit(c, v)
	}
}

func (p *prober) selector(vs *parser.VectorSelector, reach time.Duration, v view) {
	one := *vs
	one.OriginalOffset += v.offset
	if one.Timestamp == nil && one.StartOrEnd == 0 {
		one.Timestamp, one.StartOrEnd = v.timestamp, v.anchor
	}
	if reach == 0 {
		p.add("count(" + one.String() + ")")
		return
	}
	p.add("count(last_over_time(" + (&parser.MatrixSelector{VectorSelector: &one, Range: reach}).String() + "))")
}
