package rules

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"

	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// Vars are the values of a file's variables. A variable that is used must have one.
type Vars struct {
	Service         string            // ${service}
	Environment     string            // ${environment}
	Version         string            // ${version}
	PreviousVersion string            // ${previous_version}
	Labels          map[string]string // ${labels.x}

	// What templates know as $externalLabels and $externalURL: those of a Prometheus, in tests of its
	// rules. A release has none.
	ExternalLabels map[string]string
	ExternalURL    string

	// AsWritten leaves variables as they are, as Prometheus does, which knows none: in tests of its rules.
	AsWritten bool
}

var (
	variable     = regexp.MustCompile(`\$\{([^}]*)\}`)
	variableName = regexp.MustCompile(`^(?:service|environment|version|previous_version|labels\.[\pL_][\pL\d_./-]*)$`)
	knownNames   = []string{"service", "environment", "version", "previous_version", "labels.x"}
)

// onlyInMatchers is the hint for a variable where none can be.
const onlyInMatchers = `Variables stand only inside the values of label matchers, as in {version="${version}"}; a template has {{ $labels.version }}.`

// variables checks the variables of an expression: known ones, inside the values of label matchers.
func (r *reader) variables(n *yaml.Node) bool {
	ok := true
	lex := parser.Lex(n.Value)
	var before parser.ItemType
	for {
		var item parser.Item
		lex.NextItem(&item)
		if item.Typ == parser.EOF || item.Typ == parser.ERROR {
			return ok
		}
		if item.Typ == parser.STRING {
			ok = r.variablesIn(n, item, isMatcherOp(before)) && ok
		}
		if item.Typ != parser.COMMENT {
			before = item.Typ
		}
	}
}

func (r *reader) variablesIn(n *yaml.Node, item parser.Item, allowed bool) bool {
	ok := true
	for _, m := range variable.FindAllStringSubmatchIndex(item.Val, -1) {
		name := item.Val[m[2]:m[3]]
		known := variableName.MatchString(name)
		switch {
		case !allowed && known:
			r.tellAt(Error, n, int(item.Pos)+m[0], m[1]-m[0], checkVariable, onlyInMatchers, "variable ${%s} can't stand here", name)
		case allowed && !known:
			hint := didYouMean(name, knownNames)
			if hint == "" {
				hint = "The variables are ${service}, ${environment}, ${version}, ${previous_version} and ${labels.x}."
			}
			r.tellAt(Error, n, int(item.Pos)+m[0], m[1]-m[0], checkVariable, hint, "unknown variable ${%s}", name)
		default:
			continue
		}
		ok = false
	}
	return ok
}

func isMatcherOp(t parser.ItemType) bool {
	switch t {
	case parser.EQL, parser.NEQ, parser.EQL_REGEX, parser.NEQ_REGEX:
		return true
	default:
		return false
	}
}

// strayVariables tells of variables outside of expressions, where nothing would replace them. An
// action's settings are the action's own.
func (r *reader) strayVariables(n *yaml.Node) {
	if n.Kind == yaml.AliasNode {
		return // told of where it stands
	}
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode {
			if i%2 == 0 {
				continue
			}
			switch n.Content[i-1].Value {
			case "expr", "errors", "total", "min_traffic", "with":
				continue
			}
		}
		r.strayVariables(c)
	}
	if n.Kind != yaml.ScalarNode {
		return
	}
	for _, m := range variable.FindAllStringSubmatchIndex(n.Value, -1) {
		if name := n.Value[m[2]:m[3]]; variableName.MatchString(name) {
			r.tellAt(Error, n, m[0], m[1]-m[0], checkVariable, onlyInMatchers, "variable ${%s} can't stand here", name)
		}
	}
}

// value gives a variable's value; "" is none.
func (v Vars) value(name string) string {
	switch name {
	case "service":
		return v.Service
	case "environment":
		return v.Environment
	case "version":
		return v.Version
	case "previous_version":
		return v.PreviousVersion
	}
	if label, ok := strings.CutPrefix(name, "labels."); ok {
		return v.Labels[label]
	}
	return ""
}

// substitute puts the values into an expression's matchers, and gives the names of variables that
// have none.
func (v Vars) substitute(e parser.Expr) (missing []string, err error) {
	if v.AsWritten {
		return nil, nil
	}
	for _, vs := range promexpr.Selectors(e) {
		for i, m := range vs.LabelMatchers {
			if !strings.Contains(m.Value, "${") {
				continue
			}
			regex := m.Type == labels.MatchRegexp || m.Type == labels.MatchNotRegexp
			text := variable.ReplaceAllStringFunc(m.Value, func(use string) string {
				value := v.value(use[2 : len(use)-1])
				if value == "" {
					missing = append(missing, use)
				}
				if regex {
					return regexp.QuoteMeta(value)
				}
				return value
			})
			bound, err := labels.NewMatcher(m.Type, m.Name, text)
			if err != nil {
				return missing, fmt.Errorf("matcher %s: %w", m, err)
			}
			vs.LabelMatchers[i] = bound
		}
	}
	return missing, nil
}
