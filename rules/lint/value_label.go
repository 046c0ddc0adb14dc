package lint

import (
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// checkValueLabel finds labels that change with the value.
var checkValueLabel = &Spec{
	Name:  "value_label",
	Finds: "`$value` in a label",
	Why:   "Labels tell alerts apart: with each new value it is another alert, for starts over, and harm is never decided.",
	rule:  lintValueLabel,
}

var valueUse = regexp.MustCompile(`\{\{[^}]*(?:\$value\b|\.Value\b)[^}]*\}\}`)

func lintValueLabel(r *rule) []finding {
	var found []finding
	for _, name := range slices.Sorted(maps.Keys(r.Labels)) {
		if m := valueUse.FindStringIndex(r.Labels[name]); m != nil {
			found = append(found, finding{
				severity: rules.Error, place: r.LabelPart(name, m[0], m[1]), rule: r.ParsedRule,
				message: fmt.Sprintf("the label %q changes with the value", name), hint: "Put the value into an annotation.",
			})
		}
	}
	return found
}
