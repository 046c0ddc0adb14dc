package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"time"

	promapi "github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/engine"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// Standings makes the scripted engine tell of rules.
func (e *scripted) Standings(context.Context) ([]engine.Standing, error) { return e.standings, e.err }

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// standings are two rules of one release and one of another service's.
func standings() []engine.Standing {
	rule := rules.Rule{
		Alert: "Errors", Group: "g", File: "alerts/release.yml", Expr: `sum(x{version="2"}) > 1`, For: time.Minute, KeepFiringFor: 5 * time.Minute,
		Interval: 15 * time.Second, Limit: 9, Labels: map[string]string{"severity": "page", "pod": "{{ $labels.pod }}"}, Annotations: map[string]string{"summary": "{{ $value }} bad"},
	}
	bad := gatekeeper.Reading{
		At: noon, Verdict: gatekeeper.Unhealthy, Took: gatekeeper.Duration(20 * time.Millisecond), Summary: "7 bad",
		Active:  []string{`{alertname="Errors", pod="a", severity="page"}`, `{alertname="Errors", pod="b", service="own"}`},
		Samples: []gatekeeper.Sample{{Value: 7}, {Value: 2.5}}, Count: 2,
	}
	first := engine.Standing{
		ID: "r1", Release: gatekeeper.Opened{Service: "shop", Environment: "prod", Version: "2"}, Rule: rule, At: noon, Latest: bad, Bad: bad,
		Track: gatekeeper.Track{LastSlot: noon, Active: []gatekeeper.Active{
			{Identity: bad.Active[0], ActiveAt: noon.Add(-90 * time.Second), Unanswered: gatekeeper.Duration(30 * time.Second)},
			{Identity: bad.Active[1], ActiveAt: noon.Add(-90 * time.Second), Unanswered: gatekeeper.Duration(31 * time.Second)},
			{Identity: `{alertname="Errors", broken="<err… 0123456789abcdef`, ActiveAt: noon},
		}},
	}
	second := engine.Standing{ID: "r1", Release: first.Release, Rule: rule, Latest: gatekeeper.Reading{At: noon.Add(time.Second), Verdict: gatekeeper.NoAnswer, Detail: "no answer in time"}}
	second.Rule.Alert, second.Rule.Labels = "Slow", nil
	third := engine.Standing{ID: "r2", Release: gatekeeper.Opened{Service: "pay", Version: "9"}, Rule: rule}
	return []engine.Standing{first, second, third}
}

func prometheusClient(t *testing.T, f face, secret string) v1.API {
	t.Helper()
	c, err := promapi.NewClient(promapi.Config{Address: f.url + "/prometheus", RoundTripper: bearer(secret)})
	require.NoError(t, err)
	return v1.NewAPI(c)
}

// bearer sends a token along.
type bearer string

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if b != "" {
		r.Header.Set("Authorization", "Bearer "+string(b))
	}
	return http.DefaultTransport.RoundTrip(r)
}

// Prometheus's own client reads the rules and alerts of open releases as those of a Prometheus.
func TestRulesAsInPrometheus(t *testing.T) {
	e := newScripted()
	e.standings = standings()
	f := serve(t, Config{Engine: e})
	c := prometheusClient(t, f, "")

	found, err := c.Rules(t.Context(), nil)
	require.NoError(t, err)
	require.Len(t, found.Groups, 2)
	g := found.Groups[0]
	require.Equal(t, "g", g.Name)
	require.Equal(t, "r1/alerts/release.yml", g.File)
	require.InDelta(t, 15, g.Interval, 0)
	require.Len(t, g.Rules, 2)
	r := g.Rules[0].(v1.AlertingRule)
	require.Equal(t, "Errors", r.Name)
	require.Equal(t, `sum(x{version="2"}) > 1`, r.Query)
	require.InDelta(t, 60, r.Duration, 0)
	require.Equal(t, model.LabelSet{"severity": "page", "pod": "{{ $labels.pod }}"}, r.Labels)
	require.Equal(t, model.LabelSet{"summary": "{{ $value }} bad"}, r.Annotations)
	require.EqualValues(t, v1.RuleHealthGood, r.Health)
	require.Empty(t, r.LastError)
	require.InDelta(t, 0.02, r.EvaluationTime, 1e-9)
	require.Equal(t, noon, r.LastEvaluation)
	require.Equal(t, "firing", r.State)
	require.Equal(t, []*v1.Alert{
		{
			Labels:      model.LabelSet{"alertname": "Errors", "pod": "a", "severity": "page", "release": "r1", "service": "shop", "environment": "prod", "version": "2"},
			Annotations: model.LabelSet{"summary": "7 bad"}, State: v1.AlertStateFiring, ActiveAt: noon.Add(-90 * time.Second), Value: "7e+00",
		},
		{
			Labels:      model.LabelSet{"alertname": "Errors", "pod": "b", "service": "own", "release": "r1", "environment": "prod", "version": "2"},
			Annotations: model.LabelSet{}, State: v1.AlertStatePending, ActiveAt: noon.Add(-90 * time.Second), Value: "2.5e+00",
		},
		{
			Labels:      model.LabelSet{"alertname": "Errors", "severity": "page", "release": "r1", "service": "shop", "environment": "prod", "version": "2"},
			Annotations: model.LabelSet{}, State: v1.AlertStatePending, ActiveAt: noon, Value: "NaN",
		},
	}, r.Alerts)
	slow := g.Rules[1].(v1.AlertingRule)
	require.EqualValues(t, v1.RuleHealthBad, slow.Health)
	require.Equal(t, "no answer in time", slow.LastError)
	require.Equal(t, "inactive", slow.State)
	require.NotNil(t, slow.Labels)
	fresh := found.Groups[1].Rules[0].(v1.AlertingRule)
	require.Equal(t, "unknown", fresh.State)
	require.EqualValues(t, v1.RuleHealthUnknown, fresh.Health)

	alerts, err := c.Alerts(t.Context())
	require.NoError(t, err)
	require.Len(t, alerts.Alerts, 3)
	require.Equal(t, *r.Alerts[0], alerts.Alerts[0])
}

