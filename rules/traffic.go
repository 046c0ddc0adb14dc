package rules

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/gatekeeper-engine/gatekeeper"
)

// maxSignals is how many queries one look for traffic asks at most.
const maxSignals = 8

// floor is min_traffic.
type floor struct {
	condition    *condition
	filters      bool // it gives samples only where it holds
	versionBound bool
}

// holds says whether there is traffic enough to judge, and in words why not.
func (f *floor) holds(ctx context.Context, q Querier, at time.Time) (ok bool, why string, err error) {
	active, seen, err := f.condition.ask(ctx, q, at)
	if err != nil {
		return false, "", fmt.Errorf("min_traffic: %w", err)
	}
	for _, s := range active {
		if f.filters || s.Value != 0 && !math.IsNaN(float64(s.Value)) {
			return true, "", nil
		}
	}
	o := f.condition.operand
	switch {
	case o != nil && len(seen) > 0:
		return false, fmt.Sprintf("too little traffic to judge: %.4g, and min_traffic asks for %s", float64(seen[0].Value), o.Limit), nil
	case len(active) > 0:
		return false, fmt.Sprintf("too little traffic to judge: min_traffic gives %.4g", float64(active[0].Value)), nil
	default:
		return false, "too little traffic to judge: min_traffic gives nothing", nil
	}
}

// Traffic says whether ${version} has data with traffic at an instant: min_traffic holds, where it
// is bound to ${version}; or else some rate of a selector bound to ${version} is above 0, or, where
// there is no rate, such a selector has data. known is false when nothing in the file is bound to
// ${version}: the metrics can't tell when it is there.
func (b *Bound) Traffic(ctx context.Context, q Querier, at time.Time) (seen, known bool, err error) {
	if q, err = over(q, b.recordings, 0); err != nil {
		return false, true, err
	}
	if b.floor != nil && b.floor.versionBound {
		seen, _, err = b.floor.holds(ctx, q, at)
		return seen, true, err
	}
	for _, query := range b.signals {
		samples, err := ask(ctx, q, query, at)
		if err != nil {
			return false, true, err
		}
		if slices.ContainsFunc(samples, func(s gatekeeper.Sample) bool { return s.Value > 0 }) {
			return true, true, nil
		}
	}
	return false, len(b.signals) > 0, nil
}

// signal is a query whose answer is above 0 when ${version} has traffic.
type signal struct {
	query    string
	rate     bool // of moving counters; more telling than that a series exists
	matchers int
}

// signalsOf gives the signals in an expression; released are the selectors bound to ${version}.
func signalsOf(ast parser.Expr, released map[*parser.VectorSelector]bool) []signal {
	var all []signal
	parser.Inspect(ast, func(n parser.Node, path []parser.Node) error {
		vs, ok := n.(*parser.VectorSelector)
		if !ok || !released[vs] {
			return nil
		}
		one := signal{matchers: len(vs.LabelMatchers), query: "count(" + vs.String() + ")"}
		if len(path) > 1 {
			if call, ok := path[len(path)-2].(*parser.Call); ok && isRate(call) {
				one.rate, one.query = true, "sum("+call.String()+")"
			}
		}
		all = append(all, one)
		return nil
	})
	return all
}

func isRate(call *parser.Call) bool {
	switch call.Func.Name {
	case "rate", "irate", "increase":
		return true
	default:
		return false
	}
}

// trafficSignals gives the queries to look for traffic with: rates where there are any, those with
// the fewest matchers first, for they see the most.
func (b *binder) trafficSignals() []string {
	rates := slices.ContainsFunc(b.signals, func(s signal) bool { return s.rate })
	slices.SortStableFunc(b.signals, func(x, y signal) int { return cmp.Compare(x.matchers, y.matchers) })
	var queries []string
	for _, s := range b.signals {
		if s.rate == rates && !slices.Contains(queries, s.query) && len(queries) < maxSignals {
			queries = append(queries, s.query)
		}
	}
	return queries
}
