package rules

import (
	"context"
	"fmt"
	"math"
	"time"
)

// Newest gives the time of the newest sample that the rule reads as of an instant: when its metrics
// were scraped last. It is zero where that can't be told: there is none, the rule is asked for an
// earlier instant than its slot's, or it looks at other instants than its own.
func (r *BoundRule) Newest(ctx context.Context, q Querier, at time.Time) (time.Time, error) {
	if r.newest == "" || r.QueryOffset != 0 {
		return time.Time{}, nil
	}
	q, err := r.over(q)
	if err != nil {
		return time.Time{}, err
	}
	samples, err := ask(ctx, q, r.newest, at)
	if err != nil || len(samples) == 0 {
		return time.Time{}, err
	}
	seconds := float64(samples[0].Value)
	if scraped := time.UnixMilli(int64(math.Round(seconds * 1000))).UTC(); seconds > 0 && !scraped.After(at) {
		return scraped, nil
	}
	return time.Time{}, fmt.Errorf("the backend says that the newest sample before %s is of second %v", at.UTC().Format(time.RFC3339), seconds)
}
