package alertmanager

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-openapi/strfmt"
	"github.com/prometheus/alertmanager/api/v2/models"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/notify"
)

const (
	maxStanding = 4096             // alerts kept; the oldest goes when there would be more
	resolvedFor = 15 * time.Minute // how long a resolved alert is sent again
	maxText     = 1024             // bytes of a label value or annotation
)

// id names an alert: there is at most one of a name and severity for a release.
type id struct {
	release, name string
	severity      severity
}

// alert is one that stands or did until a moment ago.
type alert struct {
	labels, annotations models.LabelSet
	link                string
	starts, until       time.Time
	resolved            time.Time // zero while it stands
	version             int64     // rises with every change worth sending at once
}

// book keeps the alerts; its methods may be called concurrently and never wait for the network.
type book struct {
	mu      sync.Mutex
	alerts  map[id]*alert
	version int64
	channel notify.Channel // what alerts link to
}

// clear forgets every alert.
func (b *book) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.alerts)
}

// update makes the alerts of r those that stand after f and says how many had to be dropped.
func (b *book) update(now time.Time, r gatekeeper.Release, f gatekeeper.Fact) (dropped int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	wanted := map[id]bool{}
	for _, s := range standings(r, f) {
		key := id{r.ID, s.name, s.Severity}
		if b.paged(key) || (!s.Until.IsZero() && !now.Before(s.Until)) {
			continue
		}
		if s.Since.IsZero() {
			s.Since = now
		}
		wanted[key] = true
		if b.put(key, r, f, s) && len(b.alerts) > maxStanding {
			b.dropOldest()
			dropped++
		}
	}
	for key, a := range b.alerts {
		if key.release == r.ID && !wanted[key] && a.resolved.IsZero() && !outlives(key, r) {
			b.resolve(a, now)
		}
	}
	return dropped
}

// outlives says whether an alert stands though nothing in the release says so any more: a page
// about a recovery that nobody knows of stands its time.
func outlives(key id, r gatekeeper.Release) bool {
	return key.name == RolledBack && key.severity == critical && (r.State == gatekeeper.Verifying || r.Outcome == gatekeeper.OutcomeRolledBack)
}

// paged says whether what key only tells stands as a page already.
func (b *book) paged(key id) bool {
	page := b.alerts[id{key.release, key.name, critical}]
	return key.severity == warning && page != nil && page.resolved.IsZero()
}

// put adds or changes an alert and says whether it is a new one.
func (b *book) put(key id, r gatekeeper.Release, f gatekeeper.Fact, s standing) (added bool) {
	a := b.alerts[key]
	if a == nil || !a.resolved.IsZero() {
		added = a == nil
		a = &alert{starts: s.Since, labels: models.LabelSet{
			"alertname": s.name, "severity": string(s.Severity), "release": clip(r.ID),
			"service": clip(r.Service), "environment": clip(r.Environment), "version": clip(r.Version),
		}}
		maps.DeleteFunc(a.labels, func(_, value string) bool { return value == "" })
		b.alerts[key] = a
	}
	annotations := models.LabelSet{"summary": clip(s.Summary), "what_to_do": clip(s.Todo)}
	if a.link = notify.Link(b.channel.ExternalURL, r); a.link != "" {
		annotations["link"] = a.link
	}
	// The picture is that of the news: one that a later fact has would only have the alert sent again.
	if p := b.channel.Picture(r, f); p != nil && p.URL != "" {
		annotations["picture"] = p.URL
		if a.annotations["summary"] == annotations["summary"] && a.annotations["picture"] != "" {
			annotations["picture"] = a.annotations["picture"]
		}
	}
	if !maps.Equal(a.annotations, annotations) || !a.until.Equal(s.Until) {
		b.version++
		a.annotations, a.until, a.version = annotations, s.Until, b.version
	}
	return added
}

func (b *book) resolve(a *alert, at time.Time) {
	b.version++
	a.resolved, a.version = at, b.version
}

// dropOldest prefers what is resolved already.
func (b *book) dropOldest() {
	oldest := slices.MinFunc(slices.Collect(maps.Keys(b.alerts)), func(x, y id) int {
		a, c := b.alerts[x], b.alerts[y]
		if a.resolved.IsZero() != c.resolved.IsZero() {
			if c.resolved.IsZero() {
				return -1
			}
			return 1
		}
		return a.starts.Compare(c.starts)
	})
	delete(b.alerts, oldest)
}

// sent is what one Alertmanager last got of an alert.
type sent struct {
	version int64
	at      time.Time
}

// delivery is an alert on its way to one Alertmanager.
type delivery struct {
	id      id
	version int64
	alert   *models.PostableAlert
}

// due gives what an Alertmanager that has got seen must get at now: what has changed, and what it
// got as long ago as resend. next is when to ask again at the latest.
func (b *book) due(now time.Time, seen map[id]sent, resend time.Duration) (out []delivery, next time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expire(now)
	maps.DeleteFunc(seen, func(key id, _ sent) bool { return b.alerts[key] == nil })
	next = now.Add(resend)
	for key, a := range b.alerts {
		if a.resolved.IsZero() && !a.until.IsZero() {
			next = earliest(next, a.until)
		}
		if last := seen[key]; last.version == a.version && now.Before(last.at.Add(resend)) {
			next = earliest(next, last.at.Add(resend))
			continue
		}
		out = append(out, delivery{id: key, version: a.version, alert: a.postable(now, resend)})
	}
	// Oldest news first: what happened first is told first.
	slices.SortFunc(out, func(x, y delivery) int { return cmp.Compare(x.version, y.version) })
	return out, next
}

// expire ends what stands until a time that has come, and forgets what was resolved long ago.
func (b *book) expire(now time.Time) {
	for key, a := range b.alerts {
		switch {
		case !a.resolved.IsZero() && !now.Before(a.resolved.Add(resolvedFor)):
			delete(b.alerts, key)
		case a.resolved.IsZero() && !a.until.IsZero() && !now.Before(a.until):
			b.resolve(a, a.until)
		}
	}
}

// postable gives the alert as it is sent at now: with an end four resends ahead while it stands,
// so that three may be lost before Alertmanager takes it for resolved.
func (a *alert) postable(now time.Time, resend time.Duration) *models.PostableAlert {
	ends := a.resolved
	if ends.IsZero() {
		ends = now.Add(4 * resend)
	}
	return &models.PostableAlert{
		Annotations: a.annotations, StartsAt: strfmt.DateTime(a.starts), EndsAt: strfmt.DateTime(ends),
		Alert: models.Alert{Labels: a.labels, GeneratorURL: strfmt.URI(a.link)},
	}
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func clip(text string) string { return notify.Clip(text, maxText) }
