package lint

import "github.com/gatekeeper-engine/gatekeeper/rules"

// checkIrate finds irate() in rules.
var checkIrate = &Spec{
	Name:  "irate",
	Finds: "`irate()`, which looks at the last two samples only",
	Why:   "One odd scrape moves it, up and down again: for starts over at each dip, and harm is found late or never.",
	rule:  lintIrate,
	floor: true,
}

func lintIrate(r *rule) []finding {
	var found []finding
	for _, c := range calls(r.AST, "irate") {
		f := r.at(rules.Warning, c.PositionRange(), "irate() is for graphs: it sees the last two samples only", "Use rate() over at least four scrapes.")
		start := int(c.PositionRange().Start)
		f.rewrite = oneLine(apply(r.Source, []replace{{start, start + len("irate"), "rate"}}))
		found = append(found, f)
	}
	return found
}
