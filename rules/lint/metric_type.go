package lint

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// checkType asks whether what a rate is taken of is a counter.
var checkType = &Spec{
	Name:   "metric_type",
	Finds:  "`rate()`, `irate()` or `increase()` of a metric that is declared as a gauge",
	Why:    "Each fall of a gauge looks like a restart and counts as a rise: the rate means nothing.",
	Online: true,
	asked:  askType,
}

func askType(ctx context.Context, o *online) ([]finding, error) {
	var found []finding
	for _, c := range rangedCalls(o.AST) {
		if !slices.Contains([]string{"rate", "irate", "increase"}, c.call.Func.Name) || c.selector.Name == "" {
			continue
		}
		types, err := o.types(ctx, c.selector.Name)
		if err != nil {
			return nil, err
		}
		if len(types) > 0 && !slices.ContainsFunc(types, counts) {
			found = append(found, o.rule.at(rules.Error, c.call.PositionRange(),
				fmt.Sprintf("%s() is for counters, and %s is declared as a %s", c.call.Func.Name, c.selector.Name, strings.Join(types, ", ")),
				"Of a gauge take avg_over_time(), max_over_time() or deriv()."))
		}
	}
	return found, nil
}

// types gives the types of a metric, which a histogram and OpenMetrics declare under a shorter name.
func (o *online) types(ctx context.Context, name string) ([]string, error) {
	for _, suffix := range []string{"", "_total", "_bucket", "_count", "_sum"} {
		short, ok := strings.CutSuffix(name, suffix)
		if !ok {
			continue
		}
		types, err := o.backend.Types(ctx, short)
		if err != nil || len(types) > 0 {
			return types, err
		}
	}
	return nil, nil
}

// counts says that series of a type only grow, or may.
func counts(kind string) bool { return kind != "gauge" && kind != "info" && kind != "stateset" }
