package webhooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

// receiver remembers what was delivered and answers with err.
type receiver struct {
	calls  int
	sender string
	alerts []gatekeeper.Alert
	err    error
}

func (r *receiver) deliver(_ context.Context, sender string, alerts []gatekeeper.Alert) (int, int, error) {
	r.calls++
	r.sender, r.alerts = sender, alerts
	if r.err != nil {
		return 0, 0, r.err
	}
	return 1, len(alerts) - 1, nil
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func newWebhooks(t testing.TB, r *receiver) *Webhooks {
	t.Helper()
	w, err := New(Config{Deliver: r.deliver, Log: discard(), Registerer: prometheus.NewRegistry()})
	require.NoError(t, err)
	return w
}

func post(h http.Handler, body string) (int, map[string]any) {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body)))
	var answer map[string]any
	_ = json.Unmarshal(rec.Body.Bytes(), &answer)
	return rec.Code, answer
}

func message4(alerts string) string {
	return `{"version":"4","groupKey":"{}","status":"firing","receiver":"gatekeeper","truncatedAlerts":0,"alerts":[` + alerts + `]}`
}

func one(status, more string) string {
	return `{"status":"` + status + `","labels":{"alertname":"HighErrorRate","service":"checkout"},"startsAt":"2026-11-01T10:00:00Z","endsAt":"0001-01-01T00:00:00Z"` + more + `}`
}

func TestAlertmanagerReadsEachAlertsOwnStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r receiver
		w := newWebhooks(t, &r)
		status, answer := post(w.Alertmanager(), message4(
			one("firing", `,"annotations":{"summary":"5xx above 1%"},"fingerprint":"x"`)+`,
			{"status":"resolved","labels":{"alertname":"Slow","b":"2","a":"1\"","prometheus_replica":"p-0"},
			 "startsAt":"2026-11-01T10:00:00Z","endsAt":"2026-11-01T10:05:00Z"}`))
		require.Equal(t, http.StatusOK, status)
		require.EqualValues(t, 1, answer["matched"])
		require.Equal(t, "alertmanager", r.sender)
		start := time.Date(2026, 11, 1, 10, 0, 0, 0, time.UTC)
		require.Equal(t, []gatekeeper.Alert{
			{
				Key: `HighErrorRate{service="checkout"}`, Name: "HighErrorRate", Sender: "alertmanager", Firing: true,
				Labels:  map[string]string{"alertname": "HighErrorRate", "service": "checkout"},
				Summary: "5xx above 1%", StartsAt: start, SeenAt: time.Now().UTC(),
			},
			{
				Key: `Slow{a="1\"",b="2"}`, Name: "Slow", Sender: "alertmanager",
				Labels:   map[string]string{"alertname": "Slow", "a": `1"`, "b": "2"},
				StartsAt: start, EndsAt: start.Add(5 * time.Minute), SeenAt: time.Now().UTC(),
			},
		}, r.alerts)
	})
}

func TestPrometheusTellsFiringFromResolvedByItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now().UTC()
		stamp := func(d time.Duration) string { return now.Add(d).Format(time.RFC3339Nano) }
		var r receiver
		w := newWebhooks(t, &r)
		body := fmt.Sprintf(`[
			{"labels":{"alertname":"A"},"startsAt":%q,"endsAt":%q,"generatorURL":"http://prometheus/graph"},
			{"labels":{"alertname":"B"},"startsAt":%q,"endsAt":%q,"annotations":{"description":"d"}},
			{"labels":{"alertname":"C"}}, {"labels":{"alertname":"D","empty":""},"endsAt":%q}]`,
			stamp(-time.Minute), stamp(4*time.Minute), stamp(-time.Minute), stamp(0), stamp(-time.Hour))
		status, _ := post(w.Prometheus(), body)
		require.Equal(t, http.StatusOK, status)
		require.Len(t, r.alerts, 4)
		require.True(t, r.alerts[0].Firing)
		require.Equal(t, now.Add(4*time.Minute), r.alerts[0].EndsAt)
		require.False(t, r.alerts[1].Firing, "an end that has come is a resolve")
		require.Equal(t, "d", r.alerts[1].Summary)
		require.True(t, r.alerts[2].Firing)
		require.Equal(t, now, r.alerts[2].StartsAt)
		require.Equal(t, now.Add(resolveTimeout), r.alerts[2].EndsAt)
		require.False(t, r.alerts[3].Firing)
		require.Equal(t, "D", r.alerts[3].Key, "an empty label is no label")
		require.Equal(t, "prometheus", r.sender)
	})
}

