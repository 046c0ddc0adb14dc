package webhooks

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/servertest"
)

// gathered is a receiver for senders of their own process.
type gathered struct {
	mu     sync.Mutex
	alerts []gatekeeper.Alert
}

func (g *gathered) deliver(_ context.Context, _ string, alerts []gatekeeper.Alert) (int, int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.alerts = append(g.alerts, alerts...)
	return len(alerts), 0, nil
}

// latest gives the latest alert that fires, or the latest that does not.
func (g *gathered) latest(firing bool) (found gatekeeper.Alert) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, a := range g.alerts {
		if a.Firing == firing {
			found = a
		}
	}
	return found
}

func TestRealPrometheusSendsAlerts(t *testing.T) {
	var g gathered
	server := gatekeeperServer(t, &g)
	over := time.Now().Add(12 * time.Second).Unix() // it takes Prometheus 5s to find its Alertmanagers
	rules := fmt.Sprintf(`
groups:
  - name: g
    interval: 1s
    rules:
      - alert: Bad
        expr: vector(1) unless vector(time()) > %d
        labels: {service: checkout}
        annotations: {summary: it is bad}
`, over)
	config := fmt.Sprintf(`
global: {evaluation_interval: 1s, external_labels: {prometheus_replica: a, cluster: shop}}
rule_files: [rules.yml]
alerting: {alertmanagers: [{api_version: v2, static_configs: [{targets: [%q]}]}]}
`, server)
	servertest.Prometheus(t, config, map[string]string{"rules.yml": rules}, "--rules.alert.resend-delay=1s")

	require.Eventually(t, func() bool { return g.latest(true).Key != "" }, 30*time.Second, 50*time.Millisecond)
	a := g.latest(true)
	require.Equal(t, `Bad{cluster="shop",service="checkout"}`, a.Key)
	require.Equal(t, "it is bad", a.Summary)
	require.True(t, a.EndsAt.After(a.SeenAt), "it turns unknown when nobody sends it again")
	require.Eventually(t, func() bool { return g.latest(false).Key == a.Key }, 30*time.Second, 50*time.Millisecond)
	require.False(t, g.latest(false).EndsAt.After(g.latest(false).SeenAt))
}

func TestRealAlertmanagerCallsTheWebhook(t *testing.T) {
	var g gathered
	server := gatekeeperServer(t, &g)
	address := servertest.Alertmanager(t, fmt.Sprintf(`
route: {receiver: gatekeeper, group_by: ['...'], group_wait: 0s, group_interval: 1s}
receivers: [{name: gatekeeper, webhook_configs: [{url: "http://%s/webhooks/alertmanager"}]}]
`, server), "")
	send := func(ends time.Time) bool {
		body := fmt.Sprintf(`[{"labels":{"alertname":"Bad","service":"checkout","replica":"a"},"annotations":{"summary":"it is bad"},"startsAt":%q,"endsAt":%q}]`,
			ends.Add(-time.Hour).Format(time.RFC3339Nano), ends.Format(time.RFC3339Nano))
		resp, err := http.Post(address+"/api/v2/alerts", "application/json", strings.NewReader(body))
		if err != nil {
			return false // it is not up yet
		}
		return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	}
	require.Eventually(t, func() bool { return send(time.Now().Add(time.Minute)) }, 30*time.Second, 50*time.Millisecond)
	require.Eventually(t, func() bool { return g.latest(true).Key != "" }, 30*time.Second, 50*time.Millisecond)
	a := g.latest(true)
	require.Equal(t, `Bad{service="checkout"}`, a.Key)
	require.Equal(t, "it is bad", a.Summary)
	require.True(t, a.EndsAt.IsZero(), "Alertmanager gives a firing alert no end")

	require.True(t, send(time.Now()))
	require.Eventually(t, func() bool { return g.latest(false).Key == a.Key }, 30*time.Second, 50*time.Millisecond)
}

// gatekeeperServer serves both handlers and gives its host:port.
func gatekeeperServer(t *testing.T, g *gathered) string {
	t.Helper()
	w, err := New(Config{Deliver: g.deliver, Log: discard()})
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle("/webhooks/alertmanager", w.Alertmanager())
	mux.Handle("/api/v2/alerts", w.Prometheus())
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}
