package ruletest

import (
	"context"
	"fmt"
	"time"

	prom "github.com/prometheus/prometheus/promql"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// evaluation is the rule files' groups under evaluation, slot by slot.
type evaluation struct {
	store *store
	rules []evaluated // in order
}

// evaluated is one rule with its state.
type evaluated interface {
	name() string
	at(ctx context.Context, s *store, slot time.Time) error
}

// newEvaluation binds the rules as Prometheus has them: nothing in them is a variable.
func newEvaluation(f *File, t *Test, s *store) (*evaluation, error) {
	e := &evaluation{store: s}
	for _, g := range f.groups {
		for _, r := range g.rules {
			if r.record != nil {
				e.rules = append(e.rules, &recording{rules.NewRecorder(*r.record), r.record.Record})
				continue
			}
			one := &rules.File{Rules: []rules.Rule{*r.alert}}
			bound, err := one.Bind(rules.Vars{ExternalLabels: t.ExternalLabels, ExternalURL: t.ExternalURL, AsWritten: true})
			if err != nil {
				return nil, fmt.Errorf("%s: alert %s: %w", g.file, r.alert.Alert, err)
			}
			e.rules = append(e.rules, newAlerting(bound.Rules[0]))
		}
	}
	return e, nil
}

// at evaluates every rule at a slot, with the input samples up to it.
func (e *evaluation) at(ctx context.Context, slot time.Time, since time.Duration) (failed []error) {
	if err := e.store.until(ctx, slot); err != nil {
		return []error{fmt.Errorf("at %s: %w", clock(since), err)}
	}
	for _, r := range e.rules {
		err := r.at(ctx, e.store, slot)
		if refused := e.store.refused(); err == nil {
			err = refused
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("at %s: rule %s can't be evaluated: %w", clock(since), r.name(), err))
		}
	}
	return failed
}

// firing gives the firing alerts of a name.
func (e *evaluation) firing(alertname string) (found []rules.Alert) {
	for _, r := range e.rules {
		a, ok := r.(*alerting)
		if !ok || a.name() != alertname {
			continue
		}
		for _, one := range a.alerts {
			if one.Firing {
				found = append(found, one)
			}
		}
	}
	return found
}

type recording struct {
	*rules.Recorder
	record string
}

func (r *recording) name() string { return r.record }

func (r *recording) at(ctx context.Context, s *store, slot time.Time) error {
	return r.Record(ctx, s.asked(false).query, s, slot)
}

// alerting is an alerting rule with its alerts, which Prometheus records as series too.
type alerting struct {
	rule   *rules.BoundRule
	alerts []rules.Alert
	shown  []*rules.Recorder // of ALERTS and ALERTS_FOR_STATE
}

func newAlerting(rule *rules.BoundRule) *alerting {
	a := &alerting{rule: rule}
	for _, name := range []string{"ALERTS", "ALERTS_FOR_STATE"} {
		a.shown = append(a.shown, rules.NewRecorder(rules.Recording{Record: name, Expr: name, QueryOffset: rule.QueryOffset}))
	}
	return a
}

func (a *alerting) name() string { return a.rule.Alert }

func (a *alerting) at(ctx context.Context, s *store, slot time.Time) error {
	active, err := a.rule.Active(ctx, s.asked(false), slot)
	if err != nil {
		return err
	}
	if a.alerts, err = a.rule.Follow(a.alerts, active, slot); err != nil {
		return err
	}
	for i, samples := range []prom.Vector{a.states(), a.since()} {
		given := func(context.Context, string, time.Time) (prom.Vector, error) { return samples, nil }
		if err := a.shown[i].Record(ctx, given, s, slot); err != nil {
			return err
		}
	}
	return nil
}

// states are the samples of ALERTS.
func (a *alerting) states() (v prom.Vector) {
	for _, one := range a.alerts {
		state := "pending"
		if one.Firing {
			state = "firing"
		}
		b := labels.NewBuilder(labels.FromMap(one.Labels))
		b.Set("alertstate", state)
		v = append(v, prom.Sample{Metric: b.Labels(), F: 1})
	}
	return v
}

// since are the samples of ALERTS_FOR_STATE.
func (a *alerting) since() (v prom.Vector) {
	for _, one := range a.alerts {
		v = append(v, prom.Sample{Metric: labels.FromMap(one.Labels), F: float64(one.ActiveAt.Unix())})
	}
	return v
}
