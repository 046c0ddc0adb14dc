package lint

import (
	"context"
	"fmt"

	"github.com/prometheus/common/model"

	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// checkSeries asks whether there are the metrics that a rule names.
var checkSeries = &Spec{
	Name:   "series",
	Finds:  "a metric that the backend does not have",
	Why:    "A rule over a metric that is not there never finds harm; the release ends inconclusive at best.",
	Online: true,
	asked:  askSeries,
}

func askSeries(ctx context.Context, o *online) ([]finding, error) {
	var found []finding
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
