package tracing

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/gatekeeper-engine/gatekeeper"
)

// The names of spans. Of each of them at most one is under way in a release.
const (
	spanRelease = "release" // from open to the end; the others are below it
	spanPrepare = "prepare" // targets are pinned
	spanWait    = "wait"    // for the new version
	spanWatch   = "watch"   // the window, up to the decision or the end
	spanHold    = "hold"
	spanDecide  = "decide" // from the first harm to the decision
	spanRung    = "rung"   // until its target is observed, or it is given up
	spanAttempt = "attempt"
	spanVerify  = "verify" // is the service well on what it returned to
)

// span is one that is over, with the number of the fact that ended it.
type span struct {
	*tracepb.Span
	ended int64
}

// trail makes spans of one fact after the other.
type trail struct {
	r     gatekeeper.Release
	trace []byte
	root  []byte
	open  map[string]*tracepb.Span
	done  []span
	since gatekeeper.Fact // from which the ladder's next rung is under way
}

// spansOf gives the spans of a release that are over, in the order in which they ended.
func spansOf(id string, facts []gatekeeper.Fact) ([]span, error) {
	t := trail{r: gatekeeper.Release{ID: id}, open: map[string]*tracepb.Span{}}
	for _, f := range facts {
		var err error
		if t.r, err = t.r.With(f); err != nil {
			return nil, err
		}
		t.take(f)
	}
	return t.done, nil
}

func (t *trail) take(f gatekeeper.Fact) {
	switch b := f.Body.(type) {
	case gatekeeper.Opened:
		t.opened(f, b)
	case gatekeeper.Prepared:
		t.end(f, spanPrepare, nil)
		t.begin(f, spanWait)
	case gatekeeper.Deployed:
		t.end(f, spanWait, attributes{"how": b.How})
		t.begin(f, spanWatch)
	case gatekeeper.Held:
		t.end(f, spanHold, attributes{"ended_by": string(b.Reason)})
		hold := t.begin(f, spanHold)
		attributes{"hold.reason": string(b.Reason), "says": b.Says}.add(hold)
		witness(hold, b.Breaches)
	case gatekeeper.Resumed:
		t.end(f, spanHold, attributes{"ended_by": "resumed", "why": b.Why, "actor": f.Actor})
	case gatekeeper.Vetoed:
		t.end(f, spanHold, attributes{"ended_by": "vetoed", "why": b.Why, "actor": f.Actor})
	case gatekeeper.Decided:
		t.decided(f, b)
	case gatekeeper.Closed:
		t.closed(f, b)
	default:
		t.ladder(f)
	}
}

// ladder takes the facts of a rollback under way.
func (t *trail) ladder(f gatekeeper.Fact) {
	switch b := f.Body.(type) {
	case gatekeeper.Attempting:
		rung := t.rung(b.Rung)
		attempt := t.begin(f, spanAttempt)
		attempt.ParentSpanId = rung.SpanId
		attributes{"rung": b.Rung + 1, "action": t.r.Rungs[b.Rung].Action}.add(attempt)
	case gatekeeper.Attempted:
		failed := ""
		if b.Result != gatekeeper.ResultDone {
			failed = cmp.Or(b.Error, string(b.Result))
		}
		t.fail(spanAttempt, failed)
		t.end(f, spanAttempt, attributes{"result": string(b.Result)})
	case gatekeeper.GaveUp:
		t.rung(b.Rung)
		t.end(f, spanAttempt, nil)
		t.fail(spanRung, b.Why)
		t.end(f, spanRung, attributes{"result": "given up"})
		t.since = f
	case gatekeeper.Reached:
		t.rung(b.Rung)
		t.end(f, spanAttempt, nil)
		t.end(f, spanRung, attributes{"result": "reached", "already": b.Already, "says": b.Live.Says})
		attributes{"rung": b.Rung + 1}.add(t.begin(f, spanVerify))
	case gatekeeper.NotRecovered:
		witness(t.open[spanVerify], b.Breaches)
		t.fail(spanVerify, "not recovered")
		t.end(f, spanVerify, attributes{"result": "not recovered"})
		t.since = f
	case gatekeeper.Recovered:
		result := "recovered"
		if b.Unknown {
			result = "unknown"
		}
		t.end(f, spanVerify, attributes{"result": result, "says": b.Says})
	}
}

