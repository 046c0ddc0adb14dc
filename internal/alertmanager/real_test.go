package alertmanager

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/alertmanager/api/v2/models"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/httpclient"
	"github.com/gatekeeper-engine/gatekeeper/internal/servertest"
)

func TestRealAlertmanager(t *testing.T) {
	address := servertest.Alertmanager(t, "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n", "/prefix")
	s, err := New(Config{
		Alertmanagers: []httpclient.Config{{URL: address}}, ExternalURL: "http://localhost:1/gatekeeper",
	}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() {
		cancel()
		require.NoError(t, <-done)
	}()

	j := opened(t, s, "r1")
	j.hold()
	var held *models.GettableAlert
	await(t, func() bool {
		standing := alerts(t, address)
		if len(standing) == 1 {
			held = standing[0]
		}
		return held != nil
	})
	require.Equal(t, Held, held.Labels["alertname"])
	require.Equal(t, "http://localhost:1/gatekeeper/releases/r1", held.GeneratorURL.String())
	require.WithinDuration(t, j.r.HeldAt, time.Time(*held.StartsAt), time.Second)
	require.WithinDuration(t, j.r.HeldAt.Add(4*time.Minute), time.Time(*held.EndsAt), 10*time.Second)

	j.tell(gatekeeper.Resumed{Why: "data again"})
	await(t, func() bool { return len(alerts(t, address)) == 0 })

	j.tell(gatekeeper.Decided{Cause: gatekeeper.CausePerson, Says: "by ann"})
	j.tell(gatekeeper.Closed{Outcome: gatekeeper.OutcomeRollbackFailed, Why: "every rung failed"})
	await(t, func() bool {
		standing := alerts(t, address)
		return len(standing) == 1 && standing[0].Labels["alertname"] == RollbackFailed
	})
}

// alerts gives what stands at the Alertmanager.
func alerts(t *testing.T, address string) models.GettableAlerts {
	t.Helper()
	resp, err := http.Get(address + "/api/v2/alerts")
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	var all models.GettableAlerts
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&all))
	return all
}

func await(t *testing.T, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, 30*time.Second, 50*time.Millisecond)
}
