package notify

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
)

// How long news about an ending stands by itself: nothing that happens to the release can resolve
// it any more. What calls for a person at the live system stands longer.
const (
	tellFor = 15 * time.Minute
	pageFor = 4 * time.Hour
)

// Standing gives the news that stand for r after f. All of them follow from r, but for a recovery
// that nobody knows of, so that a lost fact is made good by the next one.
func Standing(r gatekeeper.Release, f gatekeeper.Fact) []News {
	switch r.State {
	case gatekeeper.Watching:
		return breached(r)
	case gatekeeper.Holding:
		all := breached(r)
		if n, ok := held(r); ok {
			all = append(all, n)
		}
		return all
	case gatekeeper.Applying, gatekeeper.Verifying:
		return rollingBack(r, f)
	case gatekeeper.Ended:
		if n := ended(r); n.Severity != Info {
			return []News{n}
		}
	case gatekeeper.Preparing, gatekeeper.Waiting:
	}
	return nil
}

func held(r gatekeeper.Release) (News, bool) {
	if r.Hold == nil {
		return News{}, false
	}
	n := News{
		Event: Held, Severity: Critical, Since: r.HeldAt, Summary: r.Hold.Says,
		Done: "Nothing is rolled back while it is held.", Todo: todo(r),
	}
	if !r.Hold.Until.IsZero() {
		// The engine ends every hold at its deadline; should it be gone, the news ends as well.
		n.Until = r.Hold.Until.Add(tellFor)
	}
	return n, true
}

// todo says what a person can do about a hold, and until when.
func todo(r gatekeeper.Release) string {
	until := clock(r.Hold.Until)
	if r.Hold.Reason == gatekeeper.HoldVeto {
		return fmt.Sprintf("It is rolled back at %s. To stop that: gatekeeper release veto %s", until, r.ID)
	}
	if r.Hold.Reason == gatekeeper.HoldPerson {
		return fmt.Sprintf("Somebody holds it, until %s. To go on: gatekeeper release resume %s", until, r.ID)
	}
	return fmt.Sprintf("Decide until %s: gatekeeper release approve %s (rolls back) or gatekeeper release veto %s (goes on)", until, r.ID, r.ID)
}

// breached gives the news of harm that by itself rolls nothing back, while it lasts: breaches
// that no hold asks about, that nobody has muted, and that are not well again.
func breached(r gatekeeper.Release) []News {
	var left []gatekeeper.Breach
	for _, name := range slices.Sorted(maps.Keys(r.Breaches)) {
		b := r.Breaches[name]
		_, muted := r.Muted[name]
		asked := r.Hold != nil && r.Hold.About(name)
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
	return []News{{
		Event: Breached, Severity: Critical, Since: since, Summary: says("", left),
		Done: "Nothing was rolled back.", Todo: rollBackYourself(r),
	}}
}

func rollBackYourself(r gatekeeper.Release) string {
	return "Nothing is rolled back by itself. To roll back: gatekeeper release rollback " + r.ID
}

func rollingBack(r gatekeeper.Release, f gatekeeper.Fact) []News {
	if r.Decision == nil {
		return nil
	}
	all := []News{started(r)}
	if recovered, ok := f.Body.(gatekeeper.Recovered); ok && recovered.Unknown {
		all = append(all, unknown(r, f, recovered))
	}
	return all
}

func started(r gatekeeper.Release) News {
	return News{
		Event: RollbackStarted, Severity: Warning, Since: r.DecidedAt, Summary: says(r.Decision.Says, r.Decision.Breaches),
		Done: "Rolling back" + because(plan(r)),
		Todo: "Nothing: the rollback is under way. To follow it: gatekeeper release wait " + r.ID,
	}
}

func unknown(r gatekeeper.Release, f gatekeeper.Fact, recovered gatekeeper.Recovered) News {
	return News{
		Event: RecoveryUnknown, Severity: Critical, Since: f.At, Until: f.At.Add(pageFor), Summary: recovered.Says,
		Done: done(r), Todo: "Look whether the service is well: it was rolled back, and the metrics don't tell.",
	}
}

func ended(r gatekeeper.Release) News {
	n := News{Severity: Info, Since: r.ClosedAt, Summary: r.Why, Done: done(r)}
	show := "gatekeeper release show " + r.ID
	switch r.Outcome {
	case gatekeeper.OutcomeRolledBack:
		n.Event, n.Severity, n.Until = RolledBack, Warning, n.Since.Add(tellFor)
		n.Todo = "The old version serves. Why the new one went bad: " + show
		if r.Decision != nil {
			n.Summary = cmp.Or(says(r.Decision.Says, r.Decision.Breaches), r.Why)
		}
	case gatekeeper.OutcomeRollbackFailed:
		n.Event, n.Severity, n.Until = RollbackFailed, Critical, n.Since.Add(pageFor)
		n.Todo = "Take the release back by hand, now: every step of the rollback plan was tried. What was done: " + show
	case gatekeeper.OutcomeBreached:
		n.Event, n.Severity, n.Until = Breached, Critical, n.Since.Add(pageFor)
		n.Todo = "The bad version serves and nothing was rolled back. What was seen: " + show
	case gatekeeper.OutcomeInconclusive:
		n.Event, n.Severity, n.Until = Inconclusive, Warning, n.Since.Add(tellFor)
		n.Todo = "Look at the service yourself: its metrics did not tell whether the release is well. What is missing: " + show
	case gatekeeper.OutcomePassed:
		n.Event = Passed
	case gatekeeper.OutcomeAborted:
		n.Event = Aborted
	case gatekeeper.OutcomeSuperseded:
		n.Event = Superseded
	}
	return n
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

// plan names the rungs that can be taken, in their order.
func plan(r gatekeeper.Release) string {
	var all []string
	for _, rung := range r.Rungs {
		if rung.Usable() {
			all = append(all, rung.Action+" to "+rung.Target.Says)
		}
	}
	return strings.Join(all, ", else ")
}

// done says what became of each rung that was tried.
func done(r gatekeeper.Release) string {
	var all []string
	for _, rung := range r.Rungs {
		switch {
		case rung.GaveUp != "":
			all = append(all, rung.Action+" gave up: "+rung.GaveUp)
		case !rung.ReachedAt.IsZero() && rung.Target != nil:
			all = append(all, rung.Action+" reached "+rung.Target.Says)
		case len(rung.Attempts) > 0:
			all = append(all, fmt.Sprintf("%s was tried %d times", rung.Action, len(rung.Attempts)))
		}
	}
	return strings.Join(all, "; ")
}
