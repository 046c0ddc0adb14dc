package tsdb

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alecthomas/units"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/queriertest"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const second = model.Duration(time.Second)

func open(t *testing.T, c Config, log *slog.Logger) *Store {
	t.Helper()
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s, err := Open(c, log, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// run scrapes until the test ends.
func run(t *testing.T, s *Store) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
}

func value(t *testing.T, s *Store, expr string) (gatekeeper.Float, bool) {
	t.Helper()
	v, err := s.Query(t.Context(), expr, time.Now())
	require.NoError(t, err)
	if len(v.Samples) == 0 {
		return 0, false
	}
	return v.Samples[0].Value, true
}

func TestConformance(t *testing.T) {
	exporter := httptest.NewServer(queriertest.Exporter())
	defer exporter.Close()
	s := open(t, Config{Path: t.TempDir(), Scrape: []Job{
		{Name: "shop", Interval: second, Targets: []string{exporter.Listener.Addr().String()}},
	}}, nil)
	run(t, s)
	queriertest.Run(t, s)
	t.Run("with recording rules", func(t *testing.T) {
		with, err := s.WithRecordings([]rules.Recording{{Record: "r", Expr: "qt_gauge", Interval: time.Second}})
		require.NoError(t, err)
		queriertest.Run(t, with)
	})
}

func TestTargetThatVanishesGoesStaleAndIsTold(t *testing.T) {
	exporter := httptest.NewServer(queriertest.Exporter())
	target := exporter.Listener.Addr().String()
	var log lockedBuffer
	s := open(t, Config{Path: t.TempDir(), Scrape: []Job{
		{Name: "shop", Interval: second, Targets: []string{target}, Labels: map[string]string{"version": "v1"}},
		{Name: "shop", Interval: second, Targets: []string{"127.0.0.1:1"}, Labels: map[string]string{"version": "v2"}},
	}}, slog.New(slog.NewTextHandler(&log, nil)))
	run(t, s)
	eventually(t, func() bool {
		up, ok := value(t, s, `up{job="shop",version="v1"}`)
		_, data := value(t, s, `qt_gauge{job="shop",version="v1",instance="`+target+`"}`)
		return ok && up == 1 && data
	})
	eventually(t, func() bool {
		up, ok := value(t, s, `up{version="v2"}`)
		return ok && up == 0 && strings.Contains(log.String(), "target=http://127.0.0.1:1/metrics")
	})

	exporter.Close()
	eventually(t, func() bool {
		up, ok := value(t, s, `up{version="v1"}`)
		_, data := value(t, s, `qt_gauge{version="v1"}`)
		return ok && up == 0 && !data // at once, not after the lookback of 5m
	})
	eventually(t, func() bool { return strings.Contains(log.String(), target) })
	_, data := value(t, s, `qt_gauge{version="v1"} offset 10s or last_over_time(qt_gauge{version="v1"}[1m])`)
	require.True(t, data, "what was there before stays")
}

func TestScrapesBadTargetsWithoutHarm(t *testing.T) {
	wild := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		for i := range maxScrapeSamples + 1 {
			_, _ = fmt.Fprintf(w, "wild{i=\"%d\"} 1\n", i)
		}
	}))
	defer wild.Close()
	s := open(t, Config{Path: t.TempDir(), Scrape: []Job{{Name: "wild", Interval: second, Targets: []string{wild.Listener.Addr().String()}}}}, nil)
	run(t, s)
	eventually(t, func() bool {
		up, ok := value(t, s, "up")
		return ok && up == 0
	})
	_, data := value(t, s, "wild")
	require.False(t, data)
}

func TestRestartKeepsData(t *testing.T) {
	c := Config{Path: t.TempDir()}
	s := open(t, c, nil)
	at := time.Now().Add(-time.Minute).Truncate(time.Millisecond)
	put(t, s.db, at, 7)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "closing again does nothing")
	require.NoError(t, s.Run(t.Context()), "closed is closed: there is nothing to run")

	s = open(t, c, nil)
	v, err := s.Query(t.Context(), "kept", at)
	require.NoError(t, err)
	require.Equal(t, gatekeeper.Float(7), v.Samples[0].Value)
}

