package webhooks

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/go-openapi/strfmt"
	"github.com/prometheus/alertmanager/api/v2/models"

	"github.com/gatekeeper-engine/gatekeeper"
)

// SenderPrometheus is the sender's name in alerts and counters.
const SenderPrometheus = "prometheus"

// resolveTimeout is when an alert without an end turns unknown: Alertmanager's own default.
const resolveTimeout = 5 * time.Minute

// Prometheus takes alerts as an Alertmanager does, for POST /api/v2/alerts. List Gatekeeper under
// alerting.alertmanagers of Prometheus, beside the real one.
//
// An alert whose endsAt has come is resolved. One that fires has an endsAt in the future, which
// every resend moves on: when it passes the alert is unknown, not well, for a dead Prometheus
// looks the same as a recovery.
func (w *Webhooks) Prometheus() http.Handler {
	return w.handler(SenderPrometheus, func(body []byte) (batch, error) { return w.decodePrometheus(body, time.Now()) })
}

func (w *Webhooks) decodePrometheus(body []byte, now time.Time) (batch, error) {
	var raws []json.RawMessage
	if err := json.Unmarshal(body, &raws); err != nil {
		return batch{}, gatekeeper.Errorf(gatekeeper.CodeInvalid, "Alertmanager's webhook has an address of its own, /webhooks/alertmanager",
			"the body is not the array of alerts of Alertmanager's API v2: %w", err)
	}
	if raws == nil {
		return batch{}, gatekeeper.Errorf(gatekeeper.CodeInvalid, "", "the body is null, want an array of alerts")
	}
	if len(raws) > maxAlerts {
		return batch{}, tooMany(len(raws))
	}
	var b batch
	for i, raw := range raws {
		alert, err := w.fromPrometheus(raw, now)
		if err != nil {
			b.complain(i, err)
			continue
		}
		b.alerts = append(b.alerts, alert)
	}
	return b, nil
}

func (w *Webhooks) fromPrometheus(raw json.RawMessage, now time.Time) (gatekeeper.Alert, error) {
	var a *models.PostableAlert
	if err := json.Unmarshal(raw, &a); err != nil {
		return gatekeeper.Alert{}, err
	}
	if a == nil {
		return gatekeeper.Alert{}, errors.New("it is null")
	}
	if err := a.Validate(strfmt.Default); err != nil {
		return gatekeeper.Alert{}, errors.New(clip(err.Error()))
	}
	e := external{labels: a.Labels, annotations: a.Annotations, starts: instant(a.StartsAt), ends: instant(a.EndsAt)}
	if e.starts.IsZero() && !e.ends.IsZero() && e.ends.Before(now) {
		e.starts = e.ends
	}
	if e.ends.IsZero() {
		e.ends = now.Add(resolveTimeout)
	}
	e.firing = e.ends.After(now)
	return w.alert(SenderPrometheus, now, e)
}

// instant gives the zero time for both zeros of the model: the year 1 and the epoch, to which
// go-openapi's zero value marshals.
func instant(t strfmt.DateTime) time.Time {
	if at := time.Time(t); !at.IsZero() && at.Unix() != 0 {
		return at
	}
	return time.Time{}
}
