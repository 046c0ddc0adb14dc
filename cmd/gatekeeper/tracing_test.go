package main

import (
	"compress/gzip"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// A release that is taken back over a restart of the daemon is one trace, below the pipeline's span.
func TestTraceOfARelease(t *testing.T) {
	var mu sync.Mutex
	got := map[string]*tracepb.Span{}
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		plain, err := gzip.NewReader(r.Body)
		if err != nil {
			t.Error(err)
			return
		}
		body, err := io.ReadAll(plain)
		var in collectorpb.ExportTraceServiceRequest
		if err != nil || proto.Unmarshal(body, &in) != nil || r.Header.Get("X-Api-Key") != "s3cret" || r.URL.Path != "/v1/traces" {
			t.Errorf("no trace of ours: %v %s", err, r.URL)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, s := range in.ResourceSpans[0].ScopeSpans[0].Spans {
			got[s.Name] = s
		}
	}))
	t.Cleanup(collector.Close)
	has := func(names ...string) bool {
		mu.Lock()
		defer mu.Unlock()
		return !slices.ContainsFunc(names, func(n string) bool { return got[n] == nil })
	}
	dir := t.TempDir()
	health := filepath.Join(dir, "health.yml")
	require.NoError(t, os.WriteFile(health, []byte(withFlag), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "key"), []byte("s3cret"), 0o600))
	settings := "tracing: {url: '" + collector.URL + "', headers_from_files: {X-Api-Key: key}}\n"
	stop, said := begin(t, dir, settings)
	t.Setenv("TRACEPARENT", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	gk(t, 0, "flag", "set", "new-checkout", "--enabled")
	gk(t, 0, "release", "open", "--version", "2", "--previous-version", "1", "-f", health, "--id", "r1", "--deployed")
	gk(t, 0, "release", "hold", "r1")
	require.Equal(t, 0, stop(), "%s", said)
	require.True(t, has("prepare", "wait"), "what was over is sent at the end")

	stop, said = begin(t, dir, settings)
	gk(t, 0, "release", "rollback", "r1", "--why", "it is slow")
	gk(t, 3, "release", "wait", "r1")
	eventually(t, func() bool { return has("release") }, "the trace is whole")
	require.True(t, has("hold", "watch", "decide", "rung", "attempt", "verify"))
	require.Equal(t, 0, stop(), "%s", said)
	root := got["release"]
	require.Equal(t, "0af7651916cd43dd8448eb211c80319c", hex.EncodeToString(root.TraceId))
	require.Equal(t, "b7ad6b7169203331", hex.EncodeToString(root.ParentSpanId))
	for name, s := range got {
		require.Equal(t, root.TraceId, s.TraceId)
		require.LessOrEqual(t, root.StartTimeUnixNano, s.StartTimeUnixNano, name)
		require.GreaterOrEqual(t, root.EndTimeUnixNano, s.EndTimeUnixNano, name)
		switch name {
		case "release":
		case "attempt":
			require.Equal(t, got["rung"].SpanId, s.ParentSpanId)
		default:
			require.Equal(t, root.SpanId, s.ParentSpanId, name)
		}
	}
	require.NotContains(t, said.String(), "s3cret")
}

func TestTraceParentsThatAreNone(t *testing.T) {
	dir := t.TempDir()
	health := filepath.Join(dir, "health.yml")
	require.NoError(t, os.WriteFile(health, []byte(withFlag), 0o600))
	stop, said := begin(t, dir, "")
	for _, none := range []string{
		"nonsense", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		"00-00000000000000000000000000000000-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
	} {
		gk(t, 0, "release", "open", "--version", "2", "--previous-version", "1", "-f", health, "--id", "r1", "--watch-only", "--trace-parent", none)
	}
	require.NotContains(t, gk(t, 0, "release", "show", "r1", "-o", "json"), "trace_parent")
	require.Equal(t, 0, stop(), "%s", said)
}