func TestCloseEndsRun(t *testing.T) {
	s := open(t, Config{Path: t.TempDir()}, nil)
	done := make(chan error, 1)
	go func() { done <- s.Run(context.Background()) }()
	eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.ran != nil
	})
	require.NoError(t, s.Close())
	require.NoError(t, <-done)
	_, err := s.Query(t.Context(), "up", time.Now())
	require.ErrorContains(t, err, "closed")
	require.Equal(t, gatekeeper.CodeUnavailable, gatekeeper.CodeOf(err))
}

func TestCloseEndsQueries(t *testing.T) {
	registry := prometheus.NewRegistry()
	c := Config{Path: t.TempDir(), QueryTimeout: model.Duration(time.Hour), MaxSamples: 1 << 40}
	s, err := Open(c, slog.New(slog.DiscardHandler), registry)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() {
		_, err := s.QueryRange(context.Background(), "sum_over_time(vector(1)[5000s:1ms])", time.Unix(0, 0), time.Unix(1e6, 0), time.Second)
		done <- err
	}()
	eventually(t, func() bool {
		return testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP prometheus_engine_queries The current number of queries being executed or waiting.
# TYPE prometheus_engine_queries gauge
prometheus_engine_queries 1
`), "prometheus_engine_queries") == nil
	})
	require.NoError(t, s.Close())
	require.ErrorIs(t, <-done, context.Canceled)
}

func TestRetentionByTimeAndSize(t *testing.T) {
	now := time.Now()
	blocks := func(t *testing.T, c Config) int {
		t.Helper()
		c.Path = t.TempDir()
		for _, age := range []time.Duration{200 * time.Hour, 100 * time.Hour, 4 * time.Hour} {
			_, err := tsdb.CreateBlock([]storage.Series{series(now.Add(-age))}, c.Path, 0, slog.New(slog.DiscardHandler))
			require.NoError(t, err)
		}
		return len(open(t, c, nil).db.Blocks())
	}
	require.Equal(t, 3, blocks(t, Config{}))
	require.Equal(t, 2, blocks(t, Config{Retention: model.Duration(150 * time.Hour)}))
	require.Equal(t, 1, blocks(t, Config{Retention: model.Duration(50 * time.Hour)}))

	registry := prometheus.NewRegistry()
	s, err := Open(Config{Path: t.TempDir(), RetentionSize: 3 * units.Mebibyte, Retention: model.Duration(3 * time.Hour)}, slog.New(slog.DiscardHandler), registry)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP prometheus_tsdb_retention_limit_bytes Max number of bytes to be retained in the tsdb blocks, configured 0 means disabled
# TYPE prometheus_tsdb_retention_limit_bytes gauge
prometheus_tsdb_retention_limit_bytes 3.145728e+06
# HELP prometheus_tsdb_retention_limit_seconds How long to retain samples in storage.
# TYPE prometheus_tsdb_retention_limit_seconds gauge
prometheus_tsdb_retention_limit_seconds 10800
`), "prometheus_tsdb_retention_limit_bytes", "prometheus_tsdb_retention_limit_seconds"))
}

func TestHistogramIsTextAndWarningsAreTold(t *testing.T) {
	s := open(t, Config{Path: t.TempDir()}, nil)
	now := time.Now().Truncate(time.Millisecond)
	app := s.db.AppenderV2(t.Context())
	h := &histogram.FloatHistogram{Count: 1, Sum: 2, ZeroCount: 1, ZeroThreshold: 0.001}
	_, err := app.Append(0, labels.FromStrings("__name__", "native"), 0, now.UnixMilli(), 0, nil, h, storage.AOptions{})
	require.NoError(t, err)
	_, err = app.Append(0, labels.FromStrings("__name__", "classic_bucket", "le", "odd"), 0, now.UnixMilli(), 1, nil, nil, storage.AOptions{})
	require.NoError(t, err)
	require.NoError(t, app.Commit())

	v, err := s.Query(t.Context(), "native", now)
	require.NoError(t, err)
	require.Len(t, v.Samples, 1)
	require.Equal(t, gatekeeper.Sample{Labels: map[string]string{"__name__": "native"}, Histogram: h.String()}, v.Samples[0])
	m, err := s.QueryRange(t.Context(), "native", now, now.Add(time.Second), time.Second)
	require.NoError(t, err)
	require.Len(t, m.Series[0].Points, 2)

	v, err = s.Query(t.Context(), "histogram_quantile(0.9, classic_bucket)", now)
	require.NoError(t, err)
	require.NotEmpty(t, v.Warnings)
	v, err = s.Query(t.Context(), "rate(native[1m]) or rate(classic_bucket[1m])", now)
	require.NoError(t, err)
	require.Empty(t, v.Warnings, "an info leaves the answer whole")
}

