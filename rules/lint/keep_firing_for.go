package lint

import (
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// checkKeepFiringFor finds keep_firing_for where nothing waits for somebody.
var checkKeepFiringFor = &Spec{
	Name:  "keep_firing_for",
	Finds: "`keep_firing_for` in a rule that rolls back at once",
	Why:   "A decision is final, and what comes after it changes nothing; the key counts only while a breach waits for a person.",
	rule:  lintKeepFiringFor,
}

func lintKeepFiringFor(r *rule) []finding {
	if r.KeepFiringFor == 0 || r.Response.Do != rules.Rollback || r.Response.Veto > 0 {
		return nil
	}
	return []finding{r.about(rules.Info, "keep_firing_for", "keep_firing_for changes nothing here: the rollback is decided when the rule breaches", "Leave it out, or keep it for Prometheus and ignore this.")}
}
