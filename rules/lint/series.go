package lint

import (
	"context"
	"fmt"

	"github.com/prometheus/common/model"

	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// checkSeries asks whether there are the metrics that a rule names.
var checkSeries = &Spec{
	Name:   "series",
	Finds:  "a metric that the backend does not have, or that the file hides by recording by its name",
	Why:    "A rule over a metric that is not there never finds harm; the release ends inconclusive at best.",
	Online: true,
	asked:  askSeries,
}

func askSeries(ctx context.Context, o *online) ([]finding, error) {
	found, err := o.hidden(ctx)
	if err != nil {
		return nil, err
	}
	told := map[string]bool{}
	for _, vs := range o.selectorsOnce() {
		if told[vs.Name] {
			continue
		}
		told[vs.Name] = true
		there, err := o.has(ctx, only(vs.Name, nil))
		if err != nil {
			return nil, err
		}
		if !there {
			found = append(found, o.rule.at(rules.Error, vs.PositionRange(),
				fmt.Sprintf("no series %s in the last %s", vs.Name, model.Duration(lookFor)), "Look for a typing error, and whether the service is scraped."))
		}
	}
	return found, nil
}

// hidden tells of the backend's own metrics that nothing of the file can read, for it records by their names.
func (o *online) hidden(ctx context.Context) (found []finding, err error) {
	told := map[string]bool{}
	for _, vs := range promexpr.Selectors(o.AST) {
		name := promexpr.NameOf(vs)
		if told[name] || !o.recordedBy(vs) {
			continue
		}
		told[name] = true
		there, err := o.has(ctx, only(name, nil))
		if err != nil {
			return nil, err
		}
		if there {
			found = append(found, o.rule.at(rules.Warning, vs.PositionRange(),
				fmt.Sprintf("the backend has series %s of its own: this reads what the file records by that name instead", name),
				"Record by another name, such as level:metric:operation."))
		}
	}
	return found, nil
}
