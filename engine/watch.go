package engine

import (
	"context"
	"hash/fnv"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// watch follows one rule over its slots.
//
// base is the track up to the last slot before the present gap; gap holds the blind readings
// since. When an answer comes again the gap's slots are asked once more by a range query, and
// only what can't be answered then stays unanswered. What is journaled is base with the latest
// verdict, so a restart asks the gap again too.
type watch struct {
	job   string // the name of the job that asks it
	rule  *rules.BoundRule
	phase time.Duration

	base  gatekeeper.Track
	gap   []gatekeeper.Reading
	last  gatekeeper.Reading // the latest, extra evaluations included
	bad   gatekeeper.Reading // the latest unhealthy one
	next  time.Time          // the next slot to ask; zero: not scheduled yet
	from  time.Time          // when readings begin to count; earlier ones are told and change nothing else
	extra time.Time          // of the extra evaluation that was made last
	sure  time.Time          // when an extra evaluation confirmed what is active
	told  gatekeeper.Track   // as the journal has it
	trail []gatekeeper.Point // the slots that the journal has not
	asked time.Time          // the first instant that was asked since Gatekeeper started; what is older is hearsay
}

func newWatch(job string, rule *rules.BoundRule, phase time.Duration, known gatekeeper.Track, latest gatekeeper.Reading) *watch {
	w := &watch{job: job, rule: rule, phase: phase, base: known, told: known, last: latest}
	w.base.Rule = rule.Name
	if latest.Verdict == gatekeeper.Unhealthy {
		w.bad = latest
	}
	if !known.LastSlot.IsZero() {
		w.next = known.LastSlot.Add(rule.Interval)
	}
	return w
}

// hashPhase spreads the groups of all releases over the interval, as Prometheus does.
func hashPhase(service, environment, group string, interval time.Duration) time.Duration {
	h := fnv.New64a()
	for _, s := range []string{service, environment, group} {
		_, _ = h.Write([]byte(s))
		_, _ = h.Write([]byte{0})
	}
	return time.Duration(h.Sum64() % uint64(interval))
}

// slot gives the first slot at or after t: the schedule is absolute, it can't drift.
func (w *watch) slot(t time.Time) time.Time {
	i := int64(w.rule.Interval)
	since := t.UnixNano() - int64(w.phase)
	n := since / i
	if since%i > 0 {
		n++
	}
	return time.Unix(0, n*i+int64(w.phase)).UTC()
}

// track gives what is known of the rule, the present gap included.
func (w *watch) track() gatekeeper.Track {
	t := w.base
	for _, r := range w.gap {
		t = t.Next(r, w.rule.Interval)
	}
	return t
}

// full says whether the rule has been unhealthy for its `for`, and still is as far as is known.
func (w *watch) full() bool {
	t := w.track()
	at := t.LastSlot
	if w.sure.After(at) {
		at = w.sure
	}
	return t.Full(at, w.rule.For)
}

// due gives the instant of the one extra evaluation, where `for` runs out between slots; zero
// when there is none to make.
func (w *watch) due() time.Time {
	t := w.track()
	due := t.Due(w.rule.For)
	if due.IsZero() || !due.After(t.LastSlot) || due.Equal(w.extra) || !due.Before(w.next) {
		return time.Time{}
	}
	return due
}

// at gives the instant that is to be asked next.
func (w *watch) at() time.Time {
	if due := w.due(); !due.IsZero() {
		return due
	}
	return w.next
}

// question is what to ask a rule now. Without from it is the one instant at; else the slots from
// from up to at, the earlier ones by range.
type question struct {
	from, at time.Time
	extra    bool
}

// ask gives the question that is due at now, if one is.
func (w *watch) ask(now time.Time) (question, bool) {
	if due := w.due(); !due.IsZero() && !due.After(now) && w.next.After(now) {
		return question{at: due, extra: true}, true
	}
	if w.next.IsZero() || w.next.After(now) {
		return question{}, false
	}
	last := w.slot(now)
	if last.After(now) {
		last = last.Add(-w.rule.Interval)
	}
	q := question{at: last}
	if last.After(w.next) {
		q.from = w.next
	}
	if len(w.gap) > 0 {
		q.from = w.gap[0].At
	}
	return q, true
}

// answer asks: the present slot first, and what was missed only when there is an answer again.
func (q question) answer(ctx context.Context, rule *rules.BoundRule, backend rules.Querier) []gatekeeper.Reading {
	start := time.Now()
	now := rule.Judge(ctx, backend, q.at)
	now.Took = gatekeeper.Duration(time.Since(start))
	if q.from.IsZero() {
		return []gatekeeper.Reading{now}
	}
	before := q.at.Add(-rule.Interval)
	if now.Verdict == gatekeeper.NoAnswer {
		return append(unanswered(q.from, before, rule.Interval, now.Detail), now)
	}
	return append(rule.JudgeRange(ctx, backend, q.from, before, rule.Interval), now)
}

func unanswered(from, to time.Time, step time.Duration, why string) []gatekeeper.Reading {
	var missed []gatekeeper.Reading
	for at := from; !at.After(to); at = at.Add(step) {
		missed = append(missed, gatekeeper.Reading{At: at, Verdict: gatekeeper.NoAnswer, Detail: why})
	}
	return missed
}

// take adds the answer of a question.
func (w *watch) take(q question, readings []gatekeeper.Reading) {
	w.last = readings[len(readings)-1]
	for _, r := range readings {
		if r.Verdict == gatekeeper.Unhealthy {
			w.bad = r
		}
	}
	if q.extra {
		w.extra = q.at
		confirmed := w.track().Confirm(w.last)
		w.trail = append(w.trail, gatekeeper.ExtraPoint(w.last, confirmed))
		if confirmed.Full(q.at, w.rule.For) && w.last.Verdict == gatekeeper.Unhealthy {
			w.sure = q.at
		}
		return
	}
	if w.asked.IsZero() {
		w.asked = q.at
	}
	if !q.from.IsZero() {
		w.gap = nil
	}
	heard := len(w.trail)
	for _, r := range readings {
		switch {
		case r.At.Before(w.from):
			w.base = w.base.Early(r)
			w.trail = append(w.trail, gatekeeper.EarlyPoint(r))
		case r.Verdict.Blind():
			w.gap = append(w.gap, r)
			if !r.At.Before(w.next) { // else it was blind before, and that is known
				w.trail = append(w.trail, gatekeeper.PointOf(r, w.base))
			}
		default:
			w.base = w.track().Next(r, w.rule.Interval)
			w.gap = nil
			w.trail = append(w.trail, gatekeeper.PointOf(r, w.base))
		}
	}
	for i := heard; i < len(w.trail); i++ {
		if w.trail[i].At.Before(q.at) {
			w.trail[i].Heard = q.at
		}
	}
	w.next = q.at.Add(w.rule.Interval)
	if len(w.base.Active) == 0 {
		w.sure = time.Time{}
	}
}

// maxTrail is how many bytes of slots, about, wait to be journaled.
const maxTrail = 32 << 10

// trailed says whether the trail is long enough to be journaled though nothing changed.
func (w *watch) trailed() bool {
	size := 0
	for _, p := range w.trail {
		size += p.Size()
	}
	return len(w.trail) >= gatekeeper.MaxTrail || size > maxTrail
}

// news says whether there is something to journal: the verdict changed, the rule became or ceased
// to be pending, or many slots have gone by.
func (w *watch) news() bool {
	now := w.judged().Track
	return now.Verdict != w.told.Verdict || !now.Pending().Equal(w.told.Pending()) || w.trailed()
}

// judged gives what the journal has to know to go on from here.
func (w *watch) judged() gatekeeper.Judged {
	live := w.track()
	keep := w.base
	keep.Verdict, keep.BlindSince = live.Verdict, live.BlindSince
	return gatekeeper.Judged{Track: keep, Reading: w.last.Within(maxEvidence), Trail: gatekeeper.Folded(w.trail)}
}

// wrote takes note that the journal has fact.
func (w *watch) wrote(fact gatekeeper.Judged) {
	w.told, w.trail = fact.Track, nil
}