func TestReplicasOfOneSenderAreOneAlert(t *testing.T) {
	var r receiver
	w := newWebhooks(t, &r)
	status, _ := post(w.Prometheus(), `[
		{"labels":{"alertname":"A","x":"1","prometheus_replica":"a"},"startsAt":"2026-11-01T10:00:00Z"},
		{"labels":{"x":"1","alertname":"A","replica":"b","__replica__":"c"},"startsAt":"2026-11-01T10:00:30Z"}]`)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, r.alerts[0].Key, r.alerts[1].Key)
	require.Equal(t, r.alerts[0].Labels, r.alerts[1].Labels)
}

func TestRefusals(t *testing.T) {
	wide := `{"alertname":"A"`
	for i := range maxLabels {
		wide += fmt.Sprintf(`,"l%d":"x"`, i)
	}
	fat := `{"alertname":"A"`
	for i := range 8 {
		fat += fmt.Sprintf(`,"l%d":%q`, i, strings.Repeat("x", 1200))
	}
	for name, c := range map[string]struct {
		body string
		says string
	}{
		"empty":            {``, "not a message"},
		"half":             {message4(one("firing", ""))[:100], "not a message"},
		"twice":            {message4("") + message4(""), "not a message"},
		"array":            {`[]`, "not a message"},
		"custom payload":   {`{"text":"alert!"}`, "custom payload"},
		"old version":      {`{"version":"3","alerts":[]}`, `version "3"`},
		"no alerts":        {`{"version":"4"}`, `no "alerts"`},
		"negative":         {`{"version":"4","alerts":[],"truncatedAlerts":-1}`, "negative"},
		"odd status":       {message4(one("pending", "")), "alert 1: its status"},
		"null":             {message4(`null`), "status"},
		"a number":         {message4(`7`), "alert 1"},
		"no labels":        {message4(`{"status":"firing"}`), "no labels"},
		"no name":          {message4(`{"status":"firing","labels":{"a":"b"}}`), "alertname is missing"},
		"labels of labels": {message4(`{"status":"firing","labels":{"a":{}}}`), "alert 1"},
		"ends before":      {message4(`{"status":"resolved","labels":{"alertname":"A"},"startsAt":"2026-11-01T10:00:00Z","endsAt":"2026-11-01T09:00:00Z"}`), "ends before"},
		"many labels":      {message4(`{"status":"firing","labels":` + wide + `}}`), "65 labels"},
		"fat labels":       {message4(`{"status":"firing","labels":` + fat + `}}`), "more than 8192"},
		"long value":       {message4(`{"status":"firing","labels":{"alertname":"A","b":"` + strings.Repeat("x", maxLabel+1) + `"}}`), "too long"},
		"many alerts":      {message4(strings.Repeat(one("firing", "")+",", maxAlerts) + one("firing", "")), "1001 alerts"},
	} {
		t.Run(name, func(t *testing.T) {
			var r receiver
			w := newWebhooks(t, &r)
			status, answer := post(w.Alertmanager(), c.body)
			require.Equal(t, http.StatusBadRequest, status)
			require.Contains(t, answer["detail"], c.says)
			require.EqualValues(t, http.StatusBadRequest, answer["status"])
			require.Equal(t, "Bad Request", answer["title"])
			require.Zero(t, r.calls)
		})
	}
	for name, body := range map[string]string{
		"object": `{}`, "null": `null`, "webhook": message4(""), "bad date": `[{"labels":{"alertname":"A"},"startsAt":"yesterday"}]`,
		"bad link": `[{"labels":{"alertname":"A"},"generatorURL":"%zz"}]`, "null alert": `[null]`, "no labels": `[{}]`,
	} {
		t.Run("prometheus "+name, func(t *testing.T) {
			var r receiver
			status, answer := post(newWebhooks(t, &r).Prometheus(), body)
			require.Equal(t, http.StatusBadRequest, status)
			require.NotEmpty(t, answer["detail"])
			require.Zero(t, r.calls)
		})
	}
}

