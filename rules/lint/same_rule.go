package lint

import (
	"fmt"
	"time"

	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// checkSameRule finds rules that say the same under two names.
var checkSameRule = &Spec{
	Name:  "same_rule",
	Finds: "two rules with the same expression and `for`",
	Why:   "Both breach at once, are paged twice, and one is forgotten when the other is mended.",
	file:  lintSameRule,
}

func lintSameRule(f *file) []finding {
	type same struct {
		expr string
		wait time.Duration
	}
	first := map[same]*rules.ParsedRule{}
	var found []finding
	for _, p := range f.Rules {
		key := same{p.AST.String(), p.For}
		prior, ok := first[key]
		if !ok {
			first[key] = p
			continue
		}
		found = append(found, finding{
			severity: rules.Warning, place: p.Part(0, len(p.Source)), rule: p,
			message: fmt.Sprintf("%s says the same as %s in %s:%d", p.Name, prior.Name, prior.File, prior.Line), hint: "Keep one of them.",
		})
	}
	return found
}
