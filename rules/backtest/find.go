package backtest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// How instants are looked for: first each minute, so that a look over days has few points, then as fine as
// least, each time finest times as fine. A look goes back lookback at least, for which Prometheus has a series
// after each sample.
const (
	firstStep = time.Minute
	leastStep = time.Second
	finest    = 200
	lookback  = 5 * time.Minute
)

// Find gives the releases that the changes of a version label tell of: each value of label was
// deployed at the first sample of selector that has it, to the second, and followed the value that
// came before it. Values that are there at from already have no beginning that could be found.
func Find(ctx context.Context, q rules.Querier, label, selector string, from, to time.Time) ([]Release, error) {
	if err := namesSelector(label, selector); err != nil {
		return nil, err
	}
	firsts, err := firsts(ctx, q, func(over string) string {
		return fmt.Sprintf("count by (%s) (last_over_time(%s[%s]))", label, selector, over)
	}, from, to)
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

// query gives an expression that has an answer where there was a sample in the time before, such as 5m.
type query func(over string) string

// firsts gives when each series of a query began between from and to, in that order: by one look
// over all of the time, and finer ones at each beginning. However long the time is, no sample is
// between two looks unseen.
func firsts(ctx context.Context, q rules.Querier, expr query, from, to time.Time) ([]first, error) {
	step := max(firstStep, (to.Sub(from)/(maxPoints-1)).Truncate(time.Second)+time.Second)
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
			if one.from, err = finer(ctx, q, expr, s.Labels, at, step); err != nil {
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

// finer gives the first instant, to the second, of the series with these labels that was seen at an
// instant and not a step before.
func finer(ctx context.Context, q rules.Querier, expr query, labels map[string]string, at time.Time, step time.Duration) (time.Time, error) {
	for step > leastStep {
		from := at.Add(-step)
		step = max(leastStep, (step / finest).Truncate(time.Second))
		m, err := ask(ctx, q, expr, from.Add(step), at, step)
		if err != nil {
			return at, err
		}
		for _, s := range m.Series {
			if maps.Equal(s.Labels, labels) && len(s.Points) > 0 {
				at = s.Points[0].At
			}
		}
	}
	return at, nil
}

func ask(ctx context.Context, q rules.Querier, query query, from, to time.Time, step time.Duration) (rules.Matrix, error) {
	expr := query(model.Duration(max(step, lookback)).String())
	m, err := q.QueryRange(ctx, expr, from, to, step)
	if err == nil && len(m.Warnings) > 0 {
		err = gatekeeper.Errorf(gatekeeper.CodeUnavailable, "a partial answer could hide a release: ask again when the backend is whole", "the backend answered %s in part only: %s", expr, strings.Join(m.Warnings, "; "))
	}
	return m, err
}

// oldest gives, by rule, the instant before which the backend holds nothing of its metrics; zero
// where it holds them from before the first release. The versions' own matchers are left out: a
// version that is not there yet is no lost data. Only names the one rule to look at; "": all.
func oldest(ctx context.Context, file *rules.File, only string, releases []Release, q rules.Querier, now time.Time) (map[string]time.Time, error) {
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
		if only != "" && rule.Name != only {
			continue
		}
		selectors, err := rule.Metrics(releases[0].vars())
		if err != nil || len(selectors) == 0 {
			return all, err
		}
		key := strings.Join(selectors, " or ")
		at, ok := asked[key]
		if !ok {
			if at, err = begins(ctx, q, selectors, from, to); err != nil {
				return nil, err
			}
			asked[key] = at
		}
		all[rule.Name] = at
	}
	return all, nil
}

// begins gives when one of the selectors has a sample first; zero: from the start, or never.
func begins(ctx context.Context, q rules.Querier, selectors []string, from, to time.Time) (time.Time, error) {
	count := func(over string) string {
		counts := make([]string, len(selectors))
		for i, selector := range selectors {
			counts[i] = fmt.Sprintf("count(last_over_time(%s[%s]))", selector, over)
		}
		return strings.Join(counts, " or ")
	}
	if v, err := q.Query(ctx, count(model.Duration(lookback).String()), from); err != nil || len(v.Samples) > 0 {
		return time.Time{}, err // most often: then that one look is all
	}
	found, err := firsts(ctx, q, count, from, to)
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
