package api

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/engine"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// The reads of Prometheus's own HTTP API: what asks a Prometheus for its rules and alerts, such as
// Grafana, sees those of the open releases (web/api/v1/api.go of Prometheus).

// Rules tells how the rules of open releases stand.
type Rules interface {
	Standings(ctx context.Context) ([]engine.Standing, error)
}

// promGroup is a rule group of one release. Its file is the release's id and the file's name, for
// several releases may hold the same.
type promGroup struct {
	Name           string     `json:"name"`
	File           string     `json:"file"`
	Rules          []promRule `json:"rules"`
	Interval       float64    `json:"interval"` // seconds
	Limit          int        `json:"limit"`
	EvaluationTime float64    `json:"evaluationTime"` // seconds
	LastEvaluation time.Time  `json:"lastEvaluation"`
}

type promRule struct {
	State          string            `json:"state"` // unknown, inactive, pending or firing
	Name           string            `json:"name"`
	Query          string            `json:"query"`
	Duration       float64           `json:"duration"`      // seconds
	KeepFiringFor  float64           `json:"keepFiringFor"` // seconds
	Labels         map[string]string `json:"labels"`
	Annotations    map[string]string `json:"annotations"`
	Alerts         []promAlert       `json:"alerts"`
	Health         string            `json:"health"` // unknown, ok or err
	LastError      string            `json:"lastError,omitempty"`
	EvaluationTime float64           `json:"evaluationTime"` // seconds
	LastEvaluation time.Time         `json:"lastEvaluation"`
	Type           string            `json:"type"`
}

type promAlert struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	State       string            `json:"state"`
	ActiveAt    time.Time         `json:"activeAt"`
	Value       string            `json:"value"`
}

// promAnswer is the envelope of every answer.
type promAnswer struct {
	Status    string `json:"status"`
	Data      any    `json:"data,omitempty"`
	ErrorType string `json:"errorType,omitempty"`
	Error     string `json:"error,omitempty"`
}

// promRead serves a read of Prometheus's API; read's error is the request's fault.
func (s *server) promRead(read func([]engine.Standing, url.Values) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, p := s.gate.admit(r, ScopeRead)
		if p != nil {
			challenge(w.Header(), p)
			writeProblem(w, p)
			return
		}
		all, err := s.Engine.Standings(r.Context())
		if err != nil {
			answerProm(w, http.StatusServiceUnavailable, promAnswer{Status: "error", ErrorType: "unavailable", Error: err.Error()})
			return
		}
		all = slices.DeleteFunc(all, func(one engine.Standing) bool { return !who.sees(one.Release.Service) })
		data, err := read(all, r.URL.Query())
		if err != nil {
			answerProm(w, http.StatusBadRequest, promAnswer{Status: "error", ErrorType: "bad_data", Error: err.Error()})
			return
		}
		answerProm(w, http.StatusOK, promAnswer{Status: "success", Data: data})
	})
}

func answerProm(w http.ResponseWriter, status int, a promAnswer) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(a) // the client has gone: nobody is left to tell
}

// promAlerts is GET /prometheus/api/v1/alerts.
func promAlerts(all []engine.Standing, _ url.Values) (any, error) {
	alerts := []promAlert{}
	for _, one := range all {
		alerts = append(alerts, alertsOf(one)...)
	}
	return map[string]any{"alerts": alerts}, nil
}

// promRules is GET /prometheus/api/v1/rules.
func promRules(all []engine.Standing, q url.Values) (any, error) {
	f, err := newRuleFilter(q)
	if err != nil {
		return nil, err
	}
	groups := []*promGroup{}
	for _, one := range all {
		file := one.ID + "/" + one.Rule.File
		if !f.passes(one.Rule, file) {
			continue
		}
		rule := promRuleOf(one)
		if f.withoutAlerts {
			rule.Alerts = nil
		}
		i := slices.IndexFunc(groups, func(g *promGroup) bool { return g.Name == one.Rule.Group && g.File == file })
		if i < 0 {
			i = len(groups)
			groups = append(groups, &promGroup{Name: one.Rule.Group, File: file, Interval: one.Rule.Interval.Seconds(), Limit: one.Rule.Limit})
		}
		g := groups[i]
		g.Rules = append(g.Rules, rule)
		g.EvaluationTime += rule.EvaluationTime
		if rule.LastEvaluation.After(g.LastEvaluation) {
			g.LastEvaluation = rule.LastEvaluation
		}
	}
	return map[string]any{"groups": groups}, nil
}

// ruleFilter is what a request for rules asks for.
type ruleFilter struct {
	noAlerting, withoutAlerts bool
	names, groups, files      []string
	selectors                 [][]*labels.Matcher // one of them has to hold; none: all pass
}

