package lint

import (
	"fmt"

	"github.com/prometheus/common/model"

	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// checkFor finds a `for` that does not fit its group's interval: only looks, an interval apart, can
// find harm over.
var checkFor = &Spec{
	Name:  "for",
	Finds: "a `for` shorter than the group's interval, or no multiple of it",
	Why:   "Only looks can find harm over, and they are an interval apart: with a shorter for one bad look decides.",
	rule:  lintFor,
}

func lintFor(r *rule) []finding {
	wait, every := r.For, r.Interval
	if wait == 0 || every == 0 {
		return nil
	}
	switch {
	case wait < every:
		return []finding{r.about(rules.Warning, "for",
			fmt.Sprintf("for: %s is shorter than the group's interval of %s", model.Duration(wait), model.Duration(every)),
			fmt.Sprintf("Make it a multiple of the interval, such as %s, or set a shorter interval for the group.", model.Duration(2*every)))}
	case wait%every != 0:
		return []finding{r.about(rules.Warning, "for",
			fmt.Sprintf("for: %s is no multiple of the group's interval of %s: its end falls between two looks", model.Duration(wait), model.Duration(every)),
			fmt.Sprintf("Write %s or %s.", model.Duration(wait/every*every), model.Duration((wait/every+1)*every)))}
	default:
		return nil
	}
}
