package promexpr

import (
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// Difference is a subtraction of some of a counter's series from more of them, as in all - success.
// Where Part has no series the difference is empty, and not Whole.
type Difference struct{ Whole, Part parser.Expr }

// Differences gives the subtractions of an expression that are empty where their part is.
func Differences(e parser.Expr) []Difference {
	var all []Difference
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		if b, ok := n.(*parser.BinaryExpr); ok && b.Op == parser.SUB && subset(b.RHS, b.LHS) {
			all = append(all, Difference{b.LHS, b.RHS})
		}
		return nil
	})
	return all
}

// subset says that a part of a counter's series is subtracted from more of them.
func subset(part, whole parser.Expr) bool {
	if b, ok := Unparen(part).(*parser.BinaryExpr); ok && b.Op == parser.LOR || OfGauges(part) {
		return false
	}
	return slices.ContainsFunc(Selectors(part), func(vs *parser.VectorSelector) bool {
		return slices.ContainsFunc(Selectors(whole), func(w *parser.VectorSelector) bool {
			return metric(w) == metric(vs) && !Narrower(w, []*parser.VectorSelector{vs}, false) && Narrower(vs, []*parser.VectorSelector{w}, false)
		})
	})
}

// Narrower says that a selector has a matcher that none of the others has. A metric of another name
// may be missing too, where named says so: a counter of successes is often made with the first.
func Narrower(vs *parser.VectorSelector, others []*parser.VectorSelector, named bool) bool {
	there := map[string]bool{}
	for _, o := range others {
		there[metric(o)] = true
		for _, m := range o.LabelMatchers {
			there[m.String()] = true
		}
	}
	if named && !there[metric(vs)] {
		return true
	}
	return slices.ContainsFunc(vs.LabelMatchers, func(m *labels.Matcher) bool {
		switch {
		case m.Name == model.MetricNameLabel:
			return false
		case m.Name == labels.BucketLabel && strings.HasSuffix(vs.Name, "_bucket"):
			return false // a histogram has all its buckets from its first sample on
		case m.Type == labels.MatchNotEqual && m.Value == "":
			return false // which asks only that the label is set
		default:
			return !there[m.String()]
		}
	})
}

// metric is a selector's metric, a histogram's for its parts.
func metric(vs *parser.VectorSelector) string {
	for _, suffix := range []string{"_bucket", "_count", "_sum"} {
		if base, ok := strings.CutSuffix(vs.Name, suffix); ok {
			return base
		}
	}
	return vs.Name
}

// OfGauges says that an expression reads gauges, as far as it shows: no function for counters, no
// counter's name and no recorded one. A gauge is there when it is 0, too.
func OfGauges(e parser.Expr) bool {
	counters := false
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		switch n := n.(type) {
		case *parser.Call:
			counters = counters || slices.Contains([]string{"rate", "irate", "increase"}, n.Func.Name)
		case *parser.VectorSelector:
			counters = counters || n.Name == "" || strings.HasSuffix(n.Name, "_total") || strings.Contains(n.Name, ":")
		}
		return nil
	})
	return !counters
}
