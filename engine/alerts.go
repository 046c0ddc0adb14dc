package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// Receive takes external alerts: each is written to the open releases that a route with
// `external: true` lets it act on, or counted and dropped. Alerts name their release by the labels
// service, environment (if any) and version (if any). When it returns nil, what matched is durable; an
// error means that the batch should come again. Actor is the client that sent them.
func (e *Engine) Receive(ctx context.Context, sender, actor string, alerts []gatekeeper.Alert) (Received, error) {
	if err := e.Ready(); err != nil {
		return Received{}, err
	}
	var done Received
	for _, a := range alerts {
		a.Sender = sender
		matched, err := e.receive(ctx, actor, a)
		if err != nil {
			return done, &gatekeeper.Error{
				Code: gatekeeper.CodeUnavailable, Message: "an alert could not be written to the journal: " + err.Error(),
				Hint: "send it again", Err: err,
			}
		}
		if matched {
			done.Matched++
			e.metrics.alerts.WithLabelValues("matched").Inc()
		} else {
			done.Dropped++
			e.metrics.alerts.WithLabelValues("dropped").Inc()
		}
	}
	return done, nil
}

func (e *Engine) receive(ctx context.Context, actor string, a gatekeeper.Alert) (matched bool, err error) {
	for _, u := range e.open() {
		if !u.concerns(a) {
			continue
		}
		if _, ok := u.file.Route(routable(a), true); !ok {
			continue
		}
		err := u.do(ctx, func() error { return u.alerted(actor, a) })
		if errors.Is(err, errRunOver) {
			continue
		}
		if err != nil {
			return false, err
		}
		matched = true
	}
	return matched, nil
}

// concerns says whether the alert names this release. It reads only what never changes.
func (u *run) concerns(a gatekeeper.Alert) bool {
	if a.Labels["service"] != u.subject.Service {
		return false
	}
	if env, ok := a.Labels["environment"]; ok && env != u.subject.Environment {
		return false
	}
	version, ok := a.Labels["version"]
	return !ok || version == u.subject.Version
}

func routable(a gatekeeper.Alert) map[string]string {
	labels := maps.Clone(a.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels["alertname"] = a.Name
	return labels
}

// alerted joins an update with what is known of the alert and records it when it says anything new.
func (u *run) alerted(actor string, a gatekeeper.Alert) error {
	if u.r.Closed() {
		return nil
	}
	known, had := u.r.Alerts[a.Key]
	next := join(known, a, had)
	next.SeenAt = time.Now().UTC()
	if !had {
		next.Preexisting = next.Firing && (u.r.DeployedAt.IsZero() || next.StartsAt.Before(u.r.DeployedAt))
	} else {
		next.Preexisting = known.Preexisting && next.Firing
	}
	if had && same(known, next) {
		return nil
	}
	return u.recordBy(actor, time.Now(), gatekeeper.Alerted{Alert: next})
}

// join is commutative and idempotent, so replays, duplicates and another order of the updates of
// several senders end in the same state: an alert fires if it started after its latest end.
func join(known, a gatekeeper.Alert, had bool) gatekeeper.Alert {
	if !a.Firing {
		a.ResolvedAt = later(a.EndsAt, a.StartsAt)
		a.EndsAt = time.Time{}
	}
	if had {
		a.StartsAt = later(a.StartsAt, known.StartsAt)
		a.ResolvedAt = later(a.ResolvedAt, known.ResolvedAt)
		a.EndsAt = later(a.EndsAt, known.EndsAt)
		if a.Summary == "" {
			a.Summary = known.Summary
		}
	}
	a.Firing = a.StartsAt.After(a.ResolvedAt)
	return a
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// same says whether two states differ in nothing that matters: a firing alert that is sent again
// matters only as a later end, and while recovery is verified.
func same(a, b gatekeeper.Alert) bool {
	return a.Firing == b.Firing && a.StartsAt.Equal(b.StartsAt) && a.ResolvedAt.Equal(b.ResolvedAt) &&
		a.Preexisting == b.Preexisting && a.EndsAt.Equal(b.EndsAt) && (!b.Firing || b.SeenAt.Sub(a.SeenAt) < 30*time.Second)
}

// firing gives the harm of external alerts that stand. One whose sender fell silent is unknown.
func (u *run) firing(now time.Time) []harm {
	var all []harm
	for _, key := range slices.Sorted(maps.Keys(u.r.Alerts)) {
		a := u.r.Alerts[key]
		if _, muted := u.r.Muted[key]; muted || !a.Firing || !a.EndsAt.IsZero() && !now.Before(a.EndsAt) {
			continue
		}
		response, ok := u.file.Route(routable(a), true)
		if !ok {
			continue
		}
		b := gatekeeper.Breach{Rule: key, Since: a.StartsAt, External: true, Says: fmt.Sprintf("%s is firing, says %s", a.Name, a.Sender)}
		if a.Summary != "" {
			b.Says += ": " + a.Summary
		}
		all = append(all, harm{Breach: b, response: response, preexisting: a.Preexisting})
	}
	return all
}

// lostAlerts gives the firing alerts that nobody has sent for too long: unknown, not healthy. Those
// to hold for, and those whose route rolls back then.
func (u *run) lostAlerts(now time.Time) (hold []string, rollback []harm) {
	for _, key := range slices.Sorted(maps.Keys(u.r.Alerts)) {
		a := u.r.Alerts[key]
		response, ok := u.file.Route(routable(a), true)
		if _, muted := u.r.Muted[key]; !ok || muted || !a.Firing || a.EndsAt.IsZero() || response.NoData == rules.Ignore || response.Do == rules.Notify {
			continue
		}
		if end := a.EndsAt.Add(response.Blind); now.Before(end) {
			u.wake(end)
			continue
		}
		if response.NoData == rules.Rollback && !a.Preexisting && !u.r.DryRun && len(u.r.Rungs) > 0 {
			b := gatekeeper.Breach{
				Rule: key, Since: a.StartsAt, External: true,
				Says: fmt.Sprintf("%s was firing, and %s has not sent it since %s; its route rolls back then", a.Name, a.Sender, a.SeenAt.Format(time.TimeOnly)),
			}
			rollback = append(rollback, harm{Breach: b, response: response, blind: true})
			continue
		}
		hold = append(hold, key)
	}
	return hold, rollback
}
