package lint

import (
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// checkTemplateLabel finds templates that name a label which the expression's samples never have.
var checkTemplateLabel = &Spec{
	Name:  "template_label",
	Finds: "a template with `$labels.x` where the expression keeps no label `x`",
	Why:   "It becomes an empty text, and whoever is paged at night misses just that name.",
	rule:  lintTemplateLabel,
}

// labelUse finds labels by name. Where a template goes into a sample of a query, .Labels may be that one's.
var (
	labelUse   = regexp.MustCompile(`(?:\$labels|\.Labels)\.([A-Za-z_]\w*)`)
	shortUse   = regexp.MustCompile(`\$labels\.([A-Za-z_]\w*)`)
	otherLabel = regexp.MustCompile(`\b(?:range|with|define|block|first)\b`)
)

func lintTemplateLabel(r *rule) []finding {
	has, known := carried(r.AST)
	if !known {
		return nil
	}
	var found []finding
	look := func(texts map[string]string, place func(name string, from, to int) rules.Place) {
		for _, name := range slices.Sorted(maps.Keys(texts)) {
			use := labelUse
			if otherLabel.MatchString(texts[name]) {
				use = shortUse
			}
			for _, m := range use.FindAllStringSubmatchIndex(texts[name], -1) {
				label := texts[name][m[2]:m[3]]
				if has[label] {
					continue
				}
				found = append(found, finding{
					severity: rules.Warning, place: place(name, m[0], m[1]), rule: r.ParsedRule,
					message: fmt.Sprintf("the expression keeps no label %q", label),
					hint:    fmt.Sprintf("Keep it, as in sum by (%s) (…), or leave it out. The labels are %s.", label, names(has)),
				})
			}
		}
	}
	look(r.Labels, r.LabelPart)
	look(r.Annotations, r.AnnotationPart)
	return found
}
