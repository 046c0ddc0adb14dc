package engine

import (
	"fmt"
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
	return slices.ContainsFunc(u.watches, func(w *watch) bool { return !w.at().After(until) })
}

// pendingUntil gives how far pending rules that can act extend the window. The extension is
// bounded: a rule whose labels change for ever is pending for ever.
func (u *run) pendingUntil(now time.Time) (until time.Time, rule string) {
	for _, w := range u.watches {
		t := w.track()
		if t.Pending().IsZero() || w.full() || !u.counts(w) {
			continue
		}
		end := t.Due(w.rule.For)
		if !end.After(now) {
			end = w.next // the extra evaluation did not confirm: the next slot decides
		}
		limit := u.r.WindowEnd.Add(2*w.rule.For + 2*w.rule.Interval + w.rule.Response.Blind - time.Duration(u.r.Overtime))
		if end.After(until) && !end.After(limit) {
			until, rule = end, w.rule.Name
		}
	}
	return until, rule
}

// counts says whether the rule can do more than tell.
func (u *run) counts(w *watch) bool {
	_, muted := u.r.Muted[w.rule.Name]
	return w.rule.Response.Do != rules.Notify && !muted
}

// notCovered says which rule that can roll back has seen too little of the window; "" for none.
func (u *run) notCovered() string {
	for _, w := range u.watches {
		if !u.counts(w) || w.rule.Response.Do != rules.Rollback {
			continue
		}
		t := w.track() // it has every slot that counts: what was missed was asked again, or counts as unanswered
		switch share := t.Coverage(); {
		case u.r.Preexisting[w.rule.Name]:
			return w.rule.Name + " was bad before the release and has not been well since: it can't tell"
		case share < u.file.Coverage:
			return fmt.Sprintf("%s had answers with data for %.0f%% of the window, needs %.0f%%", w.rule.Name, 100*share, 100*u.file.Coverage)
		case !t.Verdict.Answered():
			return fmt.Sprintf("%s says %s at the window's end", w.rule.Name, t.Verdict)
		case !t.Pending().IsZero():
			return fmt.Sprintf("%s is pending still, and the window can't be extended further", w.rule.Name)
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
