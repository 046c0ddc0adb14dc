package tracing

import (
	"compress/gzip"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/httpclient"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2030, 1, 2, 3, 0, 0, 0, time.UTC)

const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// story gives facts ten seconds apart.
func story(bodies ...gatekeeper.Body) []gatekeeper.Fact {
	facts := make([]gatekeeper.Fact, len(bodies))
	for i, b := range bodies {
		facts[i] = gatekeeper.Fact{Seq: int64(i + 1), At: start.Add(time.Duration(i) * 10 * time.Second), Body: b}
	}
	return facts
}

func breaches() []gatekeeper.Breach {
	return []gatekeeper.Breach{{
		Rule: "HighErrorRate", Since: start.Add(25 * time.Second), Says: "5% of requests fail",
		Reading: gatekeeper.Reading{Verdict: gatekeeper.Unhealthy, Limit: "> 0.01", Operand: []gatekeeper.Sample{{Value: 0.05}}},
	}, {Rule: "Slow", Since: start.Add(30 * time.Second)}}
}

// rollback is a release that is held, decided, and taken back by its second rung.
func rollback(trace string) []gatekeeper.Fact {
	target := &gatekeeper.Target{Kind: gatekeeper.Set, Says: "flag off"}
	return story(
		gatekeeper.Opened{
			Service: "checkout", Environment: "production", Version: "v2", TraceParent: trace,
			Rungs: []gatekeeper.Rung{{Action: "flag/set"}, {Action: "haproxy/switch", Connection: "edge"}},
		}, // 0s
		gatekeeper.Prepared{Rungs: []gatekeeper.Pinned{{Rung: 0, Target: target}, {Rung: 1, Target: target}}}, // 10s
		gatekeeper.Deployed{How: "pipeline"}, // 20s
		gatekeeper.Held{Reason: gatekeeper.HoldVeto, Breaches: breaches(), Says: "in 10s it is rolled back", Until: start.Add(time.Hour)}, // 30s
		gatekeeper.Decided{Cause: gatekeeper.CauseBreach, Breaches: breaches(), Says: "5% of requests fail"},                              // 40s
		gatekeeper.Attempting{Rung: 0, Key: "k"},                                                            // 50s
		gatekeeper.Attempted{Rung: 0, Result: gatekeeper.ResultFailed, Error: "refused"},                    // 60s
		gatekeeper.GaveUp{Rung: 0, Why: "refused too often"},                                                // 70s
		gatekeeper.Attempting{Rung: 1, Key: "k2"},                                                           // 80s
		gatekeeper.Attempted{Rung: 1, Result: gatekeeper.ResultDone},                                        // 90s
		gatekeeper.Reached{Rung: 1, Live: gatekeeper.Live{Position: gatekeeper.AtTarget, Says: "blue=100"}}, // 100s
		gatekeeper.Recovered{Says: "well again"},                                                            // 110s
		gatekeeper.Closed{Outcome: gatekeeper.OutcomeRolledBack, Why: "5% of requests fail"},                // 120s
	)
}

func attribute(s *tracepb.Span, name string) any { return find(s.Attributes, name) }

func find(all []*commonpb.KeyValue, name string) any {
	for _, a := range all {
		if a.Key == "gatekeeper."+name {
			switch v := a.Value.Value.(type) {
			case *commonpb.AnyValue_StringValue:
				return v.StringValue
			case *commonpb.AnyValue_IntValue:
				return v.IntValue
			case *commonpb.AnyValue_DoubleValue:
				return v.DoubleValue
			case *commonpb.AnyValue_BoolValue:
				return v.BoolValue
			}
		}
	}
	return nil
}

func TestSpansOfARollback(t *testing.T) {
	spans, err := spansOf("r1", rollback(""))
	require.NoError(t, err)
	type row struct {
		name     string
		from, to int // seconds
		parent   string
		failed   bool
	}
	var rows []row
	names, ids := map[string]string{"": ""}, map[string]bool{}
	for _, s := range spans {
		names[string(s.SpanId)] = s.Name
		ids[string(s.SpanId)] = true
	}
	require.Len(t, ids, len(spans), "every span has an id of its own")
	for _, s := range spans {
		seconds := func(at uint64) int { return int(time.Unix(0, int64(at)).Sub(start).Seconds()) }
		rows = append(rows, row{s.Name, seconds(s.StartTimeUnixNano), seconds(s.EndTimeUnixNano), names[string(s.ParentSpanId)], s.Status != nil})
		require.Len(t, s.TraceId, 16)
		require.Equal(t, spans[0].TraceId, s.TraceId)
		for name, want := range map[string]any{"release": "r1", "service": "checkout", "environment": "production", "version": "v2"} {
			require.Equal(t, want, attribute(s.Span, name), s.Name)
		}
	}
	require.Equal(t, []row{
		{"prepare", 0, 10, "release", false},
		{"wait", 10, 20, "release", false},
		{"hold", 30, 40, "release", false},
		{"watch", 20, 40, "release", false},
		{"decide", 25, 40, "release", false},
		{"attempt", 50, 60, "rung", true},
		{"rung", 40, 70, "release", true},
		{"attempt", 80, 90, "rung", false},
		{"rung", 70, 100, "release", false},
		{"verify", 100, 110, "release", false},
		{"release", 0, 120, "", true},
	}, rows)
	require.Equal(t, spans[8].SpanId, spans[7].ParentSpanId, "the second attempt is below the second rung")

	decide, rung, root := spans[4].Span, spans[8].Span, spans[10].Span
	require.Equal(t, "HighErrorRate", attribute(decide, "rule"))
	require.Equal(t, "> 0.01", attribute(decide, "limit"))
	require.Equal(t, 0.05, attribute(decide, "value"))
	require.Equal(t, "breach", attribute(decide, "cause"))
	require.Len(t, decide.Events, 2)
	require.Equal(t, "Slow", find(decide.Events[1].Attributes, "rule"))
	require.Equal(t, "veto", attribute(spans[2].Span, "hold.reason"))
	require.Equal(t, "failed", attribute(spans[5].Span, "result"))
	require.Equal(t, "refused", spans[5].Status.Message)
	require.Equal(t, "haproxy/switch", attribute(rung, "action"))
	require.Equal(t, "flag off", attribute(rung, "target"))
	require.EqualValues(t, 2, attribute(rung, "rung"))
	require.Equal(t, "recovered", attribute(spans[9].Span, "result"))
	require.Equal(t, "rolled_back", attribute(root, "outcome"))
	require.Nil(t, attribute(root, "dry_run"))
}

func TestSpansOfOtherWays(t *testing.T) {
	names := func(facts []gatekeeper.Fact) (all []string) {
		spans, err := spansOf("r1", facts)
		require.NoError(t, err)
		for _, s := range spans {
			all = append(all, s.Name)
		}
		return all
	}
	whole := rollback("")
	for end := range whole {
		spans, err := spansOf("r1", whole[:end])
		require.NoError(t, err)
		all, err := spansOf("r1", whole)
		require.NoError(t, err)
		for i, s := range spans {
			require.True(t, proto.Equal(all[i].Span, s.Span), "what is over never changes, so a restart goes on with the same")
		}
	}
	opened, prepared := whole[0].Body, gatekeeper.Prepared{}
	require.Equal(t, []string{"prepare", "release"}, names(story(opened, gatekeeper.Closed{Outcome: gatekeeper.OutcomeAborted})))
	require.Equal(t, []string{"prepare", "wait", "hold", "hold", "watch", "release"}, names(story(opened, prepared, gatekeeper.Deployed{},
		gatekeeper.Held{Reason: gatekeeper.HoldBlind}, gatekeeper.Held{Reason: gatekeeper.HoldPerson}, gatekeeper.Resumed{}, gatekeeper.Closed{Outcome: gatekeeper.OutcomePassed})))
	require.Equal(t, []string{"prepare", "wait", "decide", "attempt", "rung", "verify", "rung", "release"}, names(story(opened, whole[1].Body,
		gatekeeper.Decided{Cause: gatekeeper.CausePerson}, gatekeeper.Attempting{}, gatekeeper.Reached{}, gatekeeper.NotRecovered{Breaches: breaches()},
		gatekeeper.GaveUp{Rung: 1, Why: "gone"}, gatekeeper.Closed{Outcome: gatekeeper.OutcomeRollbackFailed})))

	spans, err := spansOf("r1", rollback(parent))
	require.NoError(t, err)
	root := spans[len(spans)-1]
	require.Equal(t, "0af7651916cd43dd8448eb211c80319c", hex.EncodeToString(root.TraceId))
	require.Equal(t, "b7ad6b7169203331", hex.EncodeToString(root.ParentSpanId))
	other, err := spansOf("r2", rollback(""))
	require.NoError(t, err)
	require.NotEqual(t, other[0].TraceId, spans[0].TraceId)
	_, err = spansOf("r1", whole[1:])
	require.Error(t, err)

	require.True(t, proto.Equal(value("a\uFFFD"), value("a\xff")), "protobuf takes valid UTF-8 only")
	require.Len(t, clip(strings.Repeat("é", maxText)), maxText)
	require.Len(t, clip("a"+strings.Repeat("é", maxText)), maxText-1)
}

// collector takes OTLP over HTTP as the specification has it.
type collector struct {
	*httptest.Server
	t *testing.T

	mu      sync.Mutex
	answers []int // statuses before 200
	header  http.Header
	spans   []*tracepb.Span
	service string
	calls   int
}

func newCollector(t *testing.T, answers ...int) *collector {
	c := &collector{t: t, answers: answers}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	if len(c.answers) > 0 {
		status := c.answers[0]
		c.answers = c.answers[1:]
		w.WriteHeader(status)
		return
	}
	require.Equal(c.t, "/prefix/v1/traces", r.URL.Path)
	require.Equal(c.t, "application/x-protobuf", r.Header.Get("Content-Type"))
	require.Equal(c.t, "gzip", r.Header.Get("Content-Encoding"))
	plain, err := gzip.NewReader(r.Body)
	require.NoError(c.t, err)
	body, err := io.ReadAll(plain)
	require.NoError(c.t, err)
	var in collectorpb.ExportTraceServiceRequest
	require.NoError(c.t, proto.Unmarshal(body, &in))
	for _, resource := range in.ResourceSpans {
		c.service = resource.Resource.Attributes[0].Value.GetStringValue()
		for _, scope := range resource.ScopeSpans {
			c.spans = append(c.spans, scope.Spans...)
		}
	}
	c.header = r.Header
	out, err := proto.Marshal(&collectorpb.ExportTraceServiceResponse{})
	require.NoError(c.t, err)
	w.Header().Set("Content-Type", "application/x-protobuf")
	_, _ = w.Write(out)
}

func (c *collector) names() (all []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.spans {
		all = append(all, s.Name)
	}
	return all
}

// tell tells the tracer of every fact, as the engine does.
func tell(t *testing.T, tracer *Tracer, facts []gatekeeper.Fact) {
	r := gatekeeper.Release{ID: "r1"}
	for _, f := range facts {
		var err error
		r, err = r.With(f)
		require.NoError(t, err)
		tracer.Tell(r, f)
	}
}

func TestTracer(t *testing.T) {
	c := newCollector(t, http.StatusServiceUnavailable)
	file := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(file, []byte("s3cret"), 0o600))
	whole := rollback(parent)
	settings := httpclient.Config{URL: c.URL + "/prefix/", HeadersFromFiles: map[string]string{"x-api-key": file}}
	tracer, err := New(settings, "v1", func(_ context.Context, id string) ([]gatekeeper.Fact, error) {
		if id != "r1" {
			return nil, errors.New("not there")
		}
		return whole, nil
	}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- tracer.Run(ctx) }()
	tell(t, tracer, whole)
	require.Eventually(t, func() bool { return len(c.names()) > 0 }, 20*time.Second, 5*time.Millisecond)
	require.Equal(t, []string{"prepare", "wait", "hold", "watch", "decide", "attempt", "rung", "attempt", "rung", "verify", "release"}, c.names(), "once, after the collector was sick")
	require.Equal(t, "s3cret", c.header.Get("x-api-key"))
	require.Equal(t, "gatekeeper", c.service)
	require.Eventually(t, func() bool { return testutil.ToFloat64(tracer.sent) == 11 }, 10*time.Second, time.Millisecond)

	tracer.Tell(gatekeeper.Release{ID: "r2"}, gatekeeper.Fact{Seq: 2, Body: gatekeeper.Closed{}})
	require.Eventually(t, func() bool { return testutil.ToFloat64(tracer.dropped) == 1 }, 10*time.Second, time.Millisecond)
	tracer.Tell(gatekeeper.Release{ID: "r1"}, whole[12])
	cancel()
	require.NoError(t, <-done)
	require.Len(t, c.names(), 12, "what is left is sent at the end")
}

