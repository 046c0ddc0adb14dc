package lint

import (
	"context"
	"fmt"
	"time"

	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// Backend is a metric backend that the online checks ask. Its methods return within ctx's deadline;
// what it can't say is an error only where that is said.
type Backend interface {
	rules.Querier

	// Types gives the types that scraped targets declare for a metric, such as "counter", "gauge" or
	// "histogram"; none where the backend does not know.
	Types(ctx context.Context, metric string) ([]string, error)

	// Retention is how far back samples are kept; 0 where the backend does not tell.
	Retention(ctx context.Context) (time.Duration, error)

	// SampleTimes gives the instants of the samples of one series that a selector finds in the time
	// before an instant, in order; none where there is no series.
	SampleTimes(ctx context.Context, selector string, over time.Duration, at time.Time) ([]time.Time, error)

	// Cost evaluates an expression at an instant and gives what that took.
	Cost(ctx context.Context, expr string, at time.Time) (Cost, error)
}

// Cost is what one look of a rule takes.
type Cost struct {
	Rule    string        `json:"rule"`
	Samples int64         `json:"samples"` // that were read; 0 where the backend does not tell
	Took    time.Duration `json:"-"`
	Seconds float64       `json:"seconds"` // of Took
}

// String says it in a sentence.
func (c Cost) String() string {
	return fmt.Sprintf("a look reads %d samples in %s", c.Samples, c.Took.Round(10*time.Microsecond))
}