func TestQueryIsBounded(t *testing.T) {
	s := open(t, Config{Path: t.TempDir(), MaxSamples: 10}, nil)
	_, err := s.QueryRange(t.Context(), "time()", time.Unix(0, 0), time.Unix(100, 0), time.Second)
	require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(err))
	require.ErrorContains(t, err, "too many samples")

	s = open(t, Config{Path: t.TempDir(), QueryTimeout: model.Duration(time.Millisecond)}, nil)
	_, err = s.QueryRange(t.Context(), "sum_over_time(vector(1)[5000s:1ms])", time.Unix(0, 0), time.Unix(10_000, 0), time.Second)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, gatekeeper.CodeUnavailable, gatekeeper.CodeOf(err))
}

func TestOpenTellsWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := Open(Config{Path: filepath.Join(file, "data")}, slog.New(slog.DiscardHandler), nil)
	require.ErrorContains(t, err, file)
	require.Equal(t, gatekeeper.CodeUnavailable, gatekeeper.CodeOf(err))
	require.NotEmpty(t, gatekeeper.HintOf(err))

	open(t, Config{Path: dir}, nil)
	_, err = Open(Config{Path: dir}, slog.New(slog.DiscardHandler), nil)
	require.Error(t, err, "two stores can't share a folder")
}

func TestConfigRefusesWhatCannotWork(t *testing.T) {
	job := func(change func(*Job)) Config {
		j := Job{Name: "shop", Targets: []string{"localhost:1"}}
		change(&j)
		return Config{Path: "x", Scrape: []Job{j}}
	}
	require.NoError(t, job(func(*Job) {}).Validate())
	for says, c := range map[string]Config{
		"data_dir":       {},
		"shorter than 2": {Path: "x", Retention: second},
		"less than 1MB":  {Path: "x", RetentionSize: 1},
		"query_timeout":  {Path: "x", QueryTimeout: -1},
		"max_samples":    {Path: "x", MaxSamples: -1},
		"job is missing": job(func(j *Job) { j.Name = "" }),
		"shorter than 1": job(func(j *Job) { j.Interval = second / 2 }),
		"the interval":   job(func(j *Job) { j.Timeout = 100 * second }),
		"scheme":         job(func(j *Job) { j.Scheme = "ftp" }),
		"metrics_path":   job(func(j *Job) { j.MetricsPath = "metrics" }),
		"targets":        job(func(j *Job) { j.Targets = nil }),
		"no address":     job(func(j *Job) { j.Targets = []string{"http://x/metrics"} }),
		`"job"`:          job(func(j *Job) { j.Labels = map[string]string{"job": "x"} }),
		`"__a"`:          job(func(j *Job) { j.Labels = map[string]string{"__a": "x"} }),
	} {
		err := c.Validate()
		require.ErrorContains(t, err, says)
		require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(err))
	}
}

func put(t *testing.T, db *tsdb.DB, at time.Time, v float64) {
	t.Helper()
	app := db.AppenderV2(t.Context())
	_, err := app.Append(0, labels.FromStrings("__name__", "kept"), 0, at.UnixMilli(), v, nil, nil, storage.AOptions{})
	require.NoError(t, err)
	require.NoError(t, app.Commit())
}

func series(at time.Time) storage.Series {
	return promql.NewStorageSeries(promql.Series{
		Metric: labels.FromStrings("__name__", "old"), Floats: []promql.FPoint{{T: at.UnixMilli(), F: 1}},
	})
}

// eventually waits for what a real scrape brings about.
func eventually(t *testing.T, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, 30*time.Second, 100*time.Millisecond)
}

// lockedBuffer lets a test read what a logger writes at the same time.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
