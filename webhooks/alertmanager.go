package webhooks

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
)

// SenderAlertmanager is the sender's name in alerts and counters.
const SenderAlertmanager = "alertmanager"

// message is version 4 of Alertmanager's webhook (prometheus.io/docs/alerting, "webhook_config").
// What all alerts share is repeated in each of them, so only they are read; keys that later
// Alertmanagers add do no harm.
type message struct {
	Version         string            `json:"version"`
	TruncatedAlerts int               `json:"truncatedAlerts"`
	Alerts          []json.RawMessage `json:"alerts"`
}

type messageAlert struct {
	Status      string            `json:"status"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	StartsAt    time.Time         `json:"startsAt"`
	EndsAt      time.Time         `json:"endsAt"`
}

// Alertmanager takes Alertmanager's webhook, for POST /webhooks/alertmanager. A group may hold
// firing and resolved alerts: each alert's own status counts, not the group's.
//
// Alertmanager gives a firing alert no end and repeats it after hours (repeat_interval), so such
// an alert fires until a resolved one comes; it never turns unknown by itself. A dead
// Alertmanager therefore shows as an alert that stays. Prometheus sending directly has no such
// gap, see [Webhooks.Prometheus].
func (w *Webhooks) Alertmanager() http.Handler {
	return w.handler(SenderAlertmanager, func(body []byte) (batch, error) { return w.decodeAlertmanager(body, time.Now()) })
}

func (w *Webhooks) decodeAlertmanager(body []byte, now time.Time) (batch, error) {
	const hint = "point a webhook_config of Alertmanager here, without a custom payload"
	var m message
	if err := json.Unmarshal(body, &m); err != nil {
		return batch{}, gatekeeper.Errorf(gatekeeper.CodeInvalid, hint, "the body is not a message of Alertmanager's webhook: %w", err)
	}
	switch {
	case m.Version == "":
		return batch{}, gatekeeper.Errorf(gatekeeper.CodeInvalid, hint, `the body has no "version": it is not a message of Alertmanager's webhook, or a custom payload`)
	case m.Version != "4":
		return batch{}, gatekeeper.Errorf(gatekeeper.CodeInvalid, hint, "version %q of Alertmanager's webhook is not supported, want \"4\"", clip(m.Version))
	case m.Alerts == nil:
		return batch{}, gatekeeper.Errorf(gatekeeper.CodeInvalid, hint, `the body has no "alerts"`)
	case m.TruncatedAlerts < 0:
		return batch{}, gatekeeper.Errorf(gatekeeper.CodeInvalid, hint, "truncatedAlerts is negative")
	case len(m.Alerts) > maxAlerts:
		return batch{}, tooMany(len(m.Alerts))
	}
	b := batch{omitted: m.TruncatedAlerts}
	for i, raw := range m.Alerts {
		alert, err := w.fromAlertmanager(raw, now)
		if err != nil {
			b.complain(i, err)
			continue
		}
		b.alerts = append(b.alerts, alert)
	}
	return b, nil
}

func (w *Webhooks) fromAlertmanager(raw json.RawMessage, now time.Time) (gatekeeper.Alert, error) {
	var a messageAlert
	if err := json.Unmarshal(raw, &a); err != nil {
		return gatekeeper.Alert{}, err
	}
	if a.Status != "firing" && a.Status != "resolved" {
		return gatekeeper.Alert{}, fmt.Errorf("its status is %q, neither firing nor resolved", clip(a.Status))
	}
	return w.alert(SenderAlertmanager, now, external{
		labels: a.Labels, annotations: a.Annotations, starts: a.StartsAt, ends: a.EndsAt, firing: a.Status == "firing",
	})
}

func tooMany(n int) error {
	return gatekeeper.Errorf(gatekeeper.CodeInvalid, "send smaller groups", "%d alerts in one request, more than %d", n, maxAlerts)
}
