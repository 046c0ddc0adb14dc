package engine

import (
	"log/slog"
	"strings"

	"github.com/gatekeeper-engine/gatekeeper"
)

// logOf gives the log of what is about a release.
func (e *Engine) logOf(r gatekeeper.Release) *slog.Logger {
	return e.log.With("release", r.ID, "service", r.Service, "version", r.Version)
}

// say logs a fact; one about rules names them.
func (u *run) say(f gatekeeper.Fact) {
	switch b := f.Body.(type) {
	case gatekeeper.Judged:
		u.judgement(b)
	case gatekeeper.Breached:
		u.about(b.Breaches).Warn("a breach, and nothing is rolled back", "why", b.Why)
	case gatekeeper.Held:
		log := u.about(b.Breaches)
		if len(b.Blind) > 0 {
			log = u.log.With("rule", strings.Join(b.Blind, ", "))
		}
		log.Warn("held", "reason", b.Reason, "says", b.Says, "until", b.Until)
	case gatekeeper.Vetoed:
		u.log.Warn("vetoed", "rule", strings.Join(b.Rules, ", "), "why", b.Why, "actor", f.Actor)
	case gatekeeper.Decided:
		u.about(b.Breaches).Warn("rollback decided", "cause", b.Cause, "says", b.Says, "actor", f.Actor)
	case gatekeeper.Attempted:
		u.log.Info("rung attempted", "rung", b.Rung+1, "result", b.Result, "err", b.Error)
	case gatekeeper.NotRecovered:
		u.about(b.Breaches).Warn("not recovered", "rung", b.Rung+1)
	case gatekeeper.Closed:
		u.log.Info("closed", "outcome", b.Outcome, "why", b.Why)
	case gatekeeper.Resumed:
		u.log.Info("watching again", "why", b.Why)
	default:
		u.log.Debug("fact", "kind", f.Body.Kind(), "seq", f.Seq)
	}
}

// judgement logs what a rule says; harm and blindness can be seen without debugging.
func (u *run) judgement(j gatekeeper.Judged) {
	log := u.log.With("rule", j.Track.Rule, "verdict", j.Reading.Verdict)
	switch {
	case j.Reading.Verdict.Blind():
		log.Warn("a rule can't see", "err", j.Reading.Detail)
	case j.Reading.Verdict == gatekeeper.Unhealthy:
		if since := j.Track.Pending(); !since.IsZero() { // zero: it does not count yet
			log = log.With("since", since)
		}
		log.Info("a rule is unhealthy", "limit", j.Reading.Limit)
	default:
		log.Debug("a rule was judged")
	}
}

// about gives the log of what is about breaches: it names their rules.
func (u *run) about(breaches []gatekeeper.Breach) *slog.Logger {
	if len(breaches) == 0 {
		return u.log
	}
	names := make([]string, len(breaches))
	for i, b := range breaches {
		names[i] = b.Rule
	}
	return u.log.With("rule", strings.Join(names, ", "))
}
