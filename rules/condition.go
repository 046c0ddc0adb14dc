package rules

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// condition is an expression that says something by giving samples.
type condition struct {
	whole   string
	operand *promexpr.Operand // nil where it compares nothing
	guarded string            // whole without its comparison, to be asked in its place; "": whole is asked
}

func newCondition(ast parser.Expr) *condition {
	c := &condition{whole: ast.String()}
	if o, ok := promexpr.FindOperand(ast); ok {
		c.operand = &o
	}
	return c
}

// ask gives the samples of the expression, and those of its operand where it has one. It asks for
// the operand alone as long as that tells: nothing of it passes its comparison, or the comparison
// is all there is.
func (c *condition) ask(ctx context.Context, q Querier, at time.Time) (active, operand []gatekeeper.Sample, err error) {
	switch o := c.operand; {
	case o == nil:
		active, err = ask(ctx, q, c.whole, at)
		return active, nil, err
	case !o.Narrows:
		return askBoth(ctx, q, c.whole, o.Query, at)
	default:
		if operand, err = ask(ctx, q, o.Query, at); err != nil {
			return nil, nil, err
		}
		active = passing(o, operand)
		if len(active) > 0 && !o.Exact {
			active, err = c.behindGuards(ctx, q, at)
		}
		return active, operand, err
	}
}

// behindGuards gives the samples that the guards let through too.
func (c *condition) behindGuards(ctx context.Context, q Querier, at time.Time) ([]gatekeeper.Sample, error) {
	if c.guarded == "" {
		return ask(ctx, q, c.whole, at)
	}
	samples, err := ask(ctx, q, c.guarded, at)
	return passing(c.operand, samples), err
}

func askBoth(ctx context.Context, q Querier, a, b string, at time.Time) (ofA, ofB []gatekeeper.Sample, err error) {
	type answer struct {
		samples []gatekeeper.Sample
		err     error
	}
	second := make(chan answer, 1)
	go func() {
		samples, err := ask(ctx, q, b, at)
		second <- answer{samples, err}
	}()
	ofA, err = ask(ctx, q, a, at)
	other := <-second
	if err == nil {
		err = other.err
	}
	return ofA, other.samples, err
}

// ask gives a whole answer: a partial one is an error.
func ask(ctx context.Context, q Querier, query string, at time.Time) ([]gatekeeper.Sample, error) {
	v, err := q.Query(ctx, query, at)
	if err != nil {
		return nil, err
	}
	if len(v.Warnings) > 0 {
		return nil, partial(v.Warnings)
	}
	return v.Samples, nil
}

func partial(warnings []string) error {
	return fmt.Errorf("partial answer: %s", capText(strings.Join(warnings, "; "), gatekeeper.MaxEvidenceText))
}

// passing gives the samples that hold in every comparison.
func passing(o *promexpr.Operand, samples []gatekeeper.Sample) []gatekeeper.Sample {
	var pass []gatekeeper.Sample
	for _, s := range samples {
		all := s.Histogram == "" // which no comparison with a number lets through
		for _, c := range o.Compare {
			all = all && c.Holds(float64(s.Value))
		}
		if all {
			pass = append(pass, s)
		}
	}
	return pass
}
