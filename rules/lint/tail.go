package lint

import (
	"fmt"
	"time"

	"github.com/prometheus/common/model"

	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// checkTail finds rules that still see the harm long after the rollback ended it.
var checkTail = &Spec{
	Name:  "tail",
	Finds: "a long range in a rule that is not bound to the version",
	Why:   "So long after a rollback the rule still sees the old harm: recovery is told late, and the next release is held for a person, lest it be rolled back for it.",
	rule:  lintTail,
}

// longTail is the range from which the tail is worth telling.
const longTail = 5 * time.Minute

func lintTail(r *rule) []finding {
	if long := r.longest(); !r.VersionBound && long > longTail {
		return []finding{r.at(rules.Warning, r.AST.PositionRange(),
			fmt.Sprintf("for %s after a rollback %s still sees what was before it", model.Duration(long), r.Alert),
			fmt.Sprintf("Bind it to ${version}, take a range of %s or less, and keep cool_down at the longest range.", model.Duration(longTail)))}
	}
	return nil
}
