package prometheus

import (
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper/internal/httpclient"
	"github.com/gatekeeper-engine/gatekeeper/internal/queriertest"
	"github.com/gatekeeper-engine/gatekeeper/internal/servertest"
)

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

// start runs Debian's Prometheus, which scrapes target each second.
func start(t *testing.T, target string) string {
	t.Helper()
	return servertest.Prometheus(t, fmt.Sprintf(
		"scrape_configs: [{job_name: shop, scrape_interval: 1s, scrape_timeout: 1s, static_configs: [{targets: [%q]}]}]", target), nil)
}
