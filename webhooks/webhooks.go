// Package webhooks takes in what others send. Alerts: from Alertmanager by its webhook, and from
// Prometheus itself, to which Gatekeeper looks like an Alertmanager. And signed requests of CI
// systems that can only post. One file per sender.
//
// What senders do with an answer decides what is answered. A 2xx is given only after the alerts
// are durable. Alertmanager sends again after a 5xx or a broken connection and never after a 4xx
// (429 too), so 4xx is for what must not come again and 503 for what should. Prometheus sends
// nothing again by itself; its next resend, a minute later at most, brings the same alerts.
// A request in which some alerts are wrong is a partial success, as in Alertmanager: the right
// ones are delivered, and the answer is 400 and names the wrong ones.
package webhooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gatekeeper-engine/gatekeeper"
)

// Caps on a request: a sender is half trusted.
const (
	maxBody      = 1 << 20 // bytes
	maxAlerts    = 1000
	maxLabels    = 64
	maxLabelName = 256  // bytes
	maxLabel     = 2048 // bytes of a value
	maxLabelSum  = 8192 // bytes of all names and values of one alert
	maxComplaint = 5    // wrong alerts named in one answer
)

// Deliver hands over a sender's alerts in their order. When it returns nil they are durable:
// matched of them went to open releases, dropped of them nobody wants. [gatekeeper.CodeInvalid]
// means that sending them again can't help; any other error that it may.
type Deliver func(ctx context.Context, sender string, alerts []gatekeeper.Alert) (matched, dropped int, err error)

// Config is what the handlers need; Deliver and Log must be set.
type Config struct {
	Deliver Deliver
	// ReplicaLabels name the labels by which the members of a highly available group of senders
	// differ; they are taken away, so that the same alert of two members is one. nil means
	// [DefaultReplicaLabels].
	ReplicaLabels []string
	Log           *slog.Logger
	Registerer    prometheus.Registerer // may be nil
}

// DefaultReplicaLabels gives the names in common use (Prometheus operator, Thanos, Mimir).
func DefaultReplicaLabels() []string { return []string{"prometheus_replica", "replica", "__replica__"} }

// Webhooks makes the handlers. Who may call them is decided outside.
type Webhooks struct {
	deliver  Deliver
	replicas []string
	log      *slog.Logger
	counters counters

	mu      sync.Mutex
	replays map[string]*replays // of signed requests, by their sender
}

// New registers the counters.
func New(c Config) (*Webhooks, error) {
	if c.Deliver == nil || c.Log == nil {
		return nil, errors.New("webhooks need Deliver and Log")
	}
	w := &Webhooks{deliver: c.Deliver, replicas: c.ReplicaLabels, log: c.Log, counters: newCounters(), replays: map[string]*replays{}}
	if c.ReplicaLabels == nil {
		w.replicas = DefaultReplicaLabels()
	}
	return w, w.counters.register(c.Registerer)
}

// batch is what a decoder made of a body.
type batch struct {
	alerts  []gatekeeper.Alert
	wrong   []string // complaints about the alerts that are left out
	wrongN  int
	omitted int // alerts that the sender itself left out
}

func (b *batch) complain(i int, err error) {
	b.wrongN++
	if len(b.wrong) < maxComplaint {
		b.wrong = append(b.wrong, fmt.Sprintf("alert %d: %v", i+1, err))
	}
}

// handler gives the handler of one sender.
func (w *Webhooks) handler(sender string, decode func(body []byte) (batch, error)) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, p := read(rw, r, limit{bytes: maxBody, post: "alerts are sent by POST", large: "send smaller groups (Alertmanager: group_by or max_alerts)"})
		if p == nil {
			p = w.take(rw, r, sender, body, decode)
		}
		if p == nil {
			return
		}
		w.counters.refusals.WithLabelValues(sender, p.reason).Inc()
		w.log.Warn("a request with alerts was refused", "sender", sender, "status", p.Status, "reason", p.reason, "detail", p.Detail)
		p.write(rw)
	})
}

// limit is the largest body of a handler, and what it says of other requests.
type limit struct {
	bytes       int64
	post, large string
}

