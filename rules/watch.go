package rules

import (
	"context"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
)

// Watch follows one rule over its slots: when it is asked, and what its answers come to. It reads no
// clock and asks nothing by itself, so that the engine and a backtest go the same way. One goroutine
// at a time may use it.
//
// Base is the track up to the last slot before the present gap; the gap holds the blind readings
// since. When an answer comes again the gap's slots are asked once more by a range query, and
// only what can't be answered then stays unanswered. What is journaled is Base with the latest
// verdict, so a restart asks the gap again too.
type Watch struct {
	Rule  *BoundRule
	Phase time.Duration // its slots are so long after full intervals

	Base  gatekeeper.Track
	Last  gatekeeper.Reading // the latest, extra evaluations included
	Bad   gatekeeper.Reading // the latest unhealthy one
	Next  time.Time          // the next slot to ask; zero: not scheduled yet
	From  time.Time          // when readings begin to count; earlier ones are told and change nothing else
	Sure  time.Time          // when an extra evaluation confirmed what is active
	Asked time.Time          // the first slot that was asked by this Watch; what is older is hearsay
	Trail []gatekeeper.Point // every slot since whoever reads it emptied it

	// Added is called after each slot was added to the Trail, with its reading; nil: nobody is told.
	Added func(r gatekeeper.Reading)

	gap   []gatekeeper.Reading
	extra time.Time // of the extra evaluation that was made last
}

// NewWatch goes on from what is known of a rule; both known and latest may be zero.
func NewWatch(rule *BoundRule, phase time.Duration, known gatekeeper.Track, latest gatekeeper.Reading) *Watch {
	w := &Watch{Rule: rule, Phase: phase, Base: known, Last: latest}
	w.Base.Rule, w.Base.For = rule.Name, gatekeeper.Duration(rule.For)
	if latest.Verdict == gatekeeper.Unhealthy {
		w.Bad = latest
	}
	if !known.LastSlot.IsZero() {
		w.Next = known.LastSlot.Add(rule.Interval)
	}
	return w
}

// HashPhase spreads the groups of all releases over the interval, as Prometheus does.
func HashPhase(service, environment, group string, interval time.Duration) time.Duration {
	h := fnv.New64a()
	for _, s := range []string{service, environment, group} {
		_, _ = h.Write([]byte(s))
		_, _ = h.Write([]byte{0})
	}
	return time.Duration(h.Sum64() % uint64(interval))
}

// Slot gives the first slot at or after t: the schedule is absolute, it can't drift.
func (w *Watch) Slot(t time.Time) time.Time {
	i := int64(w.Rule.Interval)
	since := t.UnixNano() - int64(w.Phase)
	n := since / i
	if since%i > 0 {
		n++
	}
	return time.Unix(0, n*i+int64(w.Phase)).UTC()
}

// Open takes what the rule said when the release was opened. Preexisting says that it was bad without
// the new version's doing: bound to the version, it is this version's own harm.
func (w *Watch) Open(r gatekeeper.Reading) (preexisting bool) {
	w.Base.Verdict = r.Verdict
	w.Base.EverHealthy = r.Verdict == gatekeeper.Healthy
	w.Last = r
	return r.Verdict == gatekeeper.Unhealthy && !w.Rule.VersionBound
}

// Deploy schedules the first slot of a release that was deployed then; atOpen is what is known from before.
//
// A rule that can see another version's data must first have all of it behind it, unless it was well at
// open; so must a rule bound to the version that was bad at open already, from an earlier try of the
// same version.
func (w *Watch) Deploy(at time.Time, atOpen gatekeeper.Track) {
	w.Next, w.From = w.Slot(at), at.Add(w.Rule.WarmUp)
	old := !atOpen.EverHealthy
	if w.Rule.VersionBound {
		old = atOpen.Verdict == gatekeeper.Unhealthy
	}
	if clear := at.Add(w.Rule.Range); old && clear.After(w.From) {
		w.From = clear
	}
	if !atOpen.CountsFrom.IsZero() { // it was deployed before, and what is known is from after that
		w.From = atOpen.CountsFrom
	}
	if w.From.After(at) {
		w.Base.CountsFrom = w.From
	}
}

