package lint

import (
	"fmt"
	"regexp/syntax"
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
		if m.Name != model.MetricNameLabel && (selects(m, "${service}") || r.file.Service != "" && selects(m, r.file.Service)) {
			return true
		}
	}
	seen, through := r.seen(vs)
	return through && !slices.ContainsFunc(promexpr.Selectors(seen), func(s *parser.VectorSelector) bool { return r.recordedBy(s) || !r.boundToService(s) })
}

// selects says that a matcher takes nothing but what holds the service's name.
func selects(m *labels.Matcher, service string) bool {
	switch m.Type {
	case labels.MatchEqual:
		return strings.Contains(m.Value, service)
	case labels.MatchRegexp:
		const name = "SERVICE" // letters, for ${service} means something to a regular expression
		re, err := syntax.Parse(strings.ReplaceAll(m.Value, service, name), syntax.Perl)
		return err == nil && leads(re, name)
	case labels.MatchNotEqual, labels.MatchNotRegexp:
	}
	return false
}

// leads says that whatever a regular expression matches holds a name that does not begin in the
// middle of a word: .*shop takes coffeeshop too.
func leads(re *syntax.Regexp, name string) bool {
	switch re.Op {
	case syntax.OpLiteral:
		return strings.Contains(string(re.Rune), name)
	case syntax.OpCapture:
		return leads(re.Sub[0], name)
	case syntax.OpAlternate:
		return !slices.ContainsFunc(re.Sub, func(one *syntax.Regexp) bool { return !leads(one, name) })
	case syntax.OpConcat:
		for i, one := range re.Sub {
			if leads(one, name) {
				return i == 0 || !wild(re.Sub[i-1]) || one.Op == syntax.OpLiteral && !strings.HasPrefix(string(one.Rune), name)
			}
		}
	default: // what may be left out, or is one character of many, holds no name
	}
	return false
}

// wild says that a part of a regular expression takes any text.
func wild(re *syntax.Regexp) bool {
	return (re.Op == syntax.OpStar || re.Op == syntax.OpPlus) && (re.Sub[0].Op == syntax.OpAnyChar || re.Sub[0].Op == syntax.OpAnyCharNotNL)
}
