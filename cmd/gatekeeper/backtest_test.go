package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"image/png"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper/internal/servertest"
	"github.com/gatekeeper-engine/gatekeeper/rules/backtest"
)

const backtested = `service: checkout
environment: production
groups:
- name: release
  interval: 15s
  rules:
  - alert: HighErrorRate
    expr: |
      sum(rate(http_requests_total{service="${service}", version="${version}", status=~"5.."}[1m]))
        / sum(rate(http_requests_total{service="${service}", version="${version}"}[1m])) > 0.01
    for: 2m
    labels: {severity: critical}
rollback:
- {action: flag/set, connection: flags, with: {flag: new-checkout, enabled: false}}
`

// monday is when the first of the past releases was deployed; they follow each other by a day.
var monday = time.Date(2026, 10, 5, 10, 0, 0, 0, time.UTC)

// pastReleases are a week's releases, by the share of requests that fail at a minute after the deploy.
var pastReleases = []struct {
	version, outcome string
	bad              int // since the minute
	failing          func(minute float64) float64
}{
	{"1.4.0", "good", 0, func(float64) float64 { return 0.002 }},
	{"1.4.1", "good", 0, func(m float64) float64 { return map[bool]float64{true: 0.03, false: 0.002}[m >= 4 && m < 5.25] }},
	{"1.4.2", "bad", 6, func(m float64) float64 { return map[bool]float64{true: 0.06, false: 0.002}[m >= 6] }},
	{"1.4.3", "good", 0, func(float64) float64 { return 0.003 }},
	{"1.4.4", "bad", 10, func(m float64) float64 { return map[bool]float64{true: 0.008, false: 0.002}[m >= 10] }},
	{"1.4.5", "bad", 1, func(m float64) float64 { return map[bool]float64{true: 0.2, false: 0.002}[m >= 1] }},
}

// pastMetrics gives the releases' samples, and the list of them as CSV.
func pastMetrics() (samples, list string) {
	var text, lines strings.Builder
	text.WriteString("# TYPE http_requests counter\n")
	lines.WriteString("version,previous_version,deployed,outcome,bad_since\n")
	sample := func(version, status string, at time.Time, v float64) {
		fmt.Fprintf(&text, "http_requests_total{service=\"checkout\",version=%q,status=%q} %.1f %.3f\n", version, status, v, float64(at.UnixMilli())/1000)
	}
	for at := -time.Hour; at < 30*time.Minute; at += 15 * time.Second {
		sample("1.3.9", "200", monday.Add(at), 100*(at+time.Hour).Seconds())
	}
	before := "1.3.9"
	for i, r := range pastReleases {
		deployed := monday.AddDate(0, 0, i)
		since := ""
		if r.bad > 0 {
			since = deployed.Add(time.Duration(r.bad) * time.Minute).Format(time.RFC3339)
		}
		fmt.Fprintf(&lines, "%s,%s,%s,%s,%s\n", r.version, before, deployed.Format(time.RFC3339), r.outcome, since)
		before = r.version
		for _, status := range []string{"200", "500"} {
			total := 0.0
			for at := 5 * time.Second; at < time.Hour; at += 15 * time.Second {
				sample(r.version, status, deployed.Add(at), total)
				share := r.failing(at.Minutes())
				if status == "200" {
					share = 1 - share
				}
				total += 1500 * share
			}
		}
	}
	text.WriteString("# EOF\n")
	return text.String(), lines.String()
}

// backtestIn writes what a backtest needs and gives the flags of most.
func backtestIn(t *testing.T) (dir string, args []string) {
	t.Helper()
	samples, list := pastMetrics()
	dir = t.TempDir()
	for name, content := range map[string]string{"checkout.yml": backtested, "releases.csv": list} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	return dir, []string{"backtest", filepath.Join(dir, "checkout.yml"), "--backend", servertest.Backfilled(t, samples)}
}

