package engine

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gatekeeper-engine/gatekeeper"
)

// metrics are the engine's own; base units, names as in the design.
type metrics struct {
	open      prometheus.Gauge
	closed    *prometheus.CounterVec
	decisions *prometheus.CounterVec
	holds     *prometheus.CounterVec
	detect    prometheus.Histogram
	act       prometheus.Histogram
	recover   prometheus.Histogram
	attempts  *prometheus.CounterVec
	alerts    *prometheus.CounterVec
	readings  *prometheus.CounterVec
	late      prometheus.Histogram
	blind     *prometheus.CounterVec
	answered  *prometheus.GaugeVec
}

// perBackend are the labels of what is counted for each metric backend.
const perBackend = "backend"

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		open:      prometheus.NewGauge(prometheus.GaugeOpts{Name: "gatekeeper_release_open", Help: "Releases that are open."}),
		closed:    counter("gatekeeper_release_closed_total", "Releases closed, by outcome.", "outcome"),
		decisions: counter("gatekeeper_release_decisions_total", "Decisions to roll back, by cause.", "cause"),
		holds:     counter("gatekeeper_release_holds_total", "Holds, by reason.", "reason"),
		detect:    histogram("gatekeeper_release_detect_seconds", "From the first slot that saw the harm to the decision to roll back.", 1, 2, 12),
		act:       histogram("gatekeeper_release_act_seconds", "From the decision to roll back to its target being reached.", 0.001, 4, 12),
		recover:   histogram("gatekeeper_release_recover_seconds", "From the decision to roll back to the service being well again.", 0.01, 3, 12),
		attempts:  counter("gatekeeper_action_attempts_total", "Attempts at rungs that ended, by action and result.", "action", "result"),
		alerts:    counter("gatekeeper_engine_alerts_total", "External alerts, by what became of them.", "result"),
		readings:  counter("gatekeeper_engine_readings_total", "Readings of rules, by verdict.", "verdict"),
		late:      histogram("gatekeeper_engine_reading_delay_seconds", "From a slot to its reading.", 0.001, 3, 10),
		blind:     counter("gatekeeper_backend_blind_seconds_total", "Time of rules for which the metric backend gave no answer or no data when it was asked.", perBackend),
		answered: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "gatekeeper_backend_last_answer_timestamp_seconds",
			Help: "When the metric backend last answered with data.",
		}, []string{perBackend}),
	}
	for _, o := range gatekeeper.Outcomes() {
		m.closed.WithLabelValues(string(o)) // from zero, so that the first one is an increase
	}
	if reg != nil {
		reg.MustRegister(m.open, m.closed, m.decisions, m.holds, m.detect, m.act, m.recover, m.attempts, m.alerts,
			m.readings, m.late, m.blind, m.answered)
	}
	return m
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func histogram(name, help string, start, factor float64, count int) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(start, factor, count)})
}

// states registers what is so now: whether the engine is ready, and the kill switch.
func (e *Engine) states(reg prometheus.Registerer) {
	if reg == nil {
		return
	}
	gauge := func(name, help string, so func() bool) {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			if so() {
				return 1
			}
			return 0
		}))
	}
	gauge("gatekeeper_engine_ready", "1 while releases are run and the journal can be written.", func() bool { return e.Ready() == nil })
	gauge("gatekeeper_engine_kill_switch", "1 while the kill switch holds every rollback.", func() bool { return e.killSwitch.state().On })
}

// fact counts what happened; r is the release after it.
func (m *metrics) fact(r gatekeeper.Release, f gatekeeper.Fact) {
	switch b := f.Body.(type) {
	case gatekeeper.Decided:
		m.decisions.WithLabelValues(string(b.Cause)).Inc()
		if b.Cause == gatekeeper.CauseBreach && len(b.Breaches) > 0 {
			m.detect.Observe(f.At.Sub(b.Breaches[0].Since).Seconds())
		}
	case gatekeeper.Held:
		m.holds.WithLabelValues(string(b.Reason)).Inc()
	case gatekeeper.Attempted:
		m.attempts.WithLabelValues(r.Rungs[b.Rung].Action, string(b.Result)).Inc()
	case gatekeeper.Reached:
		m.act.Observe(f.At.Sub(r.DecidedAt).Seconds())
	case gatekeeper.Recovered:
		if !b.Unknown {
			m.recover.Observe(f.At.Sub(r.DecidedAt).Seconds())
		}
	case gatekeeper.Closed:
		m.closed.WithLabelValues(string(b.Outcome)).Inc()
	}
}

// reading counts the present answer of a backend; took is from its slot.
func (m *metrics) reading(backend string, r gatekeeper.Reading, interval, took time.Duration) {
	m.readings.WithLabelValues(string(r.Verdict)).Inc()
	m.late.Observe(took.Seconds())
	if r.Verdict.Blind() {
		m.blind.WithLabelValues(backend).Add(interval.Seconds())
	} else if r.Verdict.Answered() {
		m.answered.WithLabelValues(backend).Set(float64(r.At.Unix()))
	}
}
