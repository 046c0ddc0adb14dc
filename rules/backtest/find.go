package backtest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// leastStep is as fine as instants are looked for.
const leastStep = time.Second

// Find gives the releases that the changes of a version label tell of: each value of label was
// deployed at the first sample of selector that has it, to the second, and followed the value that
// came before it. Values that are there at from already have no beginning that could be found.
func Find(ctx context.Context, q rules.Querier, label, selector string, from, to time.Time) ([]Release, error) {
	if err := namesSelector(label, selector); err != nil {
		return nil, err
	}
	expr := fmt.Sprintf("count by (%s) (%s)", label, selector)
	firsts, err := firsts(ctx, q, expr, from, to)
	if err != nil {
		return nil, err
	}
	var found []Release
	previous := ""
	for _, f := range firsts {
		version := f.labels[label]
		if version == "" {
			continue
		}
		if !f.from.IsZero() {
			found = append(found, Release{Version: version, PreviousVersion: previous, Deployed: f.from, Outcome: Unknown})
		}
		previous = version
	}
	return found, nil
}

func namesSelector(label, selector string) error {
	e, err := promexpr.Parser.ParseExpr(selector)
	if err != nil {
		return gatekeeper.Errorf(gatekeeper.CodeInvalid, `write a selector such as http_requests_total{service="shop"}`, "the metric %q is no selector: %w", selector, err)
	}
	if _, ok := promexpr.Unparen(e).(*parser.VectorSelector); !ok {
		return gatekeeper.Errorf(gatekeeper.CodeInvalid, `write a selector such as http_requests_total{service="shop"}`, "the metric %q is no selector", selector)
	}
	by, err := promexpr.Parser.ParseExpr("count by (" + label + ") (up)")
	if agg, ok := by.(*parser.AggregateExpr); err != nil || !ok || !slices.Equal(agg.Grouping, []string{label}) {
		return gatekeeper.Errorf(gatekeeper.CodeInvalid, "name the label whose values are the versions, such as version", "%q is no label", label)
	}
	return nil
}

// first is when a series of an expression began.
type first struct {
	labels map[string]string
	from   time.Time // zero: it was there from the start
}

// firsts gives when each series of an expression began between from and to, in that order: by one look
// over all of the time, and a finer one at each beginning.
func firsts(ctx context.Context, q rules.Querier, expr string, from, to time.Time) ([]first, error) {
	step := max(15*time.Second, (to.Sub(from)/(maxPoints-1)).Truncate(time.Second)+time.Second)
	m, err := ask(ctx, q, expr, from, to, step)
	if err != nil {
		return nil, err
	}
	var all []first
	for _, s := range m.Series {
		if len(s.Points) == 0 {
			continue
		}
		one := first{labels: s.Labels}
		if at := s.Points[0].At; at.After(from) {
			if one.from, err = finer(ctx, q, expr, s.Labels, at.Add(-step), at); err != nil {
				return nil, err
			}
		}
		all = append(all, one)
	}
	slices.SortStableFunc(all, func(a, b first) int {
		return cmp.Or(a.from.Compare(b.from), cmp.Compare(fmt.Sprint(a.labels), fmt.Sprint(b.labels)))
	})
	return all, nil
}

// finer gives the first instant of the series with these labels, to the second.
func finer(ctx context.Context, q rules.Querier, expr string, labels map[string]string, from, to time.Time) (time.Time, error) {
	m, err := ask(ctx, q, expr, from, to, leastStep)
	if err != nil {
		return time.Time{}, err
	}
	for _, s := range m.Series {
		if fmt.Sprint(s.Labels) == fmt.Sprint(labels) && len(s.Points) > 0 {
			return s.Points[0].At, nil
		}
	}
	return to, nil
}

func ask(ctx context.Context, q rules.Querier, expr string, from, to time.Time, step time.Duration) (rules.Matrix, error) {
	m, err := q.QueryRange(ctx, expr, from, to, step)
	if err == nil && len(m.Warnings) > 0 {
		err = gatekeeper.Errorf(gatekeeper.CodeUnavailable, "a partial answer could hide a release: ask again when the backend is whole", "the backend answered %s in part only: %s", expr, strings.Join(m.Warnings, "; "))
	}
	return m, err
}

// oldest gives, by rule, the instant before which the backend holds nothing of its metrics; zero
// where it holds them from before the first release. The versions' own matchers are left out: a
// version that is not there yet is no lost data.
func oldest(ctx context.Context, file *rules.File, releases []Release, q rules.Querier, now time.Time) (map[string]time.Time, error) {
	all := map[string]time.Time{}
	if len(releases) == 0 {
		return all, nil
	}
	from, to := releases[0].Deployed, releases[0].Deployed
	for _, r := range releases {
		if r.Deployed.Before(from) {
			from = r.Deployed
		}
		if r.Deployed.After(to) {
			to = r.Deployed
		}
	}
	from, to = from.Add(-rangeOf(file)), to.Add(file.Window)
	if to.After(now) {
		to = now
	}
	if !to.After(from) {
		return all, nil
	}
	asked := map[string]time.Time{}
	for _, rule := range file.Rules {
		expr, err := rule.Presence(releases[0].vars())
		if err != nil || expr == "" {
			return all, err
		}
		at, ok := asked[expr]
		if !ok {
			if at, err = begins(ctx, q, expr, from, to); err != nil {
				return nil, err
			}
			asked[expr] = at
		}
		all[rule.Name] = at
	}
	return all, nil
}

// begins gives when an expression without labels has a value first; zero: from the start, or never.
func begins(ctx context.Context, q rules.Querier, expr string, from, to time.Time) (time.Time, error) {
	if v, err := q.Query(ctx, expr, from); err != nil || len(v.Samples) > 0 {
		return time.Time{}, err // most often: then that one look is all
	}
	found, err := firsts(ctx, q, expr, from, to)
	if err != nil || len(found) == 0 {
		return time.Time{}, err
	}
	return found[0].from, nil
}

func rangeOf(file *rules.File) time.Duration {
	longest := time.Duration(0)
	for _, r := range file.Rules {
		longest = max(longest, r.Range)
	}
	return longest
}
