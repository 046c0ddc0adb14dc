package web

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/timeline"
)

// standing is where a release stands: what is wrong, what happens next and when.
type standing struct {
	Release gatekeeper.Release
	State   string // or how it ended
	Tone    timeline.Tone
	Says    string    // what is wrong, in one sentence
	Next    string    // what happens next
	Until   time.Time // when; zero: nobody knows
	Since   time.Time // since when, where nobody knows until when
	Rules   []verdict // the worst first
}

// verdict is what a rule or an alert of others says.
type verdict struct {
	Rule string
	Says string // the verdict in words
	Tone timeline.Tone
	Seen string // the value against the limit
	Note string // why it does not count

	Since time.Time // since when it is bad, where that counts; zero: it is not
	Due   time.Time // when that will have lasted long enough, if it stays so; zero without For
	For   string    // how long that is; "": the first bad answer is enough, or nobody knows
}

// stand tells where a release stands.
func stand(r gatekeeper.Release) standing {
	s := standing{Release: r, State: timeline.Words(string(r.State)), Tone: timeline.Quiet, Rules: verdicts(r)}
	switch r.State {
	case gatekeeper.Preparing:
		s.Says, s.Next = "What to return to is being pinned.", "Then the new version can be deployed."
		s.Since = r.OpenedAt
	case gatekeeper.Waiting:
		s.Says, s.Next = "The new version is not seen yet.", "Without it the release ends inconclusive"
		s.Until = r.OpenedAt.Add(time.Duration(r.StartWithin))
	case gatekeeper.Watching:
		s.watching()
	case gatekeeper.Holding:
		s.held()
	case gatekeeper.Applying:
		s.Tone, s.Says, s.Next, s.Since = timeline.Warn, because(r), "Rolling back"+rung(r), r.DecidedAt
	case gatekeeper.Verifying:
		s.Tone, s.Says, s.Next = timeline.Warn, because(r), "Is the service well again"+after(r)+"?"
		s.Since = r.DecidedAt
		if r.Rung < len(r.Rungs) {
			s.Since = r.Rungs[r.Rung].ReachedAt
		}
	case gatekeeper.Ended:
		s.State, s.Tone, s.Says = timeline.Words(string(r.Outcome)), timeline.OutcomeTone(r.Outcome), r.Why
		if r.Decision != nil {
			s.Says, s.Next = because(r), r.Why
		}
	}
	return s
}

func (s *standing) watching() {
	r := s.Release
	s.Next, s.Until = "The window ends", r.WindowEnd
	var bad, blind []string
	var due time.Time
	for _, v := range s.Rules {
		switch {
		case v.Tone == timeline.Bad:
			bad = append(bad, v.sentence())
			if !v.Due.IsZero() && (due.IsZero() || v.Due.Before(due)) {
				due = v.Due
			}
		case v.Tone == timeline.Warn && v.Note == "":
			blind = append(blind, v.sentence())
		}
	}
	switch {
	case len(bad) > 0:
		s.Tone, s.Says = timeline.Bad, strings.Join(bad, "; ")
		if !due.IsZero() { // zero: such as an alert of others, which is acted on as it comes
			s.Next, s.Until = "If it stays so, it is acted on", due
		}
	case len(blind) > 0:
		s.Tone, s.Says = timeline.Warn, strings.Join(blind, "; ")
	case len(s.Rules) == 0:
		s.Says = "No rule has said anything yet."
	default:
		s.Tone, s.Says = timeline.Good, "Nothing is wrong."
	}
}

func (v verdict) sentence() string {
	if v.Seen == "" {
		return v.Rule + ": " + v.Says
	}
	return v.Rule + ": " + v.Seen
}

func (s *standing) held() {
	h := s.Release.Hold
	s.Tone, s.Says, s.Until = timeline.Warn, h.Says, h.Until
	switch {
	case h.Reason == gatekeeper.HoldVeto:
		s.Tone, s.Next = timeline.Bad, "It is rolled back, unless somebody vetoes,"
	case h.Reason == gatekeeper.HoldPerson:
		s.Next = "Somebody holds it. The hold ends"
	case len(h.Breaches) > 0:
		s.Tone, s.Next = timeline.Bad, "It waits for a person, and ends without a rollback"
	default:
		s.Next = "It waits for a person, and ends inconclusive"
	}
}

