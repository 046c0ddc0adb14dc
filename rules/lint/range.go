package lint

import (
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// checkRange finds ranges too short for how often metrics are scraped.
var checkRange = &Spec{
	Name:  "range",
	Finds: "a range shorter than four scrapes",
	Why:   "Two samples make a rate, and a scrape that is late or lost takes one away: the rule blinks, and for starts over.",
	rule:  lintRange,
	floor: true,
}

// least is how many scrapes a range should hold at least.
const least = 4

func lintRange(r *rule) []finding {
	how := "assumed; --scrape-interval says otherwise"
	if r.measured {
		how = "measured"
	}
	enough := model.Duration(least * r.scrape)
	var found []finding
	var longer []replace
	for _, c := range rangedCalls(r.AST) {
		if strings.HasSuffix(c.call.Func.Name, "_over_time") || c.matrix.Range >= time.Duration(enough) {
			continue
		}
		part, long := c.matrix.PositionRange(), model.Duration(c.matrix.Range)
		f := r.at(rules.Warning, part,
			fmt.Sprintf("[%s] holds %d samples or so; they are %s apart (%s)", long, c.matrix.Range/r.scrape, model.Duration(r.scrape), how),
			fmt.Sprintf("Take at least %s.", enough))
		if c.matrix.Range <= r.scrape {
			f.severity = rules.Error
			f.message = fmt.Sprintf("[%s] never holds two samples; they are %s apart (%s)", long, model.Duration(r.scrape), how)
		}
		if from, to, ok := r.rangeAt(c.matrix); ok {
			longer = append(longer, replace{from, to, enough.String()})
		}
		found = append(found, f)
	}
	if len(found) == 0 {
		return nil
	}
	found[0].rewrite = oneLine(apply(r.Source, longer))
	return found[:1]
}

// rangeAt gives where a selector's range stands in the rule's text, without its brackets.
func (r *rule) rangeAt(m *parser.MatrixSelector) (from, to int, ok bool) {
	text, start := r.text(m), int(m.PositionRange().Start)
	from, to = strings.LastIndexByte(text, '['), strings.LastIndexByte(text, ']')
	return start + from + 1, start + to, from >= 0 && from < to
}
