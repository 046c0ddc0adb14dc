package ruletest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/timestamp"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
	"github.com/gatekeeper-engine/gatekeeper/internal/rehearsal"
	"github.com/gatekeeper-engine/gatekeeper/internal/timeline"
)

// rehearse runs a test's releases and compares what happened with what is expected.
func (t *Test) rehearse(ctx context.Context, f *File, known []actions.Spec) ([]Story, error) {
	if len(t.Releases) == 0 {
		return nil, nil
	}
	script := t.script(f)
	if script.Start.IsZero() {
		script.Start = rehearsal.Epoch
	}
	s, err := newStore(f, t, script.Start, samplesOfReleases)
	if err != nil {
		return nil, err
	}
	defer s.close() //nolint:errcheck // a folder of temporary files; the test has its result
	if err := t.record(ctx, f, s, script.Start); err != nil {
		return nil, err
	}
	script.Actions, script.Backend = known, s.asked(true)
	played, err := rehearsal.Run(ctx, script)
	if err != nil {
		return nil, err
	}
	stories := make([]Story, len(t.Releases))
	for i, r := range t.Releases {
		if stories[i], err = r.compare(script.Start, played.Releases[i]); err != nil {
			return nil, err
		}
	}
	return stories, nil
}

// record puts all of the input into the store, and what the recording rules of the test's rule files
// make of it: metric backends evaluate those, beside the releases.
func (t *Test) record(ctx context.Context, f *File, s *store, start time.Time) error {
	recording := slices.ContainsFunc(f.groups, func(g group) bool {
		return slices.ContainsFunc(g.rules, func(r rule) bool { return r.record != nil })
	})
	last, step := s.last(), time.Duration(f.EvaluationInterval)
	if !recording || last == math.MinInt64 {
		return s.until(ctx, timestamp.Time(max(last, 0)))
	}
	if n := timestamp.Time(last).Sub(start) / step; n > maxSteps {
		return gatekeeper.Errorf(gatekeeper.CodeInvalid, "Use shorter series, or a longer evaluation_interval.", "the recording rules need %d evaluations, more than %d", n, maxSteps)
	}
	e, err := newEvaluation(f, t, s)
	if err != nil {
		return err
	}
	for at := start; timestamp.FromTime(at) <= last; at = at.Add(step) {
		if failed := e.at(ctx, at, at.Sub(start)); len(failed) > 0 {
			return errors.Join(failed...)
		}
	}
	return s.until(ctx, timestamp.Time(last))
}

// Story is what became of one release of a test, beside what was expected.
type Story struct {
	Release  string            `json:"release"` // service and version
	Place    Place             `json:"place"`
	Outcome  string            `json:"outcome,omitempty"`
	Failures []Failure         `json:"failures,omitempty"`
	Facts    []gatekeeper.Fact `json:"facts,omitempty"`

	id    string
	start time.Time
	held  []Expectation // that held
}

// compare compares what happened to a release with what is expected.
func (r Release) compare(start time.Time, told rehearsal.Told) (Story, error) {
	s := Story{Release: strings.TrimSpace(r.Service + " " + r.Version), Place: r.Place, Facts: told.Facts, id: told.ID, start: start}
	s.refusal(r.Place, "opening the release", r.Refused, told.Refused)
	if r.Deployed != nil && told.Refused == nil {
		s.refusal(r.Place, "reporting the deployment", nil, told.Deploy)
	}
	if r.Closed != nil {
		s.refusal(r.Place, "closing the release", nil, told.Closing)
	}
	for i, d := range r.People {
		s.refusal(d.Place, fmt.Sprintf("%s: %s", clock(d.At), d.Do), d.Refused, told.Deeds[i])
	}
	sum, err := summed(told.Facts)
	if err != nil {
		return s, err
	}
	if sum.Service != "" {
		s.Release, s.Outcome = sum.Service+" "+sum.Version, string(sum.Outcome)
	}
	for _, e := range r.Expect {
		if err := s.expect(e); err != nil {
			return s, err
		}
	}
	for _, e := range r.Never {
		if err := s.never(e); err != nil {
			return s, err
		}
	}
	return s, nil
}

