package timeline

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// lines says what a fact means; before is the release without it.
func (t *Timeline) lines(before gatekeeper.Release, f gatekeeper.Fact) []line {
	switch b := f.Body.(type) {
	case gatekeeper.Opened:
		return []line{t.opened(b)}
	case gatekeeper.Prepared:
		return t.prepared(b.Rungs)
	case gatekeeper.Pinned:
		return t.prepared([]gatekeeper.Pinned{b})
	case gatekeeper.Deployed:
		return []line{t.deployed(b)}
	case gatekeeper.Released:
		return []line{t.released(b)}
	case gatekeeper.Judged:
		return t.judged(before, f, b)
	case gatekeeper.Alerted:
		return alerted(before.Alerts, b.Alert)
	case gatekeeper.Breached:
		return []line{t.breached(f, b)}
	case gatekeeper.Held:
		return []line{t.held(f, b)}
	case gatekeeper.Resumed:
		return []line{{"resumed", good, b.Why, since("held", before.HeldAt, f.At), nil}}
	case gatekeeper.Vetoed:
		return []line{{"vetoed", warn, "no rollback for " + strings.Join(b.Rules, ", ") + why(b.Why), since("held", before.HeldAt, f.At), nil}}
	case gatekeeper.Extended:
		return []line{{"extended", quiet, fmt.Sprintf("window ends at %s%s", Clock(b.Until.Sub(t.zero)), why(b.Why)), "", nil}}
	case gatekeeper.Marked:
		return []line{{"irreversible", warn, "from here every rollback asks a person" + why(b.Why), "", nil}}
	case gatekeeper.Noted:
		return []line{noted(b)}
	case gatekeeper.Closed:
		return nil // the ending tells it
	}
	return t.rollback(f)
}

// rollback tells the facts from the decision on.
func (t *Timeline) rollback(f gatekeeper.Fact) []line {
	switch b := f.Body.(type) {
	case gatekeeper.Decided:
		return []line{t.decided(f, b)}
	case gatekeeper.Attempting:
		return []line{{"applying", warn, t.rung(b.Rung, true), "", nil}}
	case gatekeeper.Attempted:
		return []line{t.attempted(f, b)}
	case gatekeeper.Observed:
		return []line{{"observed", quiet, t.rung(b.Rung, false) + ": " + b.Live.Says, "", nil}}
	case gatekeeper.GaveUp:
		return []line{{"gave up", bad, t.rung(b.Rung, false) + why(b.Why), "", nil}}
	case gatekeeper.Reached:
		text := t.rung(b.Rung, false) + ": " + b.Live.Says
		if b.Already {
			text += " (it was there already)"
		}
		return []line{{"reached", good, text, t.marks.toReached(f.At), nil}}
	case gatekeeper.NotRecovered:
		l := line{"not well", bad, t.rung(b.Rung, false) + " was reached, but the service did not recover", since("verifying", t.marks.reached, f.At), nil}
		l.more = t.breaches(b.Breaches)
		return []line{l}
	case gatekeeper.Recovered:
		l := line{"recovered", good, b.Says, since("reached → recovered", t.marks.reached, f.At), nil}
		if b.Unknown {
			l.label, l.tone = "not known", warn
		}
		return []line{l}
	}
	return nil
}

func (t *Timeline) opened(b gatekeeper.Opened) line {
	var plan []string
	for _, r := range b.Rungs {
		plan = append(plan, rungName(r))
	}
	text := fmt.Sprintf("window %s, rollback plan: %s", Span(time.Duration(b.Window)), strings.Join(plan, ", then "))
	if len(plan) == 0 {
		text = fmt.Sprintf("window %s, no rollback plan: watch only", Span(time.Duration(b.Window)))
	}
	l := line{label: "opened", text: text}
	switch {
	case b.DryRun:
		l.more = append(l.more, "dry run: nothing will be rolled back")
	case b.WatchOnly && len(plan) > 0:
		l.more = append(l.more, "watch only: nothing will be rolled back")
	}
	if b.Supersedes != "" {
		l.more = append(l.more, "replaces release "+b.Supersedes)
	}
	if b.RollbackOf != "" {
		l.more = append(l.more, "takes back release "+b.RollbackOf)
	}
	return l
}

func (t *Timeline) prepared(pinned []gatekeeper.Pinned) []line {
	if len(pinned) == 0 {
		return []line{{label: "prepared", text: "nothing to return to: watch only"}}
	}
	var out []line
	for _, p := range pinned {
		if p.Target == nil {
			out = append(out, line{"unusable", warn, t.rung(p.Rung, false) + ": " + p.Problem, "", nil})
			continue
		}
		verb := "would return to"
		if p.Target.Kind == gatekeeper.Set {
			verb = "would set"
		}
		out = append(out, line{"prepared", quiet, fmt.Sprintf("%s %s %s", t.rung(p.Rung, false), verb, p.Target.Says), "", nil})
	}
	return out
}

func (t *Timeline) deployed(b gatekeeper.Deployed) line {
	text := "the pipeline says so"
	if b.How == "traffic" {
		text = "first traffic of the new version"
	}
	return line{"deployed", good, text + "; the window begins", since("after opening", t.release.OpenedAt, t.release.DeployedAt), nil}
}

