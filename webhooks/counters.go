package webhooks

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

type counters struct {
	received, matched, dropped, refused, truncated, refusals *prometheus.CounterVec
}

func newCounters() counters {
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "gatekeeper", Subsystem: "webhook", Name: name, Help: help},
			append([]string{"sender"}, labels...))
	}
	return counters{
		received:  vec("alerts_received_total", "Alerts that came, right or wrong."),
		matched:   vec("alerts_matched_total", "Alerts written to the journal of an open release."),
		dropped:   vec("alerts_dropped_total", "Alerts that no open release and route wants, Gatekeeper's own among them."),
		refused:   vec("alerts_refused_total", "Alerts refused one by one; the others of their request were taken."),
		truncated: vec("alerts_truncated_total", "Alerts that the sender left out of its request and that are lost."),
		refusals:  vec("requests_refused_total", "Requests answered with an error.", "reason"),
	}
}

func (c counters) register(reg prometheus.Registerer) error {
	if reg == nil {
		return nil
	}
	return errors.Join(reg.Register(c.received), reg.Register(c.matched), reg.Register(c.dropped),
		reg.Register(c.refused), reg.Register(c.truncated), reg.Register(c.refusals))
}
