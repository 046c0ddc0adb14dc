package rules

import (
	"context"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
)

// Querier is rules' one dependency: a backend that answers PromQL. Its methods may be called
// concurrently and return within ctx's deadline.
//
// An empty answer without an error means that nothing matched. Anything the backend could not or
// only partly answer is an error or a warning: a warning makes an answer partial, and a partial
// answer is no answer.
type Querier interface {
	// Query evaluates expr at one instant. A scalar is one sample without labels.
	Query(ctx context.Context, expr string, at time.Time) (Vector, error)

	// QueryRange evaluates expr at from, from+step, … up to to, both ends included; it gives what
	// Query would have given at each, and splits what is too long for the backend.
	QueryRange(ctx context.Context, expr string, from, to time.Time, step time.Duration) (Matrix, error)
}

// Vector is the answer at one instant.
type Vector struct {
	Samples  []gatekeeper.Sample
	Warnings []string
}

// Matrix is the answer over a range.
type Matrix struct {
	Series   []Series
	Warnings []string
}

// Series is one line of a [Matrix]; points are in order of time.
type Series struct {
	Labels map[string]string
	Points []Point
}

// Point is a value at an instant.
type Point struct {
	At        time.Time
	Value     gatekeeper.Float
	Histogram string // of a native histogram, as in [gatekeeper.Sample]
}