// because says why a release is rolled back.
func because(r gatekeeper.Release) string {
	if r.Decision == nil {
		return ""
	}
	if r.Decision.Says != "" {
		return r.Decision.Says
	}
	var all []string
	for _, b := range r.Decision.Breaches {
		all = append(all, cmp.Or(b.Says, b.Rule))
	}
	return strings.Join(all, "; ")
}

func rung(r gatekeeper.Release) string {
	if r.Rung >= len(r.Rungs) || r.Rungs[r.Rung].Target == nil {
		return ""
	}
	return " to " + r.Rungs[r.Rung].Target.Says
}

func after(r gatekeeper.Release) string {
	if r.PreviousVersion == "" {
		return ""
	}
	return " on " + r.PreviousVersion
}

// loudness puts what is worse before what is better.
var loudness = map[timeline.Tone]int{timeline.Bad: 0, timeline.Warn: 1, timeline.Quiet: 2, timeline.Good: 3}

// verdicts gives what each rule says now: of the version returned to, once that is there.
func verdicts(r gatekeeper.Release) []verdict {
	tracks := r.Tracks
	if r.State == gatekeeper.Verifying {
		tracks = r.Recovery
	}
	latest := readings(r)
	var all []verdict
	for _, name := range slices.Sorted(maps.Keys(tracks)) {
		v := of(tracks[name], latest[name])
		switch {
		case r.Muted[name] != "":
			v.Note = r.Muted[name]
		case r.Preexisting[name]:
			v.Note = "it was so before this release"
		}
		if v.Note != "" && v.Tone == timeline.Bad {
			v.Tone, v.Since, v.Due, v.For = timeline.Warn, time.Time{}, time.Time{}, ""
		}
		if r.Closed() {
			v.Since, v.Due, v.For = time.Time{}, time.Time{}, ""
		}
		all = append(all, v)
	}
	for _, key := range slices.Sorted(maps.Keys(r.Alerts)) {
		if a := r.Alerts[key]; a.Firing {
			v := verdict{Rule: a.Name, Says: "fires", Tone: timeline.Bad, Seen: cmp.Or(a.Summary, "fires, says "+a.Sender)}
			if a.Preexisting {
				v.Tone, v.Note = timeline.Warn, "it fired before this release"
			}
			all = append(all, v)
		}
	}
	slices.SortStableFunc(all, func(a, b verdict) int { return cmp.Compare(loudness[a.Tone], loudness[b.Tone]) })
	return all
}

// said gives what a reading found, where there is one.
func said(latest gatekeeper.Reading) string {
	if latest.Verdict == "" {
		return ""
	}
	return timeline.Seen(latest)
}

// readings gives what the verdicts rest on. After a rollback the latest readings are of the version returned to:
// what was decided on is in the decision.
func readings(r gatekeeper.Release) map[string]gatekeeper.Reading {
	if r.Decision == nil || r.State == gatekeeper.Verifying {
		return r.Latest
	}
	all := map[string]gatekeeper.Reading{}
	if len(r.Recovery) == 0 {
		maps.Copy(all, r.Latest)
	}
	for _, b := range r.Decision.Breaches {
		all[b.Rule] = b.Reading
	}
	return all
}

func of(t gatekeeper.Track, latest gatekeeper.Reading) verdict {
	v := verdict{Rule: t.Rule, Says: timeline.Words(string(t.Verdict)), Tone: timeline.Quiet}
	switch {
	case t.Verdict.Blind():
		v.Tone, v.Seen = timeline.Warn, latest.Detail
	case t.Verdict == gatekeeper.Unhealthy:
		v.Tone, v.Seen, v.Since = timeline.Bad, said(latest), t.Pending()
		if t.For > 0 { // else it is acted on as it comes, or the journal is older than what it tells of that
			v.Due, v.For = t.Due(), timeline.Span(time.Duration(t.For))
		}
	case t.Verdict == gatekeeper.Healthy:
		v.Tone, v.Seen = timeline.Good, said(latest)
	}
	if pending := t.Pending(); !pending.IsZero() && v.Tone != timeline.Bad {
		v.Note = fmt.Sprintf("pending since %s", pending.UTC().Format("15:04:05 UTC"))
	}
	return v
}
