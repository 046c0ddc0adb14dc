package lint

import (
	"fmt"

	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// checkLimit finds a limit on the alerts of a group.
var checkLimit = &Spec{
	Name:  "limit",
	Finds: "a group's `limit` on alerts",
	Why:   "In Prometheus a rule that gives more alerts than that gives none: the worst release of all would look well there.",
	rule:  lintLimit,
}

func lintLimit(r *rule) []finding {
	if r.Limit <= 0 || r.Place > 0 { // told once for the group
		return nil
	}
	return []finding{r.about(rules.Info, "alert", fmt.Sprintf("the group of %s has a limit of %d alerts", r.Alert, r.Limit), "Leave it out: what is kept of a reading is capped as it is.")}
}
