package lint

import (
	"fmt"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// checkUnboundVersion finds rules that see the old version's data as well.
var checkUnboundVersion = &Spec{
	Name:  "unbound_version",
	Finds: "rules that are not bound to the version",
	Why:   "A tenth of the traffic on a version with 5% errors shows as 0.5% in the whole, and the old version's errors count against the new one.",
	rule:  lintUnboundVersion,
}

func lintUnboundVersion(r *rule) []finding {
	if r.VersionBound {
		return nil // what is not bound is a guard
	}
	return r.firstSelector(func(vs *parser.VectorSelector) bool {
		return promexpr.SelectorBinding(vs, r.recorded) == promexpr.Unbound
	},
		fmt.Sprintf("%s sees the old and the new version mixed", r.Alert), `version="${version}"`)
}
