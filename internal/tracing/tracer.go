// Package tracing tells of releases as OpenTelemetry traces: one trace for each release, made of
// its facts and of nothing else. The ids of spans follow from the release's id and the facts'
// numbers, so a daemon that takes a release up goes on with its trace, and what is sent twice is
// the same. Traces go to a collector by OTLP over HTTP
// (https://opentelemetry.io/docs/specs/otlp/#otlphttp) and are never in the way of a rollback.
package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/httpclient"
)

const (
	maxWaiting = 4096             // facts whose spans are not sent yet
	maxBatch   = 256              // facts of one request
	gather     = time.Second      // how long facts are gathered for one request
	tryFor     = 30 * time.Second // to send a request, retries included
	lastWords  = 3 * time.Second  // at the end, for what is left
)

// Facts reads the facts of a release.
type Facts func(ctx context.Context, release string) ([]gatekeeper.Fact, error)

// Tracer sends the spans of releases. [Tracer.Tell] may be called concurrently and before, during
// and after [Tracer.Run].
type Tracer struct {
	client   otlptrace.Client
	calls    *http.Client
	facts    Facts
	resource *resourcepb.Resource
	waiting  chan ending
	log      *slog.Logger

	sent, failed, dropped prometheus.Counter
}

// ending is a fact that ends spans.
type ending struct {
	release string
	seq     int64
}

// New gives a tracer to a collector, whose URL is the base address: /v1/traces is added to it. An
// error says which setting can't work; nobody is asked. Version is that of the program; reg may be nil.
func New(c httpclient.Config, version string, facts Facts, log *slog.Logger, reg prometheus.Registerer) (*Tracer, error) {
	base, err := c.Base()
	if err != nil {
		return nil, err
	}
	calls, err := c.New("tracing")
	if err != nil {
		return nil, err
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "gatekeeper", Subsystem: "tracing", Name: name, Help: help})
	}
	t := &Tracer{
		client: otlptracehttp.NewClient(
			otlptracehttp.WithEndpointURL(base.JoinPath("v1/traces").String()), otlptracehttp.WithHTTPClient(calls),
			otlptracehttp.WithRetry(otlptracehttp.RetryConfig{
				Enabled: true, InitialInterval: time.Second, MaxInterval: 10 * time.Second, MaxElapsedTime: tryFor,
			}),
			otlptracehttp.WithCompression(otlptracehttp.GzipCompression),
		),
		calls: calls, facts: facts, waiting: make(chan ending, maxWaiting), log: log,
		resource: &resourcepb.Resource{Attributes: []*commonpb.KeyValue{
			{Key: "service.name", Value: text("gatekeeper")}, {Key: "service.version", Value: text(version)},
		}},
		sent:    counter("spans_sent_total", "Spans that the collector took."),
		failed:  counter("spans_failed_total", "Spans that the collector did not take in the end."),
		dropped: counter("facts_dropped_total", "Facts whose spans are not sent, because too many waited or the facts could not be read."),
	}
	if reg == nil {
		return t, nil
	}
	return t, errors.Join(reg.Register(t.sent), reg.Register(t.failed), reg.Register(t.dropped))
}

// Tell takes a fact and the release after it, and returns at once. Where 4096 facts wait already
// it is dropped and counted. A fact that is told again makes the same spans.
func (t *Tracer) Tell(r gatekeeper.Release, f gatekeeper.Fact) {
	switch f.Body.Kind() {
	case gatekeeper.KindPrepared, gatekeeper.KindDeployed, gatekeeper.KindHeld, gatekeeper.KindResumed, gatekeeper.KindVetoed,
		gatekeeper.KindDecided, gatekeeper.KindAttempted, gatekeeper.KindGaveUp, gatekeeper.KindReached,
		gatekeeper.KindNotRecovered, gatekeeper.KindRecovered, gatekeeper.KindClosed:
	default:
		return
	}
	select {
	case t.waiting <- ending{r.ID, f.Seq}:
	default:
		t.dropped.Inc()
	}
}

// Run sends until ctx ends, then tries for a moment to send what is left.
func (t *Tracer) Run(ctx context.Context) error {
	defer t.calls.CloseIdleConnections()
	sending, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(lastWords, cancel) })
	defer stop()
	if err := t.client.Start(sending); err != nil {
		return err
	}
	for ctx.Err() == nil || len(t.waiting) > 0 {
		t.send(sending, t.batch(ctx))
	}
	return t.client.Stop(context.WithoutCancel(ctx))
}

// batch waits for a fact and gathers those that come in the moment after it.
func (t *Tracer) batch(ctx context.Context) []ending {
	var all []ending
	var over <-chan time.Time
	for len(all) < maxBatch {
		select {
		case <-ctx.Done():
			return t.rest(all)
		case <-over:
			return all
		case e := <-t.waiting:
			if all = append(all, e); over == nil {
				over = time.After(gather)
			}
		}
	}
	return all
}

// rest adds what waits now, as far as it fits into a request.
func (t *Tracer) rest(all []ending) []ending {
	for len(all) < maxBatch {
		select {
		case e := <-t.waiting:
			all = append(all, e)
		default:
			return all
		}
	}
	return all
}

// send sends the spans that these facts ended.
func (t *Tracer) send(ctx context.Context, facts []ending) {
	if len(facts) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, tryFor)
	defer cancel()
	wanted := map[string]map[int64]bool{}
	for _, e := range facts {
		if wanted[e.release] == nil {
			wanted[e.release] = map[int64]bool{}
		}
		wanted[e.release][e.seq] = true
	}
	var spans []*tracepb.Span
	for release, seqs := range wanted {
		all, err := t.read(ctx, release)
		if err != nil {
			t.dropped.Add(float64(len(seqs)))
			t.log.Warn("a release has no trace: its facts can't be read", "release", release, "err", err)
			continue
		}
		for _, s := range all {
			if seqs[s.ended] {
				spans = append(spans, s.Span)
			}
		}
	}
	t.upload(ctx, spans)
}

func (t *Tracer) read(ctx context.Context, release string) ([]span, error) {
	facts, err := t.facts(ctx, release)
	if err != nil {
		return nil, err
	}
	spans, err := spansOf(release, facts)
	if err != nil {
		return nil, fmt.Errorf("its facts make no release: %w", err)
	}
	return spans, nil
}

func (t *Tracer) upload(ctx context.Context, spans []*tracepb.Span) {
	if len(spans) == 0 {
		return
	}
	err := t.client.UploadTraces(ctx, []*tracepb.ResourceSpans{{
		Resource: t.resource, ScopeSpans: []*tracepb.ScopeSpans{{Scope: &commonpb.InstrumentationScope{Name: "gatekeeper"}, Spans: spans}},
	}})
	if err != nil {
		t.failed.Add(float64(len(spans)))
		t.log.Warn("traces could not be sent", "spans", len(spans), "err", err)
		return
	}
	t.sent.Add(float64(len(spans)))
}
