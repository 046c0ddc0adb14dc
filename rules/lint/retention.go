package lint

import (
	"context"
	"fmt"

	"github.com/prometheus/common/model"

	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// checkRetention asks whether the backend keeps what a rule looks back to.
var checkRetention = &Spec{
	Name:   "retention",
	Finds:  "a rule that looks further back than the backend keeps samples",
	Why:    "What it compares with is not there: the rule never finds harm.",
	Online: true,
	asked:  askRetention,
}

func askRetention(_ context.Context, o *online) ([]finding, error) {
	if o.retention == 0 || o.Range <= o.retention {
		return nil, nil
	}
	return []finding{o.rule.at(rules.Error, o.AST.PositionRange(),
		fmt.Sprintf("it looks back %s, and the backend keeps %s", model.Duration(o.Range), model.Duration(o.retention)),
		"Take a shorter offset, or ask a backend that keeps more.")}, nil
}