// Track gives what is known of the rule, the present gap included.
func (w *Watch) Track() gatekeeper.Track {
	t := w.Base
	for _, r := range w.gap {
		t = t.Next(r, w.Rule.Interval)
	}
	return t
}

// Full says whether the rule has been unhealthy for its `for`, and still is as far as is known.
func (w *Watch) Full() bool {
	t := w.Track()
	at := t.LastSlot
	if w.Sure.After(at) {
		at = w.Sure
	}
	return t.Full(at)
}

// due gives the instant of the one extra evaluation, where `for` runs out between slots; zero
// when there is none to make.
func (w *Watch) due() time.Time {
	t := w.Track()
	due := t.Due()
	if due.IsZero() || !due.After(t.LastSlot) || due.Equal(w.extra) || !due.Before(w.Next) {
		return time.Time{}
	}
	return due
}

// At gives the instant that is to be asked next.
func (w *Watch) At() time.Time {
	if due := w.due(); !due.IsZero() {
		return due
	}
	return w.Next
}

// Recovered says whether the rule has been well for as long as ends a breach that waits for somebody.
func (w *Watch) Recovered() bool {
	t := w.Track()
	return !t.HealthySince.IsZero() && t.LastSlot.Sub(t.HealthySince) >= w.Rule.Calm()
}

// BlindAt gives the instant at which the rule has seen nothing for as long as its route bears; zero
// while it sees. Time in which nobody asked tells nothing of the metrics.
func (w *Watch) BlindAt() time.Time {
	since := w.Track().BlindSince
	if w.Asked.IsZero() || since.IsZero() {
		return time.Time{}
	}
	if w.Asked.After(since) {
		since = w.Asked
	}
	return since.Add(w.Rule.Response.Blind)
}

// Extends gives how far the rule, pending when the window ends at end, extends it; zero when it does
// not. overtime is how much it was extended already: that is bounded, for a rule whose labels change
// for ever is pending for ever.
func (w *Watch) Extends(now, end time.Time, overtime time.Duration) time.Time {
	t := w.Track()
	if t.Pending().IsZero() || w.Full() {
		return time.Time{}
	}
	until := t.Due()
	if !until.After(now) {
		until = w.Next // the extra evaluation did not confirm: the next slot decides
	}
	if until.After(end.Add(w.Rule.LongestExtension() - overtime)) {
		return time.Time{}
	}
	return until
}

// LongestExtension is how far the rule can extend a window at most, pending at its end.
func (r Rule) LongestExtension() time.Duration {
	return 2*r.For + 2*r.Interval + r.Response.Blind
}

// Unsure says why the rule can't tell at the window's end that the release is well; "" when it can.
// Coverage is the share of the window that needs answers with data.
func (w *Watch) Unsure(coverage float64, preexisting bool) string {
	t := w.Track() // it has every slot that counts: what was missed was asked again, or counts as unanswered
	switch share := t.Coverage(); {
	case preexisting:
		return w.Rule.Name + " was bad before the release and has not been well since: it can't tell"
	case share < coverage:
		return fmt.Sprintf("%s had answers with data for %.0f%% of the window, needs %.0f%%", w.Rule.Name, 100*share, 100*coverage)
	case !t.Verdict.Answered():
		return fmt.Sprintf("%s says %s at the window's end", w.Rule.Name, t.Verdict)
	case !t.Pending().IsZero():
		return fmt.Sprintf("%s is pending still, and the window can't be extended further", w.Rule.Name)
	}
	return ""
}

// Question is what to ask a rule now. Without From it is the one instant At; else the slots from
// From up to At, the earlier ones by range.
type Question struct {
	From, At time.Time
	Extra    bool // where `for` runs out between slots
}