// read gives the body, or why it is not taken.
func read(rw http.ResponseWriter, r *http.Request, take limit) ([]byte, *problem) {
	if r.Method != http.MethodPost {
		rw.Header().Set("Allow", http.MethodPost)
		return nil, &problem{Status: http.StatusMethodNotAllowed, reason: "method", Detail: take.post}
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return nil, &problem{Status: http.StatusUnsupportedMediaType, reason: "encoding", Detail: "a compressed body is not taken: send it as it is"}
	}
	body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, take.bytes))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, &problem{
			Status: http.StatusRequestEntityTooLarge, reason: "size",
			Detail: fmt.Sprintf("the body is larger than %d bytes, nothing of it was taken: %s", take.bytes, take.large),
		}
	}
	if err != nil {
		// The connection is most likely gone; if it is not, the same may work next time.
		return nil, &problem{Status: http.StatusServiceUnavailable, reason: "broken", Detail: "the body broke off: send it again"}
	}
	return body, nil
}

// take decodes and delivers a body and answers, or says what is wrong.
func (w *Webhooks) take(rw http.ResponseWriter, r *http.Request, sender string, body []byte, decode func([]byte) (batch, error)) *problem {
	b, err := decode(body)
	if err != nil {
		return &problem{Status: http.StatusBadRequest, reason: "malformed", Detail: err.Error() + "; nothing of it was taken", Hint: gatekeeper.HintOf(err)}
	}
	w.counters.received.WithLabelValues(sender).Add(float64(len(b.alerts) + b.wrongN))
	if b.omitted > 0 {
		w.counters.truncated.WithLabelValues(sender).Add(float64(b.omitted))
		w.log.Error("the sender left out alerts for good, and a breach may be among them: raise max_alerts of Alertmanager's webhook, or set it to 0",
			"sender", sender, "left_out", b.omitted, "came", len(b.alerts))
	}
	alerts, own := withoutOwn(b.alerts)
	var matched, dropped int
	if len(alerts) > 0 {
		if matched, dropped, err = w.deliver(r.Context(), sender, alerts); err != nil {
			return w.undelivered(sender, err)
		}
	}
	dropped += own
	w.counters.matched.WithLabelValues(sender).Add(float64(matched))
	w.counters.dropped.WithLabelValues(sender).Add(float64(dropped))
	if b.wrongN > 0 {
		w.counters.refused.WithLabelValues(sender).Add(float64(b.wrongN))
		return &problem{
			Status: http.StatusBadRequest, reason: "alerts",
			Detail: fmt.Sprintf("%d of %d alerts were refused, the others were taken: %s", b.wrongN, len(b.alerts)+b.wrongN, strings.Join(b.wrong, "; ")),
		}
	}
	answer(rw, http.StatusOK, "application/json", map[string]int{"matched": matched, "dropped": dropped, "truncated": b.omitted})
	return nil
}

func (w *Webhooks) undelivered(sender string, err error) *problem {
	w.log.Error("alerts could not be written down", "sender", sender, "err", err)
	p := &problem{Status: http.StatusServiceUnavailable, reason: "undelivered", Detail: "the alerts could not be written down: send them again"}
	if e, ok := errors.AsType[*gatekeeper.Error](err); ok && e.Code != gatekeeper.CodeInternal {
		p.Detail, p.Hint = e.Message, e.Hint
		if e.Code == gatekeeper.CodeInvalid {
			p.Status, p.reason = http.StatusBadRequest, "invalid"
		}
	}
	return p
}

// withoutOwn takes away the alerts that Gatekeeper itself sent to an Alertmanager that has it as
// a receiver: "release held" coming back as a breach of that release would roll it back.
func withoutOwn(alerts []gatekeeper.Alert) (others []gatekeeper.Alert, own int) {
	others = slices.DeleteFunc(alerts, func(a gatekeeper.Alert) bool {
		return strings.HasPrefix(a.Name, "Gatekeeper") && a.Labels["release"] != ""
	})
	return others, len(alerts) - len(others)
}

// problem is an answer of RFC 9457.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"`
	reason string // for the counter
}

func (p *problem) write(rw http.ResponseWriter) {
	p.Type, p.Title = "about:blank", http.StatusText(p.Status)
	answer(rw, p.Status, "application/problem+json", p)
}

func answer(rw http.ResponseWriter, status int, contentType string, body any) {
	text, err := json.Marshal(body)
	if err != nil { // every body above marshals
		status, text = http.StatusInternalServerError, nil
	}
	rw.Header().Set("Content-Type", contentType)
	rw.Header().Set("X-Content-Type-Options", "nosniff")
	rw.WriteHeader(status)
	_, _ = rw.Write(append(text, '\n')) // a sender that hung up learns nothing, and asks again
}
