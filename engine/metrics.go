package engine

import "github.com/prometheus/client_golang/prometheus"

// metrics are the engine's own; base units, names as in the design.
type metrics struct {
	open      prometheus.Gauge
	closed    *prometheus.CounterVec
	readings  *prometheus.CounterVec
	late      prometheus.Histogram
	decisions *prometheus.CounterVec
	holds     *prometheus.CounterVec
	attempts  *prometheus.CounterVec
	alerts    *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		open:      prometheus.NewGauge(prometheus.GaugeOpts{Name: "gatekeeper_release_open", Help: "Releases that are open."}),
		closed:    counter("gatekeeper_release_closed_total", "Releases closed, by outcome.", "outcome"),
		readings:  counter("gatekeeper_engine_readings_total", "Readings of rules, by verdict.", "verdict"),
		late:      prometheus.NewHistogram(prometheus.HistogramOpts{Name: "gatekeeper_engine_reading_delay_seconds", Help: "From a slot to its reading.", Buckets: prometheus.ExponentialBuckets(0.001, 3, 10)}),
		decisions: counter("gatekeeper_release_decisions_total", "Decisions to roll back, by cause.", "cause"),
		holds:     counter("gatekeeper_release_holds_total", "Holds, by reason.", "reason"),
		attempts:  counter("gatekeeper_action_attempts_total", "Attempts at rungs that ended, by action and result.", "action", "result"),
		alerts:    counter("gatekeeper_engine_alerts_total", "External alerts, by what became of them.", "result"),
	}
	if reg != nil {
		reg.MustRegister(m.open, m.closed, m.readings, m.late, m.decisions, m.holds, m.attempts, m.alerts)
	}
	return m
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}