func summed(all []gatekeeper.Fact) (r gatekeeper.Release, err error) {
	for _, f := range all {
		if r, err = r.With(f); err != nil {
			return r, err
		}
	}
	return r, nil
}

// refusal compares whether something was refused with whether it should be.
func (s *Story) refusal(at Place, what string, want *string, got error) {
	switch {
	case want == nil && got != nil:
		s.Failures = append(s.Failures, Failure{Place: at, Says: what + " was refused", Happened: []string{got.Error()}})
	case want != nil && got == nil:
		s.Failures = append(s.Failures, Failure{Place: at, Says: what + " was not refused", Expected: []string{*want}})
	case want != nil && !strings.Contains(got.Error(), *want):
		s.Failures = append(s.Failures, Failure{Place: at, Says: what + " was refused with another message", Expected: []string{*want}, Happened: []string{got.Error()}})
	}
}

// about says whether a happening is what the expectation is about, whenever it was.
func (e Expectation) about(h happening) bool {
	return (e.Value == Any || slices.Contains(h.about, e.Value)) && strings.Contains(h.says, e.Says)
}

// in says whether a happening is at the expected time.
func (e Expectation) in(since time.Duration) bool {
	return e.At == nil || (since-*e.At).Abs() <= e.Within
}

// String gives the expectation as a person says it: "decided: R at 5:00".
func (e Expectation) String() string {
	text := e.Word
	if e.Value != Any {
		text += ": " + e.Value
	}
	if e.Says != "" {
		text += fmt.Sprintf(" saying %q", e.Says)
	}
	if e.At != nil {
		text += " at " + exact(*e.At)
	}
	if e.Within > 0 {
		text += " within " + timeline.Span(e.Within)
	}
	return text
}

// exact gives a time to the millisecond, where it has some.
func exact(d time.Duration) string {
	if rest := d % time.Second; rest != 0 {
		return fmt.Sprintf("%s.%03d", clock(d-rest), rest.Milliseconds())
	}
	return clock(d)
}

func (s *Story) expect(e Expectation) error {
	all, err := happenings(e.Word, s.Facts)
	if err != nil {
		return err
	}
	var at, other []string
	for _, h := range all {
		since := h.at.Sub(s.start)
		switch {
		case e.about(h) && e.in(since):
			s.held = append(s.held, e)
			return nil
		case e.about(h):
			at = append(at, exact(since))
		default:
			other = append(other, h.text(e.Word, since))
		}
	}
	missed := Failure{Place: e.Place, Expected: []string{e.String()}, missed: &e}
	switch {
	case len(at) > 0:
		missed.Says = fmt.Sprintf("expected %s; it happened at %s", e, strings.Join(few(at), ", "))
	case len(other) > 0:
		missed.Says = fmt.Sprintf("expected %s; what happened is %s", e, strings.Join(few(other), ", "))
	default:
		missed.Says = fmt.Sprintf("expected %s; it never happened", e)
	}
	missed.Happened = append(at, other...)
	s.Failures = append(s.Failures, missed)
	return nil
}

func (s *Story) never(e Expectation) error {
	all, err := happenings(e.Word, s.Facts)
	if err != nil {
		return err
	}
	for _, h := range all {
		if e.about(h) {
			since := h.at.Sub(s.start)
			what := h.text(e.Word, since)
			missed := e
			missed.At = &since
			s.Failures = append(s.Failures, Failure{Place: e.Place, Says: fmt.Sprintf("never expected %s; it happened: %s", e, what), Happened: []string{what}, missed: &missed})
			return nil
		}
	}
	s.held = append(s.held, e)
	return nil
}

func (h happening) text(word string, since time.Duration) string {
	return strings.TrimSpace(word+" "+strings.Join(h.about, ", ")) + " at " + exact(since)
}

// few keeps a list of times readable.
func few(all []string) []string {
	const most = 6
	if len(all) <= most {
		return all
	}
	return append(all[:most:most], fmt.Sprintf("and %d more", len(all)-most))
}
