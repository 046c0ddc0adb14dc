package rules

import (
	"fmt"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// lintUnbound finds selectors that see more than the release: another service's outage, or the old
// version, whose traffic thins out what a small share on the new one shows.
func lintUnbound(c lintContext) []finding {
	var first *parser.VectorSelector
	var service, version bool
	for _, vs := range promexpr.Selectors(c.ast) {
		noService, noVersion := !c.boundToService(vs), promexpr.SelectorBinding(vs) == promexpr.Unbound
		if (noService || noVersion) && first == nil {
			first = vs
		}
		service, version = service || noService, version || noVersion
	}
	if version && c.rule.VersionBound {
		version = false // what is not bound is a guard
	}
	if !service && !version || first == nil {
		return nil
	}
	var lacks, harms []string
	if service {
		lacks = append(lacks, `service="${service}"`)
		harms = append(harms, "another service's outage rolls this release back")
	}
	if version {
		lacks = append(lacks, `version="${version}"`)
		harms = append(harms, "the old version's traffic hides what the new one does wrong, and its errors count against the new one")
	}
	return []finding{{
		severity: Warning,
		part:     first.PositionRange(),
		message:  fmt.Sprintf("not every selector of %s is bound to the release: %s", c.rule.Alert, strings.Join(harms, "; ")),
		hint:     fmt.Sprintf("Add the matchers %s, with the names that your metrics have for these labels.", strings.Join(lacks, " and ")),
	}}
}

// boundToService says that a selector holds ${service}, or the file's service by name.
func (c lintContext) boundToService(vs *parser.VectorSelector) bool {
	for _, m := range vs.LabelMatchers {
		positive := m.Type == labels.MatchEqual || m.Type == labels.MatchRegexp
		if positive && m.Name != model.MetricNameLabel &&
			(strings.Contains(m.Value, "${service}") || c.file.Service != "" && strings.Contains(m.Value, c.file.Service)) {
			return true
		}
	}
	return false
}
