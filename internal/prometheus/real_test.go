package prometheus

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper/internal/httpclient"
	"github.com/gatekeeper-engine/gatekeeper/internal/queriertest"
)

const binary = "/usr/bin/prometheus"

func TestRealPrometheus(t *testing.T) {
	exporter := httptest.NewServer(queriertest.Exporter())
	defer exporter.Close()
	address := start(t, exporter.Listener.Addr().String())

	q := querier(t, Config{Config: httpclient.Config{URL: address}, Timeout: model.Duration(time.Minute)})
	queriertest.Run(t, q)

	t.Run("query_offset asks for older data", func(t *testing.T) {
		late := querier(t, Config{Config: httpclient.Config{URL: address}, QueryOffset: model.Duration(time.Hour)})
		at := time.Now().Truncate(time.Second)
		v, err := late.Query(t.Context(), "time()", at)
		require.NoError(t, err)
		require.InDelta(t, at.Add(-time.Hour).Unix(), float64(v.Samples[0].Value), 1e-3)
		m, err := late.QueryRange(t.Context(), "time()", at, at.Add(2*time.Second), time.Second)
		require.NoError(t, err)
		require.Equal(t, at, m.Series[0].Points[0].At, "the instants stay the caller's")
		require.InDelta(t, at.Add(-time.Hour).Unix(), float64(m.Series[0].Points[0].Value), 1e-3)
	})
}

// start runs Debian's Prometheus on loopback until the test ends and gives its address.
func start(t *testing.T, target string) string {
	t.Helper()
	if _, err := os.Stat(binary); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is missing: apt-get install prometheus", binary)
		}
		t.Skipf("%s is missing: apt-get install prometheus", binary)
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil,
		"scrape_configs: [{job_name: shop, scrape_interval: 1s, scrape_timeout: 1s, static_configs: [{targets: [%q]}]}]", target), 0o600))
	address := freeAddress(t)
	var log strings.Builder
	cmd := exec.Command(binary, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+address, "--log.level=warn")
	cmd.Stdout, cmd.Stderr = &log, &log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	require.Eventually(t, func() bool {
		resp, err := http.Get("http://" + address + "/-/ready")
		if err != nil {
			return false
		}
		defer func() { _ = resp.Body.Close() }()
		return resp.StatusCode == http.StatusOK
	}, 30*time.Second, 50*time.Millisecond, "prometheus does not become ready")
	http.DefaultClient.CloseIdleConnections()
	return "http://" + address
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	return address
}