// A collector that refuses, or that nobody drains the facts for, holds up nobody.
func TestTracerDrops(t *testing.T) {
	c := newCollector(t, http.StatusForbidden)
	whole := rollback("")
	tracer, err := New(httpclient.Config{URL: c.URL + "/prefix"}, "v1", func(context.Context, string) ([]gatekeeper.Fact, error) { return whole, nil },
		slog.New(slog.DiscardHandler), nil)
	require.NoError(t, err)
	r := gatekeeper.Release{ID: "r1"}
	for range maxWaiting + 10 {
		tracer.Tell(r, whole[1])
	}
	tracer.Tell(r, gatekeeper.Fact{Seq: 1, Body: gatekeeper.Judged{}})
	require.EqualValues(t, 10, testutil.ToFloat64(tracer.dropped))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, tracer.Run(ctx))
	require.EqualValues(t, 1, testutil.ToFloat64(tracer.failed))
	require.EqualValues(t, maxWaiting/maxBatch-1, testutil.ToFloat64(tracer.sent), "one span for each batch")

	for _, bad := range []httpclient.Config{{URL: "nowhere"}, {URL: c.URL, TLS: httpclient.TLS{CAFile: "none"}}} {
		_, err = New(bad, "v1", nil, slog.New(slog.DiscardHandler), nil)
		require.Error(t, err)
	}
}
