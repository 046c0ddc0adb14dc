package lint

import (
	"fmt"

	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// checkAbsent finds rules that take missing data for harm.
var checkAbsent = &Spec{
	Name:  "absent",
	Finds: "`absent()` and `absent_over_time()`",
	Why:   "An outage of the metrics would roll a good release back; and absent() sees a series for five minutes after its last sample.",
	rule:  lintAbsent,
}

func lintAbsent(r *rule) []finding {
	var found []finding
	for _, c := range calls(r.AST, "absent", "absent_over_time") {
		found = append(found, r.at(rules.Warning, c.PositionRange(), fmt.Sprintf("%s() calls missing data harm", c.Func.Name),
			"Gatekeeper tells missing data apart: no_data in the route says what it does, after blind. For an instance that is down compare up == 0."))
	}
	return found
}
