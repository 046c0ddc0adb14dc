package lint

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// Windows in which the backend is asked for series, and for the time between their samples.
const (
	lookFor = time.Hour
	measure = 10 * time.Minute
)

// online is what an online check of one rule looks at.
type online struct {
	*rule
	backend   Backend
	at        time.Time
	retention time.Duration
	known     map[string]bool // whether queries had an answer
	report    *Report
}

// asker asks the backend for all rules of a bundle.
type asker struct {
	backend   Backend
	at        time.Time
	retention time.Duration
	known     map[string]bool
}

// newAsker asks the backend something that it must know, so that a dead one is told as such.
func newAsker(ctx context.Context, b Backend, at time.Time) (*asker, error) {
	if _, err := b.Query(ctx, "vector(1)", at); err != nil {
		return nil, err
	}
	retention, err := b.Retention(ctx)
	return &asker{backend: b, at: at, retention: retention, known: map[string]bool{}}, err
}

// scrapeInterval measures the time between the samples that a rule reads; ok is false where there is
// none to measure.
func (a *asker) scrapeInterval(ctx context.Context, f *rules.File, p *rules.ParsedRule) (every time.Duration, ok bool, err error) {
	for _, vs := range promexpr.Selectors(p.AST) {
		times, err := a.backend.SampleTimes(ctx, relaxed(f, vs).String(), measure, a.at)
		if err != nil {
			return 0, false, err
		}
		var gaps []time.Duration
		for i := 1; i < len(times); i++ {
			gaps = append(gaps, times[i].Sub(times[i-1]))
		}
		if len(gaps) > 0 {
			slices.Sort(gaps)
			return max(every, gaps[len(gaps)/2]).Round(100 * time.Millisecond), true, nil
		}
	}
	return 0, false, nil
}

// online runs the online checks.
func (r *run) online(ctx context.Context, a *asker) error {
	for _, p := range r.parsed.Expressions() {
		o := &online{
			rule: r.rule(p), backend: a.backend, at: a.at,
			retention: a.retention, known: a.known, report: r.report,
		}
		for _, s := range specs {
			if s.asked == nil || r.options.Disabled[s.Name] != "" {
				continue
			}
			found, err := s.asked(ctx, o)
			if err != nil {
				return fmt.Errorf("check %s of rule %s: %w", s.Name, p.Name, err)
			}
			r.add(s, found)
		}
	}
	return nil
}

// has says whether a selector had samples lately.
func (o *online) has(ctx context.Context, vs *parser.VectorSelector) (bool, error) {
	query := fmt.Sprintf("count(last_over_time(%s[%s]))", vs, model.Duration(lookFor))
	if there, ok := o.known[query]; ok {
		return there, nil
	}
	v, err := o.backend.Query(ctx, query, o.at)
	if err != nil {
		return false, err
	}
	o.known[query] = len(v.Samples) > 0
	return o.known[query], nil
}

// only gives the selector of a metric with one matcher, or with none.
func only(name string, m *labels.Matcher) *parser.VectorSelector {
	vs := &parser.VectorSelector{Name: name, LabelMatchers: []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, model.MetricNameLabel, name)}}
	if m != nil {
		vs.LabelMatchers = append(vs.LabelMatchers, m)
	}
	return vs
}

// relaxed gives a selector that the backend can be asked before there is a release: a variable whose
// value nobody knows yet asks only that the label is there. It looks at now, whatever its offset was.
func relaxed(f *rules.File, vs *parser.VectorSelector) *parser.VectorSelector {
	out := parser.VectorSelector{Name: vs.Name}
	for _, m := range vs.LabelMatchers {
		out.LabelMatchers = append(out.LabelMatchers, relaxedMatcher(f, m))
	}
	return &out
}

func relaxedMatcher(f *rules.File, m *labels.Matcher) *labels.Matcher {
	value := m.Value
	for name, known := range map[string]string{"${service}": f.Service, "${environment}": f.Environment} {
		if known != "" {
			value = strings.ReplaceAll(value, name, known)
		}
	}
	if strings.Contains(value, "${") {
		return labels.MustNewMatcher(labels.MatchNotEqual, m.Name, "")
	}
	if bound, err := labels.NewMatcher(m.Type, m.Name, value); err == nil {
		return bound
	}
	return labels.MustNewMatcher(labels.MatchNotEqual, m.Name, "") // the service's name makes no regular expression
}

// selectorsOnce gives the selectors of the rule with a name, one for each text.
func (o *online) selectorsOnce() []*parser.VectorSelector {
	seen := map[string]bool{}
	var all []*parser.VectorSelector
	for _, vs := range promexpr.Selectors(o.AST) {
		if key := vs.String(); vs.Name != "" && !seen[key] && !o.recordedBy(vs) {
			seen[key] = true
			all = append(all, vs)
		}
	}
	return all
}
