package webhooks

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
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
	dir := t.TempDir()
	over := time.Now().Add(12 * time.Second).Unix() // it takes Prometheus 5s to find its Alertmanagers
	write(t, dir, "rules.yml", fmt.Sprintf(`
groups:
  - name: g
    interval: 1s
    rules:
      - alert: Bad
        expr: vector(1) unless vector(time()) > %d
        labels: {service: checkout}
        annotations: {summary: it is bad}
`, over))
	config := write(t, dir, "prometheus.yml", fmt.Sprintf(`
global: {evaluation_interval: 1s, external_labels: {prometheus_replica: a, cluster: shop}}
rule_files: [rules.yml]
alerting: {alertmanagers: [{api_version: v2, static_configs: [{targets: [%q]}]}]}
`, server))
	run(t, "/usr/bin/prometheus", "prometheus", "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+freeAddress(t), "--rules.alert.resend-delay=1s", "--log.level=warn")

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
	dir, address := t.TempDir(), freeAddress(t)
	config := write(t, dir, "alertmanager.yml", fmt.Sprintf(`
route: {receiver: gatekeeper, group_by: ['...'], group_wait: 0s, group_interval: 1s}
receivers: [{name: gatekeeper, webhook_configs: [{url: "http://%s/webhooks/alertmanager"}]}]
`, server))
	run(t, "/usr/bin/prometheus-alertmanager", "prometheus-alertmanager", "--config.file="+config,
		"--storage.path="+filepath.Join(dir, "data"), "--web.listen-address="+address, "--cluster.listen-address=", "--log.level=warn")
	send := func(ends time.Time) bool {
		body := fmt.Sprintf(`[{"labels":{"alertname":"Bad","service":"checkout","replica":"a"},"annotations":{"summary":"it is bad"},"startsAt":%q,"endsAt":%q}]`,
			ends.Add(-time.Hour).Format(time.RFC3339Nano), ends.Format(time.RFC3339Nano))
		resp, err := http.Post("http://"+address+"/api/v2/alerts", "application/json", strings.NewReader(body))
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

// run runs one of Debian's programs until the test ends.
func run(t *testing.T, binary, pkg string, args ...string) {
	t.Helper()
	if _, err := os.Stat(binary); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is missing: apt-get install %s", binary, pkg)
		}
		t.Skipf("%s is missing: apt-get install %s", binary, pkg)
	}
	var log strings.Builder
	cmd := exec.Command(binary, args...)
	cmd.Stdout, cmd.Stderr = &log, &log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
}

func write(t *testing.T, dir, name, content string) (path string) {
	t.Helper()
	path = filepath.Join(dir, name)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	return address
}