func TestRulesAreFiltered(t *testing.T) {
	e := newScripted()
	e.standings = standings()
	f := serve(t, Config{Engine: e})
	for query, want := range map[string]int{
		"": 3, "type=alert": 3, "type=ALERT": 3, "type=record": 0, "rule_name[]=Slow": 1, "rule_name[]=Slow&rule_name[]=Errors": 3,
		"rule_group[]=g": 3, "rule_group[]=other": 0, "file[]=r2/alerts/release.yml": 1, "file[]=alerts/release.yml": 0,
		`match[]={severity="page"}`: 2, `match[]={severity=""}`: 1, `match[]={severity=""}&match[]={severity="page"}`: 3, `match[]={pod=~".*"}`: 1,
		"rule_name[]=Errors&file[]=r1/alerts/release.yml": 1,
	} {
		var got struct {
			Status string
			Data   struct {
				Groups []struct {
					Limit int
					Rules []struct {
						KeepFiringFor float64
						Alerts        []any
					}
				}
			}
		}
		status, body := f.do("GET", "/prometheus/api/v1/rules?"+query, "")
		require.Equal(t, 200, status, body)
		require.NoError(t, json.Unmarshal([]byte(body), &got))
		n := 0
		for _, g := range got.Data.Groups {
			require.Equal(t, 9, g.Limit)
			require.InDelta(t, 300, g.Rules[0].KeepFiringFor, 0)
			n += len(g.Rules)
		}
		require.Equal(t, want, n, query)
		require.NotNil(t, got.Data.Groups, "an empty list, not null")
	}
	status, body := f.do("GET", "/prometheus/api/v1/rules?exclude_alerts=true", "")
	require.Equal(t, 200, status)
	require.NotContains(t, body, "7 bad")
	for _, query := range []string{"type=odd", "exclude_alerts=perhaps", "match[]={"} {
		status, body := f.do("GET", "/prometheus/api/v1/rules?"+query, "")
		require.Equal(t, 400, status, query)
		require.Contains(t, body, `"errorType":"bad_data"`)
	}
	e.err = errors.New("busy")
	status, body = f.do("GET", "/prometheus/api/v1/alerts", "")
	require.Equal(t, 503, status)
	require.Contains(t, body, `"status":"error"`)
}

// A token for some services sees only their rules; none at all sees nothing.
func TestRulesAreConfined(t *testing.T) {
	e := newScripted()
	e.standings = standings()
	pay, err := NewToken("pay", ciSecret, []Scope{ScopeRead})
	require.NoError(t, err)
	pay.Services = gatekeeper.Globs{"pay*"}
	f := serve(t, Config{Engine: e, Tokens: []Token{pay}})
	found, err := prometheusClient(t, f, ciSecret).Rules(t.Context(), nil)
	require.NoError(t, err)
	require.Len(t, found.Groups, 1)
	require.Equal(t, "r2/alerts/release.yml", found.Groups[0].File)
	alerts, err := prometheusClient(t, f, ciSecret).Alerts(t.Context())
	require.NoError(t, err)
	require.Empty(t, alerts.Alerts)
	for _, path := range []string{"/prometheus/api/v1/rules", "/prometheus/api/v1/alerts"} {
		require.Equal(t, 401, f.problem("GET", path, "").Status)
		require.Equal(t, 405, f.with("Authorization", "Bearer "+ciSecret).problem("POST", path, "").Status)
	}
}

// Over a real engine, from open on.
func TestRulesOverTheRealEngine(t *testing.T) {
	e := realEngine(t)
	f := serve(t, Config{Engine: e})
	_, err := e.Open(t.Context(), engine.OpenRequest{ID: "r1", Version: "2", WatchOnly: true, Deployed: true, Bundle: &rules.Bundle{
		File: "service: shop\ngroups: [{name: a, interval: 1s, rules: [{alert: Bad, expr: 'errors{version=\"${version}\"} > 1'}]}]",
	}})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		found, err := prometheusClient(t, f, "").Rules(t.Context(), nil)
		require.NoError(t, err)
		if len(found.Groups) != 1 {
			return false
		}
		r := found.Groups[0].Rules[0].(v1.AlertingRule)
		return r.State == "inactive" && r.Health == v1.RuleHealthGood && r.Query == `errors{version="2"} > 1` && !r.LastEvaluation.IsZero()
	}, 10*time.Second, 10*time.Millisecond)
}

// After a restart it is not known which sample was whose: an alert doesn't show another's value.
func TestAlertsReadFromTheJournalShowNoOthersValue(t *testing.T) {
	for count, want := range map[int]string{1: "7e+00", 2: "NaN"} {
		one := standings()[0]
		one.Bad.Active, one.Bad.Count = nil, count
		one.Bad.Samples, one.Track.Active = one.Bad.Samples[:count], one.Track.Active[:count]
		for _, a := range alertsOf(one) {
			require.Equal(t, want, a.Value)
		}
	}
}
