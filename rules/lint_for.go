package rules

import (
	"fmt"

	"github.com/prometheus/common/model"
)

// lintFor finds a `for` that does not fit its group's interval. Slots are an interval apart, and
// only they can find harm over: with a `for` below the interval one bad look decides.
func lintFor(c lintContext) []finding {
	wait, every := c.rule.For, c.rule.Interval
	if wait == 0 || every == 0 {
		return nil
	}
	text := fmt.Sprintf("for: %s", model.Duration(wait))
	switch {
	case wait < every:
		return []finding{{
			severity: Warning, key: "for",
			message: fmt.Sprintf("%s is shorter than the group's interval of %s: one bad look decides", text, model.Duration(every)),
			hint:    fmt.Sprintf("Make it a multiple of the interval, such as %s, or set a shorter interval for the group.", model.Duration(2*every)),
		}}
	case wait%every != 0:
		return []finding{{
			severity: Warning, key: "for",
			message: fmt.Sprintf("%s is no multiple of the group's interval of %s: its end falls between two looks", text, model.Duration(every)),
			hint:    fmt.Sprintf("Write %s or %s.", model.Duration(wait/every*every), model.Duration((wait/every+1)*every)),
		}}
	default:
		return nil
	}
}
