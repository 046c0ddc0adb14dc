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
	sets, err := r.alertLabels(ctx, e, samples)
	if err != nil {
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

// alertLabels gives the labels of the alert that each sample is: the sample's without its name, the
// rule's over them, and the alert's name. Two samples with the same are an error, as in Prometheus.
func (r *BoundRule) alertLabels(ctx context.Context, e *expander, samples []gatekeeper.Sample) ([]labels.Labels, error) {
	all := make([]labels.Labels, len(samples))
	known := make(map[string]bool, len(samples))
	for i, s := range samples {
		b := labels.NewBuilder(labels.FromMap(s.Labels))
		b.Del(model.MetricNameLabel)
		for name, text := range r.Labels {
			b.Set(name, e.expand(ctx, text, s))
		}
		b.Set(model.AlertNameLabel, r.Alert)
		all[i] = b.Labels()
		id := all[i].String()
		if known[id] {
			return nil, fmt.Errorf("two samples are one alert, %s: a label of the rule hides the label that tells them apart", shortIdentity(id))
		}
		known[id] = true
	}
	return all, nil
}
