package engine_test

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/engine"
)

func TestMetricsOfARollback(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		reg := prometheus.NewPedanticRegistry()
		w.with(func(c *engine.Config) { c.Registerer = reg })
		bad(w)
		w.outage(mnt, 2*mnt)
		id := w.opened(ruleR + flagPlan)
		w.to(6 * mnt)
		w.outcome(id, gatekeeper.OutcomeRolledBack)
		require.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP gatekeeper_action_attempts_total Attempts at rungs that ended, by action and result.
# TYPE gatekeeper_action_attempts_total counter
gatekeeper_action_attempts_total{action="switch/set",result="done"} 1
# HELP gatekeeper_backend_blind_seconds_total Time of rules for which the metric backend gave no answer or no data when it was asked.
# TYPE gatekeeper_backend_blind_seconds_total counter
gatekeeper_backend_blind_seconds_total{backend=""} 60
# HELP gatekeeper_release_closed_total Releases closed, by outcome.
# TYPE gatekeeper_release_closed_total counter
gatekeeper_release_closed_total{outcome="aborted"} 0
gatekeeper_release_closed_total{outcome="breached"} 0
gatekeeper_release_closed_total{outcome="inconclusive"} 0
gatekeeper_release_closed_total{outcome="passed"} 0
gatekeeper_release_closed_total{outcome="rollback_failed"} 0
gatekeeper_release_closed_total{outcome="rolled_back"} 1
gatekeeper_release_closed_total{outcome="superseded"} 0
# HELP gatekeeper_release_decisions_total Decisions to roll back, by cause.
# TYPE gatekeeper_release_decisions_total counter
gatekeeper_release_decisions_total{cause="breach"} 1
# HELP gatekeeper_release_open Releases that are open.
# TYPE gatekeeper_release_open gauge
gatekeeper_release_open 0
`), "gatekeeper_action_attempts_total", "gatekeeper_backend_blind_seconds_total", "gatekeeper_release_closed_total",
			"gatekeeper_release_decisions_total", "gatekeeper_release_open"))
		families, err := reg.Gather()
		require.NoError(t, err)
		sums := map[string]float64{}
		for _, f := range families {
			if h := f.GetMetric()[0].GetHistogram(); h != nil {
				require.NotZero(t, h.GetSampleCount(), f.GetName())
				sums[f.GetName()] = h.GetSampleSum()
			}
		}
		require.Equal(t, 120.0, sums["gatekeeper_release_detect_seconds"])
		require.Less(t, sums["gatekeeper_release_recover_seconds"], 1.0)
	})
}
