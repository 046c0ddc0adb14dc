package lint

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// checkRegexp finds matchers by regular expression that need none.
var checkRegexp = &Spec{
	Name:  "regexp",
	Finds: "a regular expression that is a plain text, or has anchors that it has anyway",
	Why:   "Equality is faster, says what is meant, and lets rules of many services be asked in one query.",
	rule:  lintRegexp,
	floor: true,
}

var variableUse = regexp.MustCompile(`\$\{[^}]*\}`)

func lintRegexp(r *rule) []finding {
	var found []finding
	all := tokens(r.Source)
	for i := 0; i+1 < len(all); i++ {
		op, value := all[i], all[i+1]
		if op.kind != parser.EQL_REGEX && op.kind != parser.NEQ_REGEX || value.kind != parser.STRING || len(value.text) < 2 {
			continue
		}
		inner := value.text[1 : len(value.text)-1]
		plain := variableUse.ReplaceAllString(inner, "x")
		f := finding{severity: rules.Info, place: r.Part(op.from, value.to), rule: r.ParsedRule}
		switch {
		case regexp.QuoteMeta(plain) == plain && plain != "":
			equal := map[parser.ItemType]string{parser.EQL_REGEX: "=", parser.NEQ_REGEX: "!="}[op.kind]
			f.message, f.hint = fmt.Sprintf("%s is a plain text", value.text), fmt.Sprintf("Write %s instead of %s.", equal, op.text)
			f.edits = []replace{{op.from, op.to, equal}}
		case strings.HasPrefix(inner, "^") || anchoredEnd(inner):
			f.message, f.hint = "a matcher is anchored at both ends anyway", "Leave ^ and $ out."
			f.edits = anchors(value, inner)
		default:
			continue
		}
		found = append(found, f)
	}
	return found
}

// anchoredEnd says that a regular expression ends with $, and not with \$.
func anchoredEnd(inner string) bool {
	return strings.HasSuffix(inner, "$") && !strings.HasSuffix(inner, `\$`)
}

func anchors(value token, inner string) []replace {
	var edits []replace
	if strings.HasPrefix(inner, "^") {
		edits = append(edits, replace{value.from + 1, value.from + 2, ""})
	}
	if anchoredEnd(inner) {
		edits = append(edits, replace{value.to - 2, value.to - 1, ""})
	}
	return edits
}
