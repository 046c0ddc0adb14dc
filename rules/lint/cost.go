package lint

import (
	"context"
	"fmt"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// checkCost asks what one look of a rule takes.
var checkCost = &Spec{
	Name:   "cost",
	Finds:  "an expression that takes long, or reads very many samples, at each look",
	Why:    "Every release asks it every few seconds: a look that comes too late is no answer, and others' queries wait.",
	Online: true,
	asked:  askCost,
}

// From these on a look is told to be expensive.
const (
	manySamples = 5_000_000
	longLook    = 2 * time.Second
)

func askCost(ctx context.Context, o *online) ([]finding, error) {
	ast, err := promexpr.Parser.ParseExpr(o.Source)
	if err != nil {
		return nil, err
	}
	ast, _ = o.seen(ast) // the backend has nothing of what the file records
	for _, vs := range promexpr.Selectors(ast) {
		vs.LabelMatchers = relaxed(o.file, vs).LabelMatchers
	}
	cost, err := o.backend.Cost(ctx, ast.String(), o.at)
	if err != nil && gatekeeper.CodeOf(err) == gatekeeper.CodeInvalid {
		return []finding{o.rule.at(rules.Info, o.AST.PositionRange(), fmt.Sprintf("its cost can't be told for all versions at once: %v", err), "")}, nil
	}
	if err != nil {
		return nil, err
	}
	cost.Rule, cost.Seconds = o.Name, cost.Took.Seconds()
	o.report.Costs = append(o.report.Costs, cost)
	if cost.Samples < manySamples && cost.Took < longLook {
		return nil, nil
	}
	return []finding{o.rule.at(rules.Warning, o.AST.PositionRange(), cost.String(), "Take shorter ranges and narrower selectors, or record parts of it in the backend.")}, nil
}
