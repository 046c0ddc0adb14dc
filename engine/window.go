package engine

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// endWindow closes the release when its window is over and every rule has said its last word.
func (u *run) endWindow(now time.Time) error {
	if now.Before(u.r.WindowEnd) {
		u.wake(u.r.WindowEnd)
		return nil
	}
	if u.asking(u.r.WindowEnd) {
		return nil // its answer brings us back here
	}
	if until, rule := u.pendingUntil(now); until.After(u.r.WindowEnd) {
		return u.record(gatekeeper.Extended{Until: until, Rule: rule, Why: rule + " is pending: the window lasts until its `for` is full"})
	}
	if u.r.Due {
		return u.record(gatekeeper.Closed{Outcome: gatekeeper.OutcomeBreached, Why: "breached, and nothing was rolled back: " + strings.Join(sortedKeys(u.r.Breaches), ", ")})
	}
	if why := u.notCovered(); why != "" {
		return u.endInconclusive(now, why)
	}
	why := "healthy for the whole window"
	if len(u.r.Muted) > 0 {
		why = "passed with a veto: " + strings.Join(sortedKeys(u.r.Muted), ", ") + " did not count"
	} else if len(u.r.Breaches) > 0 {
		why = "passed; told of " + strings.Join(sortedKeys(u.r.Breaches), ", ")
	}
	return u.record(gatekeeper.Closed{Outcome: gatekeeper.OutcomePassed, Why: why})
}

// asking says whether an answer is awaited for an instant up to until. What is asked for later
// instants does not matter: a backend that hangs would keep a release open for ever.
func (u *run) asking(until time.Time) bool {
	return slices.ContainsFunc(u.watches, func(w *watch) bool { return !w.At().After(until) })
}

// pendingUntil gives how far pending rules that can act extend the window.
func (u *run) pendingUntil(now time.Time) (until time.Time, rule string) {
	for _, w := range u.watches {
		if !u.counts(w) {
			continue
		}
		if end := w.Extends(now, u.r.WindowEnd, time.Duration(u.r.Overtime)); end.After(until) {
			until, rule = end, w.Rule.Name
		}
	}
	return until, rule
}

// counts says whether the rule can do more than tell.
func (u *run) counts(w *watch) bool {
	_, muted := u.r.Muted[w.Rule.Name]
	return w.Rule.Response.Do != rules.Notify && !muted
}

// notCovered says which rule that can roll back has seen too little of the window; "" for none.
func (u *run) notCovered() string {
	for _, w := range u.watches {
		if !u.counts(w) || w.Rule.Response.Do != rules.Rollback {
			continue
		}
		if why := w.Unsure(u.file.Coverage, u.r.Preexisting[w.Rule.Name]); why != "" {
			return why
		}
	}
	return ""
}

func (u *run) endInconclusive(now time.Time, why string) error {
	policy := u.file.OnInconclusive
	if len(u.r.Rungs) == 0 || u.r.WatchOnly || u.r.DryRun || u.file.DryRun {
		policy = rules.Close
	}
	switch policy {
	case rules.Hold:
		return u.record(gatekeeper.Held{
			Reason: gatekeeper.HoldInconclusive, Until: now.Add(time.Duration(u.r.HoldFor)).UTC(),
			Says: "the window is over and it can't be told whether the release is healthy: " + why + "; approve to roll back, or veto to close",
		})
	case rules.Rollback:
		if moved, err := u.guarded(now, nil, "the release is inconclusive ("+why+"), and its health file rolls back then; "); moved || err != nil {
			return err
		}
		return u.decide(gatekeeper.CauseInconclusive, "", nil, "inconclusive, and the health file rolls back then: "+why)
	}
	return u.record(gatekeeper.Closed{Outcome: gatekeeper.OutcomeInconclusive, Why: why})
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
