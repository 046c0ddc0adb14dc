package ruletest

import (
	"context"
	"regexp"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
)

// Options say what is run.
type Options struct {
	Run     *regexp.Regexp // the tests whose name it finds; nil: all
	Actions []actions.Spec // those that rollback plans may name; none is ever opened
}

// Result is what became of the tests of one file.
type Result struct {
	File     string       `json:"file"`
	Passed   bool         `json:"passed"`
	Warnings []string     `json:"warnings,omitempty"`
	Tests    []TestResult `json:"tests"`
}

// TestResult is what became of one test.
type TestResult struct {
	Name     string    `json:"name"`
	Line     int       `json:"line"`
	Passed   bool      `json:"passed"`
	Seconds  float64   `json:"seconds"` // that it took
	Failures []Failure `json:"failures,omitempty"`
	Releases []Story   `json:"releases,omitempty"`
}

// Run runs a file's tests one after the other. An error is ctx's end: what is wrong in a test is its
// failure.
func Run(ctx context.Context, f *File, o Options) (Result, error) {
	out := Result{File: f.Name, Passed: true, Warnings: f.Warnings, Tests: []TestResult{}}
	for i := range f.Tests {
		t := &f.Tests[i]
		if o.Run != nil && !o.Run.MatchString(t.Name) {
			continue
		}
		one := t.run(ctx, f, o)
		if err := ctx.Err(); err != nil {
			return out, err
		}
		out.Passed = out.Passed && one.Passed
		out.Tests = append(out.Tests, one)
	}
	return out, nil
}

func (t *Test) run(ctx context.Context, f *File, o Options) TestResult {
	began := time.Now()
	out := TestResult{Name: t.Name, Line: t.Line}
	failures, err := t.rulesHold(ctx, f)
	out.Failures = failures
	if err == nil {
		out.Releases, err = t.rehearse(ctx, f, o.Actions)
	}
	if err != nil {
		says := err.Error()
		if hint := gatekeeper.HintOf(err); hint != "" {
			says += ". " + hint
		}
		out.Failures = append(out.Failures, Failure{Place: t.Place, Says: says})
	}
	out.Passed = len(out.Failures) == 0
	for _, s := range out.Releases {
		out.Passed = out.Passed && len(s.Failures) == 0
	}
	out.Seconds = time.Since(began).Seconds()
	return out
}
