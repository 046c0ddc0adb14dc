package rules

import (
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/parser/posrange"

	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// lints are the linter's checks, by their stable names. Each has its file.
var lints = []struct {
	name string
	run  func(lintContext) []finding
}{
	{"rate", lintRate},
	{"always", lintAlways},
	{"lopsided", lintLopsided},
	{"unbound", lintUnbound},
	{"for", lintFor},
	{"traffic", lintTraffic},
}

// lintContext is what a check looks at.
type lintContext struct {
	file *File
	rule *ruleNode
	ast  parser.Expr
}

// finding is what a check has to say: about a part of the expression, or about one of the rule's
// keys.
type finding struct {
	severity Severity
	part     posrange.PositionRange // of the expression, where key is empty
	key      string
	message  string
	hint     string
}

// lint runs every check on a rule.
func (l *loader) lint(f *File, r *ruleNode) {
	for _, check := range lints {
		for _, found := range check.run(lintContext{file: f, rule: r, ast: r.expr.ast}) {
			if n := r.nodes[found.key]; found.key != "" && n != nil {
				r.r.tell(found.severity, n, check.name, found.hint, "%s", found.message)
				continue
			}
			expr := follow(r.nodes["expr"])
			from, to := int(found.part.Start), int(found.part.End)
			r.r.tellAt(found.severity, expr, from, to-from, check.name, found.hint, "%s", found.message)
		}
	}
}

// statusLabels are the labels by which requests are commonly told into good and bad ones.
var statusLabels = []string{
	"status", "status_code", "statuscode", "code", "http_status", "http_status_code", "http_response_status_code",
	"grpc_code", "grpc_status", "response_code", "result", "outcome", "success", "error", "error_type", "exception",
}

func isStatus(name string) bool {
	for _, known := range statusLabels {
		if strings.EqualFold(name, known) {
			return true
		}
	}
	return false
}

// withoutStatus gives the expression with the matchers on status labels left out: all requests
// instead of the bad ones. ok is false when it has none.
func withoutStatus(e parser.Expr) (all parser.Expr, ok bool) {
	all, err := parsed(e.String())
	if err != nil {
		return nil, false
	}
	for _, vs := range promexpr.Selectors(all) {
		var kept []*labels.Matcher
		for _, m := range vs.LabelMatchers {
			if isStatus(m.Name) {
				ok = true
			} else {
				kept = append(kept, m)
			}
		}
		vs.LabelMatchers = kept
	}
	return all, ok
}
