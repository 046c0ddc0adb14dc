package lint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// checkUnboundService finds selectors that see other services.
var checkUnboundService = &Spec{
	Name:  "unbound_service",
	Finds: "selectors that are not bound to the service",
	Why:   "Another service's outage rolls this release back.",
	rule:  lintUnboundService,
	floor: true,
}

func lintUnboundService(r *rule) []finding {
	return r.firstSelector(func(vs *parser.VectorSelector) bool { return !r.boundToService(vs) },
		fmt.Sprintf("not every selector of %s is bound to the service", r.Alert), `service="${service}"`)
}

// firstSelector is a finding about the first selector that lacks a matcher.
func (r *rule) firstSelector(lacks func(*parser.VectorSelector) bool, message, matcher string) []finding {
	for _, vs := range promexpr.Selectors(r.AST) {
		if lacks(vs) {
			return []finding{r.at(rules.Warning, vs.PositionRange(), message,
				fmt.Sprintf("Add the matcher %s, with the name that your metrics have for this label.", matcher))}
		}
	}
	return nil
}

// boundToService says that a selector holds ${service}, or the file's service by name.
func (r *rule) boundToService(vs *parser.VectorSelector) bool {
	for _, m := range vs.LabelMatchers {
		positive := m.Type == labels.MatchEqual || m.Type == labels.MatchRegexp
		if positive && m.Name != model.MetricNameLabel &&
			(strings.Contains(m.Value, "${service}") || r.file.Service != "" && strings.Contains(m.Value, r.file.Service)) {
			return true
		}
	}
	seen, through := r.seen(vs)
	return through && !slices.ContainsFunc(promexpr.Selectors(seen), func(s *parser.VectorSelector) bool { return r.recordedBy(s) || !r.boundToService(s) })
}
