package lint

import "github.com/gatekeeper-engine/gatekeeper/rules"

// checkNoData finds routes without a sound policy for missing data.
var checkNoData = &Spec{
	Name:  "no_data",
	Finds: "a route that rolls back and ignores missing data, or rolls back for it",
	Why:   "A release that nobody could see is not a good one, and an outage of the metrics is not its fault: a person should look.",
	file:  lintNoData,
}

func lintNoData(f *file) []finding {
	var found []finding
	for _, t := range f.Routes {
		if t.Do != rules.Rollback {
			continue
		}
		for _, key := range []string{"no_data", "on_error"} {
			policy, what := t.NoData, "missing data"
			if key == "on_error" {
				policy, what = t.OnError, "a backend that does not answer"
			}
			if !t.Has(key) {
				continue // its default is sound, or it follows the other
			}
			switch policy {
			case rules.Ignore:
				found = append(found, finding{
					severity: rules.Warning, place: t.Key(key),
					message: what + " is ignored, by rules that roll back", hint: "Leave it at hold: a person is asked.",
				})
			case rules.Rollback:
				found = append(found, finding{
					severity: rules.Warning, place: t.Key(key),
					message: what + " rolls the release back", hint: "Leave it at hold: a person is asked.",
				})
			}
		}
	}
	return found
}