func TestBacktest(t *testing.T) {
	dir, args := backtestIn(t)
	list := append(args, "--releases", filepath.Join(dir, "releases.csv"))
	told := gk(t, 0, append(list, "--sweep")...)
	t.Log("\n" + told)
	for _, line := range []string{
		`1\.4\.0 +2026-10-05 10:00:00Z +good +passed +- +0 of 10`,
		`1\.4\.1 +2026-10-06 10:00:00Z +good +passed`,
		`1\.4\.2 +2026-10-07 10:00:00Z +bad +rolled back +8m\d\ds +10 of 10, within 1\ds +HighErrorRate is 0\.0\d+ \(bad: > 0\.01\) for 2m\n`,
		`1\.4\.4 +2026-10-09 10:00:00Z +bad +passed`,
		`HighErrorRate +2 +0 +2 +1 +0 +0 +2m\d+s`,
		`> 0\.01 .*\[0/1 2m\d+s\]`,
		`recommended \(\*\): > 0\.0\d+ for \S+: no false rollback, none missed; it detects after`,
	} {
		require.Regexp(t, line, told)
	}

	var reports []backtest.Report
	require.NoError(t, json.Unmarshal([]byte(gk(t, 0, append(list, "--phases", "1", "-o", "json")...)), &reports))
	require.Len(t, reports[0].Releases, len(pastReleases))
	require.Equal(t, 1, reports[0].Rules[0].Missed)
	lines, err := csv.NewReader(strings.NewReader(gk(t, 0, append(list, "--threshold", "0.005,0.02", "--for", "1m", "-o", "csv")...))).ReadAll()
	require.NoError(t, err)
	require.Len(t, lines, 1+3*2, "the rule's own are tried too")
	lines, err = csv.NewReader(strings.NewReader(gk(t, 0, append(list, "--phases", "1", "-o", "csv")...))).ReadAll()
	require.NoError(t, err)
	require.Len(t, lines, 1+len(pastReleases))
	require.Equal(t, "fires", lines[3][6])
}

func TestBacktest_Pictures(t *testing.T) {
	dir, args := backtestIn(t)
	svg, picture := filepath.Join(dir, "p.svg"), filepath.Join(dir, "p.png")
	args = append(args, "--releases", filepath.Join(dir, "releases.csv"), "--phases", "1", "--svg", svg, "--png", picture)
	gk(t, 0, append(args, "--release", "1.4.2")...)
	text, err := os.ReadFile(svg)
	require.NoError(t, err)
	require.Contains(t, string(text), "would roll back")
	require.Contains(t, string(text), "bad since")
	gk(t, 0, append(args, "--sweep")...)
	text, err = os.ReadFile(svg)
	require.NoError(t, err)
	require.Contains(t, string(text), "recommended")
	data, err := os.ReadFile(picture)
	require.NoError(t, err)
	_, err = png.Decode(bytes.NewReader(data))
	require.NoError(t, err)
	require.Contains(t, both(t, 1, append(args, "--release", "none")...), `there is no past release "none"`)
	require.Contains(t, both(t, 2, args...), "give --sweep or --release")
}

func TestBacktest_Find(t *testing.T) {
	_, args := backtestIn(t)
	told := gk(t, 0, append(args, "--phases", "1", "--find", "version", "--metric", `http_requests_total{service="checkout"}`, "--since", "10y")...)
	require.Regexp(t, `1\.4\.5 +2026-10-10 10:00:05Z +unknown +rolled back`, told)
	require.Contains(t, told, "No outcome is known, so nothing can be called false or missed.")
}

func TestBacktest_Refuses(t *testing.T) {
	dir := t.TempDir()
	file, list := filepath.Join(dir, "checkout.yml"), filepath.Join(dir, "releases.csv")
	require.NoError(t, os.WriteFile(file, []byte(backtested), 0o600))
	require.NoError(t, os.WriteFile(list, []byte("version,deployed,service\nv1,2026-10-05T10:00:00Z,other\n"), 0o600))
	for want, args := range map[string][]string{
		"--backend is needed":                     {file, "--releases", list},
		"one of --journal, --releases and --find": {file, "--backend", "http://127.0.0.1:1"},
		"--find and --metric belong together":     {file, "--backend", "http://127.0.0.1:1", "--find", "version"},
		"is no duration":                          {file, "--backend", "http://127.0.0.1:1", "--releases", list, "--for", "long"},
		"has no rule \"none\"":                    {file, "--backend", "http://127.0.0.1:1", "--releases", list, "--rule", "none"},
		"none of the 1 past releases is one that": {file, "--backend", "http://127.0.0.1:1", "--releases", list},
		"--backend-token-file needs --backend":    {file, "--releases", list, "--backend-token-file", list},
		"--phases is from 1 to 100":               {file, "--backend", "http://127.0.0.1:1", "--releases", list, "--phases", "0"},
		"want text, json, yaml or csv":            {file, "-o", "wide"},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), append([]string{"backtest"}, args...), &stdout, &stderr)
		require.NotZero(t, code)
		require.Contains(t, stderr.String(), want)
	}
}

