package rules

import (
	"context"
	"github.com/gatekeeper-engine/gatekeeper"
	"time"
)

// Vars are the values of a file's variables.
type Vars struct {
	Service         string            // ${service}
	Environment     string            // ${environment}
	Version         string            // ${version}
	PreviousVersion string            // ${previous_version}
	Labels          map[string]string // ${labels.x}
}

// Bound is a health file with a release's values in it.
type Bound struct {
	Rules []*BoundRule
}

// BoundRule is a rule that can be judged.
type BoundRule struct {
	Rule
}

// Bind puts the values where the file has variables.
func (f *File) Bind(v Vars) (*Bound, error) { panic("soon") }

// Traffic says whether ${version} has data with traffic at an instant.
func (b *Bound) Traffic(ctx context.Context, q Querier, at time.Time) (seen, known bool, err error) {
	panic("soon")
}

// Judge says what the rule says at a slot.
func (r *BoundRule) Judge(ctx context.Context, q Querier, at time.Time) gatekeeper.Reading {
	panic("soon")
}

// JudgeRange gives the readings of Judge at from, from+step, … up to to.
func (r *BoundRule) JudgeRange(ctx context.Context, q Querier, from, to time.Time, step time.Duration) []gatekeeper.Reading {
	panic("soon")
}