func (t *Timeline) released(b gatekeeper.Released) line {
	l := line{label: "released", text: "the pipeline took another step"}
	for i, live := range b.Live {
		l.more = append(l.more, t.rung(i, false)+" finds "+live.Says)
	}
	return l
}

func (t *Timeline) held(f gatekeeper.Fact, b gatekeeper.Held) line {
	text := fmt.Sprintf("%s: %s", Words(string(b.Reason)), b.Says)
	l := line{"held", warn, text, "", nil}
	wait := Span(b.Until.Sub(f.At))
	if b.Reason == gatekeeper.HoldVeto {
		l.more = append(l.more, fmt.Sprintf("rolls back in %s unless somebody vetoes", wait))
	} else {
		l.more = append(l.more, fmt.Sprintf("waits %s for a person", wait))
	}
	l.more = append(l.more, t.unsaid(b.Says, b.Breaches)...)
	return l
}

func (t *Timeline) breached(f gatekeeper.Fact, b gatekeeper.Breached) line {
	text := "nothing is rolled back" + why(b.Why)
	if b.Would {
		text = "would be rolled back now" + why(b.Why)
	}
	return line{"breached", bad, text, since("bad for", earliest(b.Breaches), f.At), t.breaches(b.Breaches)}
}

func (t *Timeline) decided(f gatekeeper.Fact, b gatekeeper.Decided) line {
	text := "roll back"
	if b.Says != "" {
		text += ": " + b.Says
	}
	return line{"decided", bad, text, since("pending → decided", earliest(b.Breaches), f.At), t.unsaid(b.Says, b.Breaches)}
}

// unsaid tells of the breaches that a sentence does not name.
func (t *Timeline) unsaid(says string, all []gatekeeper.Breach) []string {
	return t.breaches(slices.DeleteFunc(slices.Clone(all), func(b gatekeeper.Breach) bool {
		return strings.Contains(says, b.Rule) || b.Says != "" && strings.Contains(says, b.Says)
	}))
}

// breaches tells of each breach what was seen against what limit, and since when.
func (t *Timeline) breaches(all []gatekeeper.Breach) []string {
	var out []string
	for _, b := range all {
		s := b.Rule
		switch {
		case b.Reading.Verdict != "":
			s += ": " + seen(b.Reading)
		case b.Says != "":
			s += ": " + b.Says
		}
		s += ", since " + Clock(b.Since.Sub(t.zero))
		if b.For > 0 {
			s += " (for " + Span(time.Duration(b.For)) + ")"
		}
		if b.External {
			s += ", told by a sender"
		}
		out = append(out, s)
	}
	return out
}

func (t *Timeline) attempted(f gatekeeper.Fact, b gatekeeper.Attempted) line {
	attempts := t.release.Rungs[b.Rung].Attempts
	took := "took " + Span(f.At.Sub(attempts[len(attempts)-1].At))
	switch b.Result {
	case gatekeeper.ResultDone:
		text := t.rung(b.Rung, false)
		if b.Receipt != nil && b.Receipt.Says != "" {
			text += ": " + b.Receipt.Says
		}
		return line{"applied", good, text, took, nil}
	case gatekeeper.ResultFailed:
		return line{"failed", bad, fmt.Sprintf("%s, nothing was changed: %s", t.rung(b.Rung, false), b.Error), took, nil}
	case gatekeeper.ResultUnknown:
	}
	return line{"unknown", warn, fmt.Sprintf("%s may have had its effect: %s", t.rung(b.Rung, false), b.Error), took, nil}
}

// rung names a rung of the plan; whole adds what it returns to.
func (t *Timeline) rung(i int, whole bool) string {
	if i < 0 || i >= len(t.release.Rungs) {
		return fmt.Sprintf("rung %d", i+1)
	}
	r := t.release.Rungs[i]
	s := rungName(r)
	if len(t.release.Rungs) > 1 {
		s = fmt.Sprintf("%d. %s", i+1, s)
	}
	if whole && r.Target != nil {
		s += ": " + r.Target.Says
	}
	return s
}

func rungName(r gatekeeper.Rung) string {
	if r.Connection == "" {
		return r.Action
	}
	return r.Action + " by " + r.Connection
}

// alerted tells an alert that began or ended. Senders repeat alerts that stand, which is no news.
func alerted(known map[string]gatekeeper.Alert, a gatekeeper.Alert) []line {
	if k, ok := known[a.Key]; ok && k.Firing == a.Firing && k.Preexisting == a.Preexisting {
		return nil
	}
	l := line{"alert", warn, fmt.Sprintf("%s fires, says %s", a.Name, a.Sender), "", nil}
	if !a.Firing {
		l.label, l.tone, l.text = "resolved", good, fmt.Sprintf("%s, says %s", a.Name, a.Sender)
	}
	if a.Firing && a.Preexisting {
		l.text += "; it fired before this release, so it does not count"
	}
	if a.Firing && a.Summary != "" {
		l.more = []string{a.Summary}
	}
	return []line{l}
}

func noted(b gatekeeper.Noted) line {
	l := line{label: "note", text: b.Text}
	if b.Loud {
		l.tone = warn
	}
	return l
}

func why(s string) string {
	if s == "" {
		return ""
	}
	return ": " + s
}

func since(what string, from, to time.Time) string {
	if from.IsZero() || to.Before(from) {
		return ""
	}
	return what + " " + Span(to.Sub(from))
}