func newRuleFilter(q url.Values) (ruleFilter, error) {
	f := ruleFilter{names: q["rule_name[]"], groups: q["rule_group[]"], files: q["file[]"]}
	switch kind := strings.ToLower(q.Get("type")); kind {
	case "", "alert":
	case "record": // a release keeps nothing of what its file records
		f.noAlerting = true
	default:
		return f, fmt.Errorf("invalid parameter \"type\": not supported value %q", kind)
	}
	if text := q.Get("exclude_alerts"); text != "" {
		var err error
		if f.withoutAlerts, err = strconv.ParseBool(strings.ToLower(text)); err != nil {
			return f, fmt.Errorf("invalid parameter \"exclude_alerts\": %q is neither true nor false", text)
		}
	}
	for _, text := range q["match[]"] {
		selector, err := parser.NewParser(parser.Options{}).ParseMetricSelector(text)
		if err != nil {
			return f, fmt.Errorf("invalid parameter \"match[]\": %w", err)
		}
		f.selectors = append(f.selectors, selector)
	}
	return f, nil
}

func (f ruleFilter) passes(r rules.Rule, file string) bool {
	among := func(list []string, one string) bool { return len(list) == 0 || slices.Contains(list, one) }
	if f.noAlerting || !among(f.names, r.Alert) || !among(f.groups, r.Group) || !among(f.files, file) {
		return false
	}
	return len(f.selectors) == 0 || slices.ContainsFunc(f.selectors, func(selector []*labels.Matcher) bool {
		return !slices.ContainsFunc(selector, func(m *labels.Matcher) bool {
			value := r.Labels[m.Name]
			return strings.Contains(value, "{{") || !m.Matches(value) // a template has no value of its own
		})
	})
}

func promRuleOf(one engine.Standing) promRule {
	r := promRule{
		State: "unknown", Health: "unknown", Type: "alerting", Name: one.Rule.Alert, Query: one.Rule.Expr,
		Duration: one.Rule.For.Seconds(), KeepFiringFor: one.Rule.KeepFiringFor.Seconds(),
		Labels: notNil(one.Rule.Labels), Annotations: notNil(one.Rule.Annotations), Alerts: alertsOf(one),
		EvaluationTime: time.Duration(one.Latest.Took).Seconds(), LastEvaluation: one.Latest.At,
	}
	switch one.Latest.Verdict {
	case "":
	case gatekeeper.NoAnswer:
		r.Health, r.LastError = "err", one.Latest.Detail
	default:
		r.Health = "ok"
	}
	if one.Latest.Verdict != "" {
		r.State = "inactive"
	}
	for _, a := range r.Alerts {
		if r.State != "firing" {
			r.State = a.State
		}
	}
	return r
}

// alertsOf gives a rule's active alerts, with the release that they are about among their labels.
// Firing is what has been unhealthy for its `for`, of time that was answered for.
func alertsOf(one engine.Standing) []promAlert {
	alerts := []promAlert{}
	for _, active := range one.Track.Active {
		a := promAlert{State: "pending", ActiveAt: active.ActiveAt, Annotations: map[string]string{}}
		if one.At.Sub(active.ActiveAt)-time.Duration(active.Unanswered) >= one.Rule.For {
			a.State = "firing"
		}
		a.Labels = labelsOf(one, active.Identity)
		a.Value, a.Annotations["summary"] = seenOf(one.Bad, active.Identity)
		if a.Annotations["summary"] == "" {
			delete(a.Annotations, "summary")
		}
		alerts = append(alerts, a)
	}
	return alerts
}

// labelsOf gives an alert's labels; of an identity that was too long for the journal those of the rule.
func labelsOf(one engine.Standing, identity string) map[string]string {
	set, whole := rules.AlertLabels(identity)
	if !whole {
		set = maps.Clone(notNil(one.Rule.Labels))
		maps.DeleteFunc(set, func(_, value string) bool { return strings.Contains(value, "{{") })
		set["alertname"] = one.Rule.Alert
	}
	for name, value := range map[string]string{
		"release": one.ID, "service": one.Release.Service, "environment": one.Release.Environment, "version": one.Release.Version,
	} {
		if _, own := set[name]; !own {
			set[name] = value
		}
	}
	return set
}

// seenOf gives the value of an alert when it was seen last, as far as it was kept, and the summary of
// the worst.
func seenOf(bad gatekeeper.Reading, identity string) (value, summary string) {
	i := slices.Index(bad.Active, identity)
	if i < 0 && len(bad.Active) == 0 && bad.Count == 1 { // read from the journal, which keeps the samples only
		i = 0
	}
	if i < 0 || i >= len(bad.Samples) {
		return "NaN", ""
	}
	if i == 0 {
		summary = bad.Summary
	}
	return strconv.FormatFloat(float64(bad.Samples[i].Value), 'e', -1, 64), summary
}

func notNil(set map[string]string) map[string]string {
	if set == nil {
		return map[string]string{}
	}
	return set
}
