// Package notify says what people are told about a release, and sends it without ever being in
// the way: what was seen against what limit, what was done, what to do. The channels (chat,
// pagers, webhooks, Alertmanagers) share its sentences and its queue; each is a package of its own.
package notify

import (
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gatekeeper-engine/gatekeeper"
)

// Event is a kind of news.
type Event string

// The kinds of news.
const (
	Opened          Event = "opened"
	Deployed        Event = "deployed"
	Held            Event = "held"
	Resumed         Event = "resumed" // a hold ended without a rollback
	Breached        Event = "breached"
	RollbackStarted Event = "rollback_started"
	RolledBack      Event = "rolled_back"
	RecoveryUnknown Event = "recovery_unknown" // rolled back, and the metrics don't tell whether it is well
	RollbackFailed  Event = "rollback_failed"
	Inconclusive    Event = "inconclusive"
	Passed          Event = "passed"
	Aborted         Event = "aborted"
	Superseded      Event = "superseded"
	Noted           Event = "noted" // anything else that people are told
)

// Events gives every kind of news, in the order in which they can happen.
func Events() []Event {
	return []Event{
		Opened, Deployed, Held, Resumed, Breached, RollbackStarted, RolledBack, RecoveryUnknown,
		RollbackFailed, Inconclusive, Passed, Aborted, Superseded, Noted,
	}
}

// Urgent gives the kinds of news for which somebody must act.
func Urgent() []Event { return []Event{Held, Breached, RecoveryUnknown, RollbackFailed} }

// usual are the kinds that are told where none are chosen: what a good release brings is not
// among them.
func usual() []Event {
	return []Event{
		Held, Resumed, Breached, RollbackStarted, RolledBack, RecoveryUnknown, RollbackFailed,
		Inconclusive, Noted,
	}
}

// Severity says who is called for.
type Severity string

// The severities.
const (
	Critical Severity = "critical" // somebody must act
	Warning  Severity = "warning"  // good to know, nothing to do at once
	Info     Severity = "info"     // as it should be
)

// News is what people are told.
type News struct {
	Event    Event     `json:"event"`
	Severity Severity  `json:"severity"`
	Since    time.Time `json:"since"`           // when it began; zero: now
	Until    time.Time `json:"until,omitzero"`  // when it ends by itself; zero: when the release's state says so
	Summary  string    `json:"summary"`         // what was seen against what limit
	Done     string    `json:"done,omitempty"`  // what Gatekeeper did
	Todo     string    `json:"to_do,omitempty"` // what a person can do
}

var states = map[Event]string{
	Opened: "is opened", Deployed: "is deployed", Held: "is held", Resumed: "is watched again", Breached: "went bad",
	RollbackStarted: "is being rolled back", RolledBack: "was rolled back",
	RecoveryUnknown: "was rolled back, recovery unknown", RollbackFailed: "could not be rolled back",
	Inconclusive: "ended inconclusive", Passed: "passed", Aborted: "was aborted", Superseded: "was superseded",
	Noted: "needs a look",
}

// Title says in a few words what happened to which release.
func (n News) Title(r gatekeeper.Release) string {
	return fmt.Sprintf("%s %s in %s %s", r.Service, r.Version, r.Environment, states[n.Event])
}

// About gives the news that f brought to r, the release after it; false where people are not told
// of such a fact at all.
func About(r gatekeeper.Release, f gatekeeper.Fact) (News, bool) {
	n := News{Severity: Info, Since: f.At}
	switch b := f.Body.(type) {
	case gatekeeper.Opened:
		n.Event, n.Summary = Opened, "Release "+r.ID+by(f.Actor)+", window "+b.Window.String()+"."
	case gatekeeper.Deployed:
		n.Event, n.Summary = Deployed, "The window runs until "+clock(r.WindowEnd)+"."
	case gatekeeper.Held:
		return held(r)
	case gatekeeper.Resumed:
		n.Event, n.Summary, n.Todo = Resumed, b.Why, "Nothing: the release is watched again."
	case gatekeeper.Vetoed:
		n.Event, n.Summary = Resumed, "No rollback for "+strings.Join(b.Rules, ", ")+": vetoed"+by(f.Actor)+because(b.Why)
		n.Todo = "Nothing: the release is watched on without these rules."
	case gatekeeper.Breached:
		n.Event, n.Severity, n.Summary = Breached, Critical, says("", b.Breaches)
		n.Done, n.Todo = "Nothing was rolled back"+because(b.Why), rollBackYourself(r)
	case gatekeeper.Decided:
		n = started(r)
	case gatekeeper.Recovered:
		if !b.Unknown {
			return News{}, false
		}
		n = unknown(r, f, b)
	case gatekeeper.Closed:
		return ended(r), true
	case gatekeeper.Noted:
		if !b.Loud {
			return News{}, false
		}
		n.Event, n.Severity, n.Summary = Noted, Warning, b.Text
	default:
		return News{}, false
	}
	return n, true
}

func by(actor string) string {
	if actor == "" {
		return ""
	}
	return " by " + actor
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}

func clock(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Link gives the release's page, below the address at which they reach Gatekeeper;
// "" where there is none.
func Link(external string, r gatekeeper.Release) string {
	if external == "" {
		return ""
	}
	return strings.TrimRight(external, "/") + "/releases/" + url.PathEscape(r.ID)
}

// Clip gives valid UTF-8 of at most limit bytes; where something is cut away it ends in "…".
func Clip(text string, limit int) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= limit {
		return text
	}
	cut := limit - len("…")
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}
