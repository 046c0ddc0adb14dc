package rules

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"

	"github.com/gatekeeper-engine/gatekeeper/internal/yamlnode"
	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// Caps on one expression.
const (
	maxQuery     = 16 << 10 // bytes, with the release's values in it
	maxExprDepth = 100
)

// expression is a PromQL expression of a file that can be asked, with its variables in it.
type expression struct {
	text string
	ast  parser.Expr
}

// expression reads a PromQL expression and tells every problem at its place in the file.
func (r *reader) expression(n *yaml.Node, what string) *expression {
	text, ok := r.filled(n, what)
	if !ok {
		return nil
	}
	n = yamlnode.Follow(n)
	if len(text) > maxQuery {
		r.fail(n, checkPromQL, "Record parts of it in the metric backend.", "%s has more than %d bytes", what, maxQuery)
		return nil
	}
	ast, err := promexpr.Parser.ParseExpr(text)
	if err != nil {
		r.badPromQL(n, what, err)
		return nil
	}
	ok = r.variables(n)
	if depth := promexpr.Depth(ast); depth > maxExprDepth {
		r.fail(n, checkPromQL, "", "%s nests deeper than %d", what, maxExprDepth)
		return nil
	}
	switch t := ast.Type(); t {
	case parser.ValueTypeScalar, parser.ValueTypeVector:
	default:
		r.fail(n, checkPromQL, "Wrap a range in a function such as rate() or max_over_time().",
			"%s gives a %s; a rule needs an instant vector or a number", what, parser.DocumentedType(t))
		ok = false
	}
	if !ok {
		return nil
	}
	return &expression{text: strings.TrimSpace(text), ast: ast}
}

// badPromQL tells of the parser's errors, each at its place.
func (r *reader) badPromQL(n *yaml.Node, what string, err error) {
	var list parser.ParseErrors
	if !errors.As(err, &list) {
		r.fail(n, checkPromQL, "", "%s is not PromQL: %v", what, err)
		return
	}
	for _, one := range list {
		start, end := int(one.PositionRange.Start), int(one.PositionRange.End)
		r.tellAt(Error, n, start, end-start, checkPromQL, promqlHint(n.Value, start, one.Err.Error()), "%s is not PromQL: %v", what, one.Err)
	}
}

// promqlHint says what to do about an error that the parser has at an offset.
func promqlHint(expr string, at int, message string) string {
	near := expr[min(max(at-1, 0), len(expr)):]
	switch {
	case strings.Contains(near[:min(len(near), 3)], "${"):
		return `Variables stand only inside the values of label matchers, as in {version="${version}"}.`
	case strings.Contains(message, "unknown function"):
		return didYouMean(calledName(expr, at), functionNames())
	case strings.Contains(message, "unclosed"), strings.Contains(message, "unterminated"):
		return "Whatever is opened before here must be closed: ( by ), [ by ], { by }, quotes by quotes."
	case strings.Contains(message, "expected type range vector"):
		return "Give it a range, as in rate(requests_total[5m])."
	case strings.Contains(message, "got range vector"):
		return "Wrap the range in a function such as rate() or max_over_time()."
	case strings.Contains(message, "regexp"):
		return `Regular expressions are RE2; a bracket that means itself is written \\( inside the quotes.`
	default:
		return "Prometheus would refuse it too: its own page completes and checks expressions."
	}
}

// calledName gives the name at an offset of an expression.
func calledName(expr string, at int) string {
	rest := expr[min(max(at, 0), len(expr)):]
	end := strings.IndexFunc(rest, func(c rune) bool {
		return c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9')
	})
	if end < 0 {
		return rest
	}
	return rest[:end]
}

func functionNames() []string {
	return slices.Sorted(maps.Keys(parser.Functions))
}

// parsed is a file's expression again, to be changed.
func parsed(text string) (parser.Expr, error) {
	e, err := promexpr.Parser.ParseExpr(text)
	if err != nil {
		return nil, fmt.Errorf("parse %q: %w", capText(text, 200), err)
	}
	return e, nil
}