func TestRefusalsOfRequests(t *testing.T) {
	var r receiver
	h := newWebhooks(t, &r).Alertmanager()
	serve := func(req *http.Request) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, req)
		require.Equal(t, "application/problem+json", rec.Header().Get("Content-Type"))
		return rec
	}
	rec := serve(httptest.NewRequest(http.MethodGet, "/", nil))
	require.Equal(t, http.StatusMethodNotAllowed, rec.Code)
	require.Equal(t, "POST", rec.Header().Get("Allow"))
	big := message4(one("firing", `,"annotations":{"summary":"`+strings.Repeat("x", maxBody)+`"}`))
	require.Equal(t, http.StatusRequestEntityTooLarge, serve(httptest.NewRequest(http.MethodPost, "/", strings.NewReader(big))).Code)
	zipped := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("x"))
	zipped.Header.Set("Content-Encoding", "gzip")
	require.Equal(t, http.StatusUnsupportedMediaType, serve(zipped).Code)
	broken := httptest.NewRequest(http.MethodPost, "/", io.MultiReader(strings.NewReader(`{"ver`), failing{}))
	require.Equal(t, http.StatusServiceUnavailable, serve(broken).Code, "what broke off may come again")
	require.Zero(t, r.calls)
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestWrongAlertsDoNotKeepOutTheRightOnes(t *testing.T) {
	var r receiver
	w := newWebhooks(t, &r)
	status, answer := post(w.Prometheus(), `[{"labels":{}},{"labels":{"alertname":"A"}},{"labels":{"alertname":"B"},"startsAt":"x"}]`)
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, answer["detail"], "2 of 3 alerts were refused, the others were taken: alert 1:")
	require.Len(t, r.alerts, 1)
	require.Equal(t, "A", r.alerts[0].Name)
	require.EqualValues(t, 2, testutil.ToFloat64(w.counters.refused.WithLabelValues("prometheus")))
	require.EqualValues(t, 3, testutil.ToFloat64(w.counters.received.WithLabelValues("prometheus")))
}

func TestAcknowledgesOnlyWhatIsDurable(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		status int
		shows  string
	}{
		"unavailable": {gatekeeper.Errorf(gatekeeper.CodeUnavailable, "free some space", "the journal is full"), 503, "the journal is full"},
		"conflict":    {gatekeeper.Errorf(gatekeeper.CodeConflict, "", "somebody was first"), 503, "somebody was first"},
		"unknown":     {errors.New("password=s3cret"), 503, "send them again"},
		"internal":    {gatekeeper.Errorf(gatekeeper.CodeInternal, "", "s3cret"), 503, "send them again"},
		"invalid":     {gatekeeper.Errorf(gatekeeper.CodeInvalid, "", "no such thing"), 400, "no such thing"},
	} {
		t.Run(name, func(t *testing.T) {
			r := receiver{err: c.err}
			w := newWebhooks(t, &r)
			status, answer := post(w.Alertmanager(), message4(one("firing", "")))
			require.Equal(t, c.status, status)
			require.Contains(t, answer["detail"], c.shows)
			require.NotContains(t, fmt.Sprint(answer), "s3cret")
			require.Zero(t, testutil.ToFloat64(w.counters.matched.WithLabelValues("alertmanager")))
		})
	}
	var r receiver
	status, _ := post(newWebhooks(t, &r).Prometheus(), `[]`)
	require.Equal(t, http.StatusOK, status)
	require.Zero(t, r.calls, "nothing to write down")
}

