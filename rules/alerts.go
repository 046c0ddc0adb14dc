package rules

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/gatekeeper-engine/gatekeeper"
)

// Alert is one alert of a rule at a slot, as Prometheus has it (rules/alerting.go).
type Alert struct {
	Labels      map[string]string // the sample's without its name, the rule's over them, and alertname
	Annotations map[string]string
	Value       gatekeeper.Float // at the last slot that saw it; 0 for a native histogram
	Firing      bool             // active for the rule's `for`; else pending
	ActiveAt    time.Time        // the slot that saw it first
	KeptSince   time.Time        // the first slot without it, since which keep_firing_for keeps it; zero: it is active
}

// Active gives the alerts that the rule's expression makes at a slot, each pending since then, sorted
// by their labels. It is Prometheus's own view: nothing is said of traffic or missing data. An
// error of the backend, and two samples that are one alert, fail it as a whole.
func (r *BoundRule) Active(ctx context.Context, q Querier, at time.Time) ([]Alert, error) {
	q, err := r.over(q)
	if err != nil {
		return nil, err
	}
	samples, err := ask(ctx, q, r.condition.whole, at.Add(-r.QueryOffset))
	if err != nil {
		return nil, err
	}
	e := r.expander(q, at)
	sets := make([]labels.Labels, len(samples))
	for i, s := range samples {
		sets[i], _ = r.alertLabels(ctx, e, s)
	}
	if err := differ(sets); err != nil {
		return nil, err
	}
	active := make([]Alert, len(samples))
	for i, s := range samples {
		one := Alert{Labels: sets[i].Map(), Annotations: make(map[string]string, len(r.Annotations)), Value: s.Value, ActiveAt: at}
		for name, text := range r.Annotations {
			one.Annotations[name] = e.expand(ctx, text, s)
		}
		active[i] = one
	}
	sortAlerts(active)
	return active, nil
}

// Follow gives a rule's alerts after a slot: was are those after the slot before, active what
// [BoundRule.Active] gave. They are sorted by their labels. A slot whose evaluation failed is left
// out: it changes nothing. More alerts than the group's limit are an error, and none is left.
//
// This is Prometheus's state machine, for tests and for showing. Releases are decided by
// [gatekeeper.Track], which does not count time that nobody answered for.
func (r Rule) Follow(was, active []Alert, at time.Time) ([]Alert, error) {
	known := make(map[string]Alert, len(was))
	for _, a := range was {
		known[identity(a.Labels)] = a
	}
	now := make(map[string]Alert, len(active))
	for _, a := range active {
		id := identity(a.Labels)
		if before, ok := known[id]; ok {
			a.ActiveAt, a.Firing = before.ActiveAt, before.Firing
		}
		now[id] = a
	}
	for id, a := range known {
		if _, still := now[id]; still || !a.Firing {
			continue
		}
		if a.KeptSince.IsZero() {
			a.KeptSince = at
		}
		if at.Sub(a.KeptSince) < r.KeepFiringFor {
			now[id] = a
		}
	}
	if r.Limit > 0 && len(now) > r.Limit {
		return nil, fmt.Errorf("exceeded limit of %d with %d alerts", r.Limit, len(now))
	}
	out := make([]Alert, 0, len(now))
	for _, a := range now {
		a.Firing = a.Firing || at.Sub(a.ActiveAt) >= r.For
		out = append(out, a)
	}
	sortAlerts(out)
	return out, nil
}

func sortAlerts(alerts []Alert) {
	slices.SortFunc(alerts, func(a, b Alert) int { return strings.Compare(identity(a.Labels), identity(b.Labels)) })
}

// alertLabels gives the labels of the alert that a sample is: the sample's without its name, the rule's
// over them, and the alert's name. It is not sure of them where a template failed that was not to blame.
func (r *BoundRule) alertLabels(ctx context.Context, e *expander, s gatekeeper.Sample) (set labels.Labels, sure bool) {
	b := labels.NewBuilder(labels.FromMap(s.Labels))
	b.Del(model.MetricNameLabel)
	sure = true
	for name, text := range r.Labels {
		b.Set(name, e.expand(ctx, text, s))
		sure = sure && !e.meter.failed
	}
	b.Set(model.AlertNameLabel, r.Alert)
	return b.Labels(), sure
}

// identities gives which alert each sample is. One whose labels are not sure is told by its own: the error
// that a label holds then is another every time, or the same for all.
func (r *BoundRule) identities(ctx context.Context, e *expander, samples []gatekeeper.Sample) (ids []string, unsure bool, err error) {
	var sets []labels.Labels
	for _, s := range samples {
		set, sure := r.alertLabels(ctx, e, s)
		if sure {
			sets = append(sets, set)
		} else {
			unsure = true
			b := labels.NewBuilder(labels.FromMap(s.Labels))
			set = b.Set(model.AlertNameLabel, r.Alert).Labels()
		}
		ids = append(ids, shortIdentity(set.String()))
	}
	return ids, unsure, differ(sets)
}

// differ is an error where two samples have the same labels as alerts, as in Prometheus.
func differ(sets []labels.Labels) error {
	known := make(map[string]bool, len(sets))
	for _, set := range sets {
		id := set.String()
		if known[id] {
			return fmt.Errorf("two samples are one alert, %s: a label of the rule hides the label that tells them apart", shortIdentity(id))
		}
		known[id] = true
	}
	return nil
}