// opened begins the trace: below the pipeline's span if it handed one in.
func (t *trail) opened(f gatekeeper.Fact, o gatekeeper.Opened) {
	var parent []byte
	if parts := strings.Split(o.TraceParent, "-"); len(parts) >= 4 {
		trace, terr := hex.DecodeString(parts[1])
		span, serr := hex.DecodeString(parts[2])
		if terr == nil && serr == nil {
			t.trace, parent = trace, span
		}
	}
	if t.trace == nil {
		t.trace = digest("trace", t.r.ID)[:16]
	}
	root := t.begin(f, spanRelease)
	root.ParentSpanId, t.root = parent, root.SpanId
	attributes{
		"previous_version": o.PreviousVersion, "purpose": string(o.Purpose), "actor": f.Actor,
		"dry_run": o.DryRun, "watch_only": o.WatchOnly,
	}.add(root)
	t.begin(f, spanPrepare)
}

func (t *trail) decided(f gatekeeper.Fact, d gatekeeper.Decided) {
	for _, name := range []string{spanHold, spanWait, spanWatch} {
		t.end(f, name, attributes{"ended_by": "decided"})
	}
	decide := t.begin(f, spanDecide)
	for _, b := range d.Breaches {
		if at := nano(b.Since); !b.Since.IsZero() && at < decide.StartTimeUnixNano {
			decide.StartTimeUnixNano = at
		}
	}
	attributes{"cause": string(d.Cause), "says": d.Says, "actor": f.Actor}.add(decide)
	witness(decide, d.Breaches)
	t.end(f, spanDecide, nil)
	t.since = f
}

func (t *trail) closed(f gatekeeper.Fact, c gatekeeper.Closed) {
	for _, name := range []string{spanAttempt, spanHold, spanPrepare, spanWait, spanWatch, spanRung, spanVerify} {
		t.end(f, name, attributes{"ended_by": "closed"})
	}
	switch c.Outcome {
	case gatekeeper.OutcomeRolledBack, gatekeeper.OutcomeRollbackFailed, gatekeeper.OutcomeBreached:
		t.fail(spanRelease, c.Why)
	default:
	}
	t.end(f, spanRelease, attributes{"outcome": string(c.Outcome), "why": c.Why})
}

// rung gives the span of a rung, which is under way since the decision, or since the rung before
// it was of no use.
func (t *trail) rung(i int) *tracepb.Span {
	if rung := t.open[spanRung]; rung != nil {
		return rung
	}
	is := t.r.Rungs[i]
	rung := t.begin(t.since, spanRung)
	set := attributes{"rung": i + 1, "action": is.Action, "connection": is.Connection}
	if is.Target != nil {
		set["target"] = is.Target.Says
	}
	set.add(rung)
	return rung
}

// begin begins a span at a fact.
func (t *trail) begin(f gatekeeper.Fact, name string) *tracepb.Span {
	s := &tracepb.Span{
		TraceId: t.trace, SpanId: digest(name, t.r.ID, fmt.Sprint(f.Seq))[:8], ParentSpanId: t.root,
		Name: name, Kind: tracepb.Span_SPAN_KIND_INTERNAL, StartTimeUnixNano: nano(f.At),
	}
	attributes{"release": t.r.ID, "service": t.r.Service, "environment": t.r.Environment, "version": t.r.Version}.add(s)
	t.open[name] = s
	return s
}

// fail says why a span that is under way did not do what it is for; "" for nothing.
func (t *trail) fail(name, why string) {
	if s := t.open[name]; s != nil && why != "" {
		s.Status = &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR, Message: clip(why)}
	}
}

// end ends a span at a fact, if it is under way.
func (t *trail) end(f gatekeeper.Fact, name string, more attributes) {
	s := t.open[name]
	if s == nil {
		return
	}
	delete(t.open, name)
	s.EndTimeUnixNano = nano(f.At)
	more.add(s)
	t.done = append(t.done, span{s, f.Seq})
}

// witness adds what was seen against what limit: every breach as an event, the first as attributes.
func witness(s *tracepb.Span, breaches []gatekeeper.Breach) {
	if s == nil {
		return
	}
	for i, b := range breaches {
		seen := attributes{"rule": b.Rule, "limit": b.Reading.Limit, "says": b.Says}
		if samples := slices.Concat(b.Reading.Operand, b.Reading.Samples); len(samples) > 0 {
			seen["value"] = float64(samples[0].Value)
		}
		s.Events = append(s.Events, &tracepb.Span_Event{Name: "breach", TimeUnixNano: nano(b.Since), Attributes: seen.list()})
		if i == 0 {
			delete(seen, "says")
			seen.add(s)
		}
	}
}

func digest(parts ...string) []byte {
	sum := sha256.Sum256([]byte("gatekeeper\x00" + strings.Join(parts, "\x00")))
	return sum[:]
}

// nano is a time in OTLP; what has none is at 0.
func nano(at time.Time) uint64 {
	if at.IsZero() {
		return 0
	}
	return uint64(at.UnixNano())
}