func TestTruncationIsLoud(t *testing.T) {
	var log strings.Builder
	var r receiver
	registry := prometheus.NewRegistry()
	w, err := New(Config{Deliver: r.deliver, Log: slog.New(slog.NewTextHandler(&log, nil)), Registerer: registry})
	require.NoError(t, err)
	status, answer := post(w.Alertmanager(), strings.Replace(message4(one("firing", "")), `"truncatedAlerts":0`, `"truncatedAlerts":7`, 1))
	require.Equal(t, http.StatusOK, status)
	require.EqualValues(t, 7, answer["truncated"])
	require.Contains(t, log.String(), "level=ERROR")
	require.Contains(t, log.String(), "left_out=7")
	require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP gatekeeper_webhook_alerts_truncated_total Alerts that the sender left out of its request and that are lost.
# TYPE gatekeeper_webhook_alerts_truncated_total counter
gatekeeper_webhook_alerts_truncated_total{sender="alertmanager"} 7
`), "gatekeeper_webhook_alerts_truncated_total"))
	problems, err := testutil.GatherAndLint(registry)
	require.NoError(t, err)
	require.Empty(t, problems)
}

func TestOwnAlertsDoNotComeBack(t *testing.T) {
	var r receiver
	w := newWebhooks(t, &r)
	status, answer := post(w.Alertmanager(), message4(
		`{"status":"firing","labels":{"alertname":"GatekeeperReleaseHeld","release":"r1","service":"checkout"}}`))
	require.Equal(t, http.StatusOK, status)
	require.EqualValues(t, 1, answer["dropped"])
	require.Zero(t, r.calls)
}

func FuzzAlertmanager(f *testing.F) {
	f.Add([]byte(message4(one("firing", "") + "," + one("resolved", ""))))
	f.Add([]byte(`{"version":"4","alerts":[null,7,{"status":"firing","labels":{"alertname":"\ud800"}}],"truncatedAlerts":3}`))
	fuzz(f, (*Webhooks).decodeAlertmanager)
}

func FuzzPrometheus(f *testing.F) {
	f.Add([]byte(`[{"labels":{"alertname":"A","b":"c"},"startsAt":"2026-11-01T10:00:00Z","endsAt":"2026-11-01T10:00:00Z","generatorURL":"http://x"}]`))
	f.Add([]byte(`[null,{"labels":null},{"labels":{"":""}},{"startsAt":"","endsAt":null}]`))
	fuzz(f, (*Webhooks).decodePrometheus)
}

// fuzz checks that whatever comes is refused or gives alerts that the domain can keep.
func fuzz(f *testing.F, decode func(*Webhooks, []byte, time.Time) (batch, error)) {
	w := newWebhooks(f, &receiver{})
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, body []byte) {
		b, err := decode(w, body, now)
		if err != nil {
			require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(err))
			return
		}
		require.LessOrEqual(t, len(b.alerts)+b.wrongN, maxAlerts)
		for _, a := range b.alerts {
			require.NotEmpty(t, a.Name)
			require.NotEmpty(t, a.Key)
			require.False(t, a.StartsAt.IsZero())
			require.True(t, a.Firing || !a.EndsAt.IsZero())
			require.LessOrEqual(t, len(a.Summary), gatekeeper.MaxEvidenceText)
			data, err := json.Marshal(a)
			require.NoError(t, err)
			var back gatekeeper.Alert
			require.NoError(t, json.Unmarshal(data, &back))
			require.Equal(t, a, back)
		}
	})
}
