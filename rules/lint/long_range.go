package lint

import (
	"fmt"

	"github.com/prometheus/common/model"

	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// checkLongRange finds rules that were made for something slower than a release.
var checkLongRange = &Spec{
	Name:  "long_range",
	Finds: "a range longer than the release's window, as the rules of an SLO have",
	Why:   "For all of the window the rule sees mostly what was before the release; harm is thinned out in it.",
	rule:  lintLongRange,
}

func lintLongRange(r *rule) []finding {
	if long := r.longest(); long > r.file.Window {
		return []finding{r.at(rules.Warning, r.AST.PositionRange(),
			fmt.Sprintf("it looks back %s, and the release's window is %s", model.Duration(long), model.Duration(r.file.Window)),
			"Write a rule for the release, with a range of a few minutes; leave those of an SLO to the people on call.")}
	}
	return nil
}