// Ask gives the question that is due at now, if one is.
func (w *Watch) Ask(now time.Time) (Question, bool) {
	if due := w.due(); !due.IsZero() && !due.After(now) && w.Next.After(now) {
		return Question{At: due, Extra: true}, true
	}
	if w.Next.IsZero() || w.Next.After(now) {
		return Question{}, false
	}
	last := w.Slot(now)
	if last.After(now) {
		last = last.Add(-w.Rule.Interval)
	}
	q := Question{At: last}
	if last.After(w.Next) {
		q.From = w.Next
	}
	if len(w.gap) > 0 {
		q.From = w.gap[0].At
	}
	return q, true
}

// Answer asks: the present slot first, and what was missed only when there is an answer again.
func (q Question) Answer(ctx context.Context, rule *BoundRule, backend Querier) []gatekeeper.Reading {
	now := rule.Judge(ctx, backend, q.At)
	if q.From.IsZero() {
		return []gatekeeper.Reading{now}
	}
	before := q.At.Add(-rule.Interval)
	if now.Verdict == gatekeeper.NoAnswer {
		return append(unanswered(q.From, before, rule.Interval, now.Detail), now)
	}
	return append(rule.JudgeRange(ctx, backend, q.From, before, rule.Interval), now)
}

func unanswered(from, to time.Time, step time.Duration, why string) []gatekeeper.Reading {
	var missed []gatekeeper.Reading
	for at := from; !at.After(to); at = at.Add(step) {
		missed = append(missed, gatekeeper.Reading{At: at, Verdict: gatekeeper.NoAnswer, Detail: why})
	}
	return missed
}

// Take adds the answer of a question: the readings of its slots, in order.
func (w *Watch) Take(q Question, readings []gatekeeper.Reading) {
	w.Last = readings[len(readings)-1]
	for _, r := range readings {
		if r.Verdict == gatekeeper.Unhealthy {
			w.Bad = r
		}
	}
	if q.Extra {
		w.confirm(q.At)
		return
	}
	if w.Asked.IsZero() {
		w.Asked = q.At
	}
	if !q.From.IsZero() {
		w.gap = nil
	}
	for _, r := range readings {
		w.slot(r, q.At)
	}
	w.Next = q.At.Add(w.Rule.Interval)
	if len(w.Base.Active) == 0 {
		w.Sure = time.Time{}
	}
}

// confirm takes the latest reading as that of an extra evaluation.
func (w *Watch) confirm(at time.Time) {
	w.extra = at
	confirmed := w.Track().Confirm(w.Last)
	w.add(gatekeeper.ExtraPoint(w.Last, confirmed), w.Last, at)
	if confirmed.Full(at) && w.Last.Verdict == gatekeeper.Unhealthy {
		w.Sure = at
	}
}

// add adds a slot to the trail that was heard of at an instant.
func (w *Watch) add(p gatekeeper.Point, r gatekeeper.Reading, heard time.Time) {
	if p.At.Before(heard) {
		p.Heard = heard
	}
	w.Trail = append(w.Trail, p)
	if w.Added != nil {
		w.Added(r)
	}
}

// slot takes the reading of a regular slot that was heard of at an instant.
func (w *Watch) slot(r gatekeeper.Reading, heard time.Time) {
	switch {
	case r.At.Before(w.From):
		w.Base = w.Base.Early(r)
		w.add(gatekeeper.EarlyPoint(r), r, heard)
	case r.Verdict.Blind():
		w.gap = append(w.gap, r)
		if !r.At.Before(w.Next) { // else it was blind before, and that is known
			w.add(gatekeeper.PointOf(r, w.Base), r, heard)
		}
	default:
		w.Base = w.Track().Next(r, w.Rule.Interval)
		w.gap = nil
		w.add(gatekeeper.PointOf(r, w.Base), r, heard)
	}
}
