package alertmanager

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"time"

	openapi "github.com/go-openapi/runtime/client"
	"github.com/go-openapi/strfmt"
	"github.com/prometheus/alertmanager/api/v2/client"
	alertapi "github.com/prometheus/alertmanager/api/v2/client/alert"
	"github.com/prometheus/alertmanager/api/v2/models"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/gatekeeper-engine/gatekeeper"
)

const (
	batchSize = 256 // alerts of one request, as Prometheus
	maxAnswer = 64 << 10
	firstWait = time.Second // before a request is tried again; doubled up to the resend
	lastWords = 3 * time.Second
)

type counters struct{ sent, errors *prometheus.CounterVec }

// peer is one Alertmanager. Only run uses seen.
type peer struct {
	name     string
	api      alertapi.ClientService
	http     *http.Client
	book     *book
	resend   time.Duration
	timeout  time.Duration
	wake     chan struct{}
	closed   chan struct{}
	seen     map[id]sent
	counters counters
	log      *slog.Logger
}

func newPeer(base *url.URL, c *http.Client, b *book, config Config, counters counters, log *slog.Logger) *peer {
	capped := *c
	capped.Transport = capAnswers{c.Transport}
	transport := openapi.NewWithClient(base.Host, base.Path+client.DefaultBasePath, []string{base.Scheme}, &capped)
	return &peer{
		name: base.String(), api: client.New(transport, strfmt.Default).Alert, http: c, book: b,
		resend: time.Duration(config.Resend), timeout: time.Duration(config.Timeout),
		wake: make(chan struct{}, 1), closed: make(chan struct{}), seen: map[id]sent{}, counters: counters,
		log: log.With("alertmanager", base.String()),
	}
}

// Tell wakes the peer: the book has changed.
func (p *peer) Tell(gatekeeper.Release, gatekeeper.Fact) {
	select {
	case p.wake <- struct{}{}:
	default: // it is awake already and will see this too
	}
}

// Close has Run end when what is new is sent, or can't be for a moment.
func (p *peer) Close() { close(p.closed) }

// Run sends what is due until ctx ends or the peer is closed.
func (p *peer) Run(ctx context.Context) error {
	defer p.http.CloseIdleConnections()
	timer := time.NewTimer(0)
	defer timer.Stop()
	wake := p.wake
	for wait := firstWait; ; {
		select {
		case <-ctx.Done():
			p.flush(ctx)
			return nil
		case <-p.closed:
			p.flush(ctx)
			return nil
		case <-wake:
		case <-timer.C:
		}
		next, err := p.send(ctx)
		if err != nil && ctx.Err() == nil {
			p.log.Warn("an Alertmanager does not take alerts: people may not be told", "err", err, "again_in", wait)
			// News has to wait as well, or a busy engine would ask a sick Alertmanager all the time.
			wake = nil
			timer.Reset(wait)
			wait = min(2*wait, p.resend)
			continue
		}
		wait, wake = firstWait, p.wake
		timer.Reset(time.Until(next))
	}
}

// flush sends what is new though ctx has ended: what was decided a moment ago is told by nobody else.
func (p *peer) flush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	if _, err := p.send(ctx); err != nil {
		p.log.Warn("the last alerts could not be sent", "err", err)
	}
}

// send posts everything that is due, in batches, and gives when to look again.
func (p *peer) send(ctx context.Context) (next time.Time, err error) {
	now := time.Now()
	due, next := p.book.due(now, p.seen, p.resend)
	for batch := range slices.Chunk(due, batchSize) {
		alerts := make(models.PostableAlerts, len(batch))
		for i, d := range batch {
			alerts[i] = d.alert
		}
		if err := p.post(ctx, alerts); err != nil {
			return next, err
		}
		for _, d := range batch {
			p.seen[d.id] = sent{version: d.version, at: now}
		}
		next = earliest(next, now.Add(p.resend))
	}
	return next, nil
}

// post sends one batch. A 400 is a partial success: Alertmanager keeps the valid alerts of the
// batch, and sending the others again at once would not make them valid.
func (p *peer) post(ctx context.Context, alerts models.PostableAlerts) error {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	_, err := p.api.PostAlerts(alertapi.NewPostAlertsParams().WithContext(ctx).WithTimeout(p.timeout).WithAlerts(alerts))
	if bad, ok := errors.AsType[*alertapi.PostAlertsBadRequest](err); ok {
		p.counters.errors.WithLabelValues(p.name).Inc()
		p.log.Error("an Alertmanager refused some of the alerts of a batch: people are not told of them", "alerts", len(alerts), "says", clip(bad.Payload))
		return nil
	}
	if err != nil {
		p.counters.errors.WithLabelValues(p.name).Inc()
		return err
	}
	p.counters.sent.WithLabelValues(p.name).Add(float64(len(alerts)))
	return nil
}

// capAnswers cuts an answer short, which is only ever a word or an error.
type capAnswers struct{ next http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (c capAnswers) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := c.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	return resp, nil
}
