package alertmanager

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
)

// The alerts that Gatekeeper sends, by their label alertname.
const (
	Held            = "GatekeeperReleaseHeld"
	RollbackStarted = "GatekeeperRollbackStarted"
	RolledBack      = "GatekeeperRolledBack"
	RollbackFailed  = "GatekeeperRollbackFailed"
	Breached        = "GatekeeperReleaseBreached"
	Inconclusive    = "GatekeeperReleaseInconclusive"
)

// How long an alert about an ending stands by itself: nothing that happens to the release can
// resolve it any more. What calls for a person at the live system stands longer. After a restart
// these alerts are not sent again, and Alertmanager resolves them when their endsAt passes.
const (
	tellFor = 15 * time.Minute
	pageFor = 4 * time.Hour
)

// severity is the label by which Alertmanager's routes page or only tell.
type severity string

const (
	critical severity = "critical" // somebody must act
	warning  severity = "warning"  // good to know, nothing to do at once
)

// standing is an alert that should stand for a release.
type standing struct {
	name     string
	severity severity
	since    time.Time
	until    time.Time // when it ends by itself; zero: when the release's state says so
	summary  string    // what was seen against what limit
	todo     string
}

// standings gives the alerts that stand for r after f. All of them follow from r, but for a
// recovery that nobody knows of, so that a lost fact is made good by the next one.
func standings(r gatekeeper.Release, f gatekeeper.Fact) []standing {
	switch r.State {
	case gatekeeper.Watching:
		return breached(r)
	case gatekeeper.Holding:
		return append(breached(r), held(r)...)
	case gatekeeper.Applying, gatekeeper.Verifying:
		return rollingBack(r, f)
	case gatekeeper.Ended:
		return ended(r)
	case gatekeeper.Preparing, gatekeeper.Waiting:
	}
	return nil
}

func held(r gatekeeper.Release) []standing {
	if r.Hold == nil {
		return nil
	}
	s := standing{name: Held, severity: critical, since: r.HeldAt, summary: r.Hold.Says, todo: todo(r)}
	if !r.Hold.Until.IsZero() {
		// The engine ends every hold at its deadline; should it be gone, the alert ends as well.
		s.until = r.Hold.Until.Add(tellFor)
	}
	return []standing{s}
}

// todo says what a person can do about a hold, and until when.
func todo(r gatekeeper.Release) string {
	until := r.Hold.Until.UTC().Format(time.RFC3339)
	if r.Hold.Reason == gatekeeper.HoldVeto {
		return fmt.Sprintf("It is rolled back at %s. To stop that: gatekeeper release veto %s", until, r.ID)
	}
	if r.Hold.Reason == gatekeeper.HoldPerson {
		return fmt.Sprintf("Somebody holds it, until %s. To go on: gatekeeper release resume %s", until, r.ID)
	}
	return fmt.Sprintf("Decide until %s: gatekeeper release approve %s (rolls back) or gatekeeper release veto %s (goes on)", until, r.ID, r.ID)
}

// breached gives the alert about harm that by itself rolls nothing back, while it lasts: breaches
// that no hold asks about, that nobody has muted, and that are not well again.
func breached(r gatekeeper.Release) []standing {
	var left []gatekeeper.Breach
	for _, name := range slices.Sorted(maps.Keys(r.Breaches)) {
		b := r.Breaches[name]
		_, muted := r.Muted[name]
		asked := r.Hold != nil && slices.ContainsFunc(r.Hold.Breaches, func(h gatekeeper.Breach) bool { return h.Rule == name })
		well := r.Tracks[name].Verdict == gatekeeper.Healthy
		if b.External {
			well = !r.Alerts[name].Firing
		}
		if !muted && !asked && !well {
			left = append(left, b)
		}
	}
	if len(left) == 0 {
		return nil
	}
	since := slices.MinFunc(left, func(a, b gatekeeper.Breach) int { return a.Since.Compare(b.Since) }).Since
	return []standing{{
		name: Breached, severity: critical, since: since, summary: says("", left),
		todo: fmt.Sprintf("Nothing is rolled back by itself. To roll back: gatekeeper release rollback %s", r.ID),
	}}
}

func rollingBack(r gatekeeper.Release, f gatekeeper.Fact) []standing {
	if r.Decision == nil {
		return nil
	}
	all := []standing{{
		name: RollbackStarted, severity: warning, since: r.DecidedAt, summary: says(r.Decision.Says, r.Decision.Breaches),
		todo: fmt.Sprintf("Nothing: the rollback is under way. To follow it: gatekeeper release wait %s", r.ID),
	}}
	if recovered, ok := f.Body.(gatekeeper.Recovered); ok && recovered.Unknown {
		all = append(all, standing{
			name: RolledBack, severity: critical, since: f.At, until: f.At.Add(pageFor), summary: recovered.Says,
			todo: "Look whether the service is well: it was rolled back, and the metrics don't tell.",
		})
	}
	return all
}

func ended(r gatekeeper.Release) []standing {
	s := standing{since: r.ClosedAt, summary: r.Why}
	show := "gatekeeper release show " + r.ID
	switch r.Outcome {
	case gatekeeper.OutcomeRolledBack:
		s.name, s.severity, s.until = RolledBack, warning, s.since.Add(tellFor)
		s.todo = "The old version serves. Why the new one went bad: " + show
		if r.Decision != nil {
			s.summary = says(cmp.Or(r.Decision.Says, r.Why), r.Decision.Breaches)
		}
	case gatekeeper.OutcomeRollbackFailed:
		s.name, s.severity, s.until = RollbackFailed, critical, s.since.Add(pageFor)
		s.todo = "Take the release back by hand, now: every step of the rollback plan was tried. What was done: " + show
	case gatekeeper.OutcomeBreached:
		s.name, s.severity, s.until = Breached, critical, s.since.Add(pageFor)
		s.todo = "The bad version serves and nothing was rolled back. What was seen: " + show
	case gatekeeper.OutcomeInconclusive:
		s.name, s.severity, s.until = Inconclusive, warning, s.since.Add(tellFor)
		s.todo = "Look at the service yourself: its metrics did not tell whether the release is well. What is missing: " + show
	case gatekeeper.OutcomePassed, gatekeeper.OutcomeAborted, gatekeeper.OutcomeSuperseded:
		return nil
	}
	return []standing{s}
}

// says gives the sentence of a decision, or those of its breaches.
func says(sentence string, breaches []gatekeeper.Breach) string {
	if sentence != "" {
		return sentence
	}
	var all []string
	for _, b := range breaches {
		all = append(all, cmp.Or(b.Says, b.Reading.Summary, b.Rule+" is unhealthy"))
	}
	return strings.Join(all, "; ")
}