// A backend that is busy now is asked again; an interrupt prints what is done, and the same command
// goes on from there.
func TestBacktest_InterruptAndResume(t *testing.T) {
	dir, args := backtestIn(t)
	target, err := url.Parse(args[3])
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var asked, until atomic.Int64
	until.Store(15)
	proxy := httputil.NewSingleHostReverseProxy(target)
	busy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := asked.Add(1)
		if n == 2 {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		if n == until.Load() {
			cancel()
		}
		proxy.ServeHTTP(w, r)
	}))
	defer busy.Close()
	args[3] = busy.URL
	state := filepath.Join(dir, "state.json")
	args = append(args, "--releases", filepath.Join(dir, "releases.csv"), "--concurrency", "1", "--resume", state)

	var stdout, stderr bytes.Buffer
	require.Equal(t, exitError, run(ctx, args, &stdout, &stderr), stderr.String())
	require.Contains(t, stdout.String(), "1.4.0")
	require.Regexp(t, `\d more releases were not replayed`, stdout.String())
	require.Contains(t, stderr.String(), "the same command goes on from there")
	require.Contains(t, stderr.String(), "interrupted")
	require.NotContains(t, stderr.String(), "\r", "no bar where there is no terminal")

	before := asked.Load()
	told := gk(t, 0, args...)
	require.Contains(t, told, "1.4.5")
	require.NotContains(t, told, "were not replayed")
	rest := asked.Load() - before
	before = asked.Load()
	gk(t, 0, args[:len(args)-2]...)
	require.Less(t, rest, asked.Load()-before, "what is done is not asked again")
	require.Contains(t, both(t, 2, append(args, "--phases", "3")...), "another backtest")
}

// The journal tells of past releases, wherever it is read from.
func TestBacktest_Journal(t *testing.T) {
	metrics := servertest.Prometheus(t, "", nil)
	dir := t.TempDir()
	health, snapshot := filepath.Join(dir, "health.yml"), filepath.Join(dir, "snapshot")
	require.NoError(t, os.WriteFile(health, []byte(withFlag), 0o600))
	stop, said := begin(t, dir, "")
	gk(t, 0, "flag", "set", "new-checkout", "--enabled")
	gk(t, 0, "release", "open", "--version", "2", "--previous-version", "1", "-f", health, "--id", "r1")
	gk(t, 0, "release", "deployed", "r1")
	gk(t, 0, "release", "close", "r1")
	gk(t, 0, "release", "open", "--version", "3", "--previous-version", "2", "-f", health, "--id", "open")
	gk(t, 0, "store", "snapshot", snapshot)

	args := []string{"backtest", health, "--backend", metrics, "--phases", "1"}
	require.Contains(t, both(t, 2, append(args, "--journal", "--find", "version")...), "one of --journal, --releases and --find")
	running := gk(t, 0, append(args, "--journal")...)
	require.Regexp(t, `r1 +\d{4}-.*Z +unknown +unknown`, running)
	require.NotContains(t, running, "open ", "it is not over")
	require.Contains(t, both(t, 1, append(args, "--journal", "--since", "1ms")...), "none of the 0 past releases")
	require.Equal(t, 0, stop(), "%s", said)
	require.Equal(t, running, gk(t, 0, append(args, "--data-dir", filepath.Join(dir, "data"))...))
	require.Equal(t, running, gk(t, 0, append(args, "--snapshot", snapshot)...))
}
