package lint

import "github.com/gatekeeper-engine/gatekeeper/rules"

// checkAnnotations finds rules without a word for people.
var checkAnnotations = &Spec{
	Name:  "annotations",
	Finds: "a rule without `summary` or `description`",
	Why:   "Whoever is paged, or asked to approve a rollback, sees a name and no reason.",
	rule:  lintAnnotations,
}

func lintAnnotations(r *rule) []finding {
	if r.Annotations["summary"] != "" || r.Annotations["description"] != "" {
		return nil
	}
	return []finding{r.about(rules.Info, "alert", r.Alert+" has no summary", `Add annotations: {summary: "{{ $value | humanizePercentage }} of the requests fail"}.`)}
}
