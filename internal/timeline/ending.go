package timeline

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
)

// marks are the instants between which a person wants to know the time.
type marks struct {
	pending   time.Time // the decision's breaches stand since
	decided   time.Time
	applied   time.Time // the latest attempt that the target accepted
	reached   time.Time
	recovered time.Time
}

func (m *marks) note(f gatekeeper.Fact) {
	switch b := f.Body.(type) {
	case gatekeeper.Decided:
		m.decided, m.pending = f.At, earliest(b.Breaches)
	case gatekeeper.Attempted:
		if b.Result == gatekeeper.ResultDone {
			m.applied = f.At
		}
	case gatekeeper.Reached:
		m.reached = f.At
	case gatekeeper.NotRecovered:
		m.reached, m.applied = time.Time{}, time.Time{}
	case gatekeeper.Recovered:
		if !b.Unknown {
			m.recovered = f.At
		}
	}
}

// toReached is the time from the step before to the target's being observed.
func (m *marks) toReached(at time.Time) string {
	if !m.applied.IsZero() {
		return since("applied → reached", m.applied, at)
	}
	return since("decided → reached", m.decided, at)
}

func earliest(breaches []gatekeeper.Breach) time.Time {
	var first time.Time
	for _, b := range breaches {
		if first.IsZero() || b.Since.Before(first) {
			first = b.Since
		}
	}
	return first
}

// ending tells how the release ended, why, and how long each step of a rollback took.
func (t *Timeline) ending() string {
	r := t.release
	var b strings.Builder
	outcome := strings.ToUpper(Words(string(r.Outcome)))
	fmt.Fprintf(&b, "\n%s %s", t.paint.tone(outcomeTone(r.Outcome), outcome), t.paint.dim("at "+Clock(r.ClosedAt.Sub(t.zero))))
	if r.Why != "" {
		b.WriteString(": " + Plain(r.Why))
	}
	b.WriteByte('\n')
	if times := t.marks.times(); times != "" {
		b.WriteString(times + "\n")
	}
	return b.String()
}

func outcomeTone(o gatekeeper.Outcome) tone {
	switch o {
	case gatekeeper.OutcomePassed:
		return good
	case gatekeeper.OutcomeRollbackFailed, gatekeeper.OutcomeBreached:
		return bad
	case gatekeeper.OutcomeRolledBack, gatekeeper.OutcomeInconclusive, gatekeeper.OutcomeAborted, gatekeeper.OutcomeSuperseded:
	}
	return warn
}

// times is the rollback in one line: pending → decided 2m · decided → applied 12ms · …
func (m marks) times() string {
	if m.decided.IsZero() {
		return ""
	}
	type step struct {
		name string
		at   time.Time
	}
	steps := []step{{"pending", m.pending}, {"decided", m.decided}, {"applied", m.applied}, {"reached", m.reached}, {"recovered", m.recovered}}
	steps = slices.DeleteFunc(steps, func(s step) bool { return s.at.IsZero() })
	var parts []string
	for i := 1; i < len(steps); i++ {
		parts = append(parts, fmt.Sprintf("%s → %s %s", steps[i-1].name, steps[i].name, Span(steps[i].at.Sub(steps[i-1].at))))
	}
	if n := len(steps); n > 2 {
		parts = append(parts, "in all "+Span(steps[n-1].at.Sub(steps[0].at)))
	}
	return strings.Join(parts, " · ")
}

// Status tells where an open release stands at now and what a person can do; nothing for a
// closed one.
func (t *Timeline) Status(now time.Time) error {
	r := t.release
	if r.Closed() || r.Seq == 0 {
		return nil
	}
	_, err := fmt.Fprintf(t.out, "\n%s %s\n", t.paint.bold(strings.ToUpper(string(r.State))), Plain(t.stands(now)))
	return err
}

func (t *Timeline) stands(now time.Time) string {
	r := t.release
	switch r.State {
	case gatekeeper.Preparing:
		return "the targets are being pinned"
	case gatekeeper.Waiting:
		left := r.OpenedAt.Add(time.Duration(r.StartWithin)).Sub(now)
		return fmt.Sprintf("for the new version; %s left (tell: gatekeeper release deployed %s)", Span(max(left, 0)), r.ID)
	case gatekeeper.Watching:
		return fmt.Sprintf("the window ends in %s%s", Span(max(r.WindowEnd.Sub(now), 0)), t.stillPending())
	case gatekeeper.Holding:
		return fmt.Sprintf("%s; %s left (gatekeeper release approve|veto %s)", r.Hold.Says, Span(max(r.Hold.Until.Sub(now), 0)), r.ID)
	case gatekeeper.Applying:
		return fmt.Sprintf("%s, decided %s ago", t.rung(r.Rung, true), Span(now.Sub(r.DecidedAt)))
	case gatekeeper.Verifying:
		return fmt.Sprintf("whether the service is well again, for %s, after %s", Span(now.Sub(t.marks.reached)), t.rung(r.Rung, false))
	case gatekeeper.Ended:
	}
	return ""
}

func (t *Timeline) stillPending() string {
	var names []string
	for _, name := range sortedKeys(t.release.Tracks) {
		track := t.release.Tracks[name]
		if from := track.Pending(); !from.IsZero() {
			pending := fmt.Sprintf("%s since %s", name, Clock(from.Sub(t.zero)))
			if track.For > 0 && t.release.Muted[name] == "" && !t.release.Preexisting[name] { // older journals have no For
				pending += fmt.Sprintf(" (acted on at %s if it stays so)", Clock(track.Due().Sub(t.zero)))
			}
			names = append(names, pending)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "; pending: " + strings.Join(names, ", ")
}
