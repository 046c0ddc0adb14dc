package backtest

import (
	"slices"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// Report is what a backtest of one health file came to.
type Report struct {
	File     string   `json:"file"`
	Releases []Result `json:"releases"`
	Missing  int      `json:"missing,omitempty"` // releases that were not replayed, as after an interrupt
	Whole    Score    `json:"whole"`             // the file: its rules together
	Rules    []Score  `json:"rules"`             // each as if it were the only one
	Sweeps   []Swept  `json:"sweeps,omitempty"`
}

// Score counts what would have become of releases whose outcome is known.
type Score struct {
	Rule    string `json:"rule,omitempty"`
	Fires   int    `json:"fires"` // of all releases
	Split   int    `json:"split"` // releases in which the slot phase decides whether it fires
	Labeled int    `json:"labeled"`

	False   int `json:"false_rollbacks"` // good releases, and bad ones before they were bad
	Caught  int `json:"caught"`
	Missed  int `json:"missed"`
	Unsure  int `json:"inconclusive"` // it could not have told
	Unknown int `json:"unknown"`      // it can't be told any more

	Median *gatekeeper.Duration `json:"median_to_detect,omitempty"` // of those caught
	Worst  *gatekeeper.Duration `json:"worst_to_detect,omitempty"`

	detect []time.Duration
}

// NewReport sums results up. Releases is how many there were to replay.
func NewReport(file *rules.File, name string, results []Result, releases int, sweep Sweep) (Report, error) {
	r := Report{File: name, Releases: results, Missing: releases - len(results)}
	var listed []Release
	for _, one := range results {
		r.Whole.add(one.Release, one.Decision.Verdict, one.Decision.At, one.Phases.Split())
		listed = append(listed, one.Release)
		for i, rule := range one.Rules {
			if i == len(r.Rules) {
				r.Rules = append(r.Rules, Score{Rule: rule.Rule})
			}
			r.Rules[i].add(one.Release, rule.Decision.Verdict, rule.Decision.At, rule.Phases.Split())
		}
	}
	r.Whole.sum()
	for i := range r.Rules {
		r.Rules[i].sum()
	}
	plan, err := sweep.plan(file, listed)
	if err != nil {
		return r, err
	}
	for i, score := range r.Rules {
		r.Sweeps = append(r.Sweeps, plan.sum(score.Rule, i, results)...)
	}
	return r, nil
}

// add counts one release.
func (s *Score) add(r Release, v Verdict, at time.Time, split bool) {
	fired := Decision{Verdict: v}.fired()
	if fired {
		s.Fires++
	}
	if split {
		s.Split++
	}
	if r.Outcome == Unknown {
		return
	}
	s.Labeled++
	switch {
	case fired && (r.Outcome == Good || at.Before(r.harm())):
		s.False++
	case fired:
		s.Caught++
		s.detect = append(s.detect, at.Sub(r.harm()))
	case v == NotKnown:
		s.Unknown++
	case v == Inconclusive:
		s.Unsure++
	case r.Outcome == Bad:
		s.Missed++
	}
}

// sum computes the times to detect.
func (s *Score) sum() {
	if len(s.detect) == 0 {
		return
	}
	slices.Sort(s.detect)
	n := len(s.detect)
	median := gatekeeper.Duration((s.detect[(n-1)/2] + s.detect[n/2]) / 2)
	worst := gatekeeper.Duration(s.detect[n-1])
	s.Median, s.Worst = &median, &worst
}
