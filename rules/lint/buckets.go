package lint

import (
	"context"
	"fmt"
	"math"
	"strconv"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// checkBuckets asks whether a histogram has buckets up to the limit.
var checkBuckets = &Spec{
	Name:   "buckets",
	Finds:  "a limit at or above the largest finite bucket of a histogram",
	Why:    "A quantile never gives more than the largest finite bucket, so the rule never finds harm, however slow the release is.",
	Online: true,
	asked:  askBuckets,
}

func askBuckets(ctx context.Context, o *online) ([]finding, error) {
	if o.operand == nil || len(o.operand.Compare) == 0 || quantileOf(o.operand.Expr) == 0 {
		return nil, nil
	}
	limit := o.operand.Compare[0]
	if limit.Op != parser.GTR && limit.Op != parser.GTE {
		return nil, nil
	}
	for _, vs := range promexpr.Selectors(o.operand.Expr) {
		query := fmt.Sprintf("count by (le) (last_over_time(%s[%s]))", relaxed(o.file, vs), model.Duration(lookFor))
		v, err := o.backend.Query(ctx, query, o.at)
		if err != nil {
			return nil, err
		}
		largest := math.Inf(-1)
		for _, s := range v.Samples {
			if le, err := strconv.ParseFloat(s.Labels["le"], 64); err == nil && !math.IsInf(le, 1) {
				largest = math.Max(largest, le)
			}
		}
		if !math.IsInf(largest, -1) && !limit.Holds(largest) {
			return []finding{o.rule.at(rules.Error, o.operand.Expr.PositionRange(),
				fmt.Sprintf("it is compared %s, and the largest finite bucket of %s is %v", o.operand.Limit, vs.Name, largest),
				"Take a limit below that, or add a bucket to the histogram.")}, nil
		}
	}
	return nil, nil
}
