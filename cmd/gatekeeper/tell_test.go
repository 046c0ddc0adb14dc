package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper/internal/signature"
)

// listener takes what is told and keeps it; while hang is open it answers nothing.
type listener struct {
	*httptest.Server
	hang chan struct{}

	mu  sync.Mutex
	got []string
}

func listen(t *testing.T, answer string) *listener {
	t.Helper()
	l := &listener{hang: make(chan struct{})}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		l.mu.Lock()
		l.got = append(l.got, string(body))
		l.mu.Unlock()
		select {
		case <-l.hang:
		case <-r.Context().Done():
			return
		}
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(l.Close)
	return l
}

func (l *listener) said() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.got, "\n")
}

// Slack and PagerDuty that hang delay neither the rollback nor the channel that works, and the
// daemon ends although they never answered.
func TestHangingChannelsDelayNoRollback(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	slack, pager, audit := listen(t, "ok"), listen(t, "{}"), listen(t, "")
	close(audit.hang)
	write("slack", slack.URL+"/services/s3cret-path\n")
	write("pagerduty", "s3cret0123456789s3cret0123456789\n")
	write("audit", "s3cret-s3cret-s3cret\n")
	health := write("health.yml", withFlag)
	stop, said := begin(t, dir, `
notifications:
  slack: [{name: shop, webhook_url_file: slack, services: [shop]}]
  pagerduty: [{name: on-call, routing_key_file: pagerduty, url: "`+pager.URL+`"}]
  webhooks: [{name: audit, url: "`+audit.URL+`", secret_file: audit, events: [held, rollback_started, rolled_back, recovery_unknown]}]
`)
	gk(t, 0, "flag", "set", "new-checkout", "--enabled")
	gk(t, 0, "release", "open", "--version", "2", "--previous-version", "1", "-f", health, "--id", "r1", "--deployed")
	gk(t, 0, "release", "hold", "r1", "--why", "look first")
	require.Eventually(t, func() bool { return slack.said() != "" && pager.said() != "" }, 10*time.Second, 5*time.Millisecond)
	gk(t, 0, "release", "rollback", "r1", "--why", "it is slow")
	gk(t, 3, "release", "wait", "r1")
	require.Regexp(t, `new-checkout +false`, gk(t, 0, "flag", "get", "new-checkout"))

	require.Equal(t, 1, len(slack.got), "it has not answered the first message yet")
	require.Contains(t, slack.said(), "held by")
	require.Contains(t, pager.said(), `"dedup_key":"r1"`)
	require.Eventually(t, func() bool { return strings.Contains(audit.said(), `"news":{"event":"rollback_started"`) }, 10*time.Second, 5*time.Millisecond)
	require.Contains(t, audit.said(), `"kind":"decided"`)
	require.Equal(t, 0, stop(), "%s", said)
	require.Contains(t, said.String(), "people are not told by this channel")
	require.NotContains(t, said.String(), "s3cret")
}

// A CI system that can only post opens a release, starts its window and closes it.
func TestSignedRequestsOverTheDaemon(t *testing.T) {
	dir := t.TempDir()
	const secret = "s3cret-s3cret-s3cret"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ci"), []byte(secret+"\n"), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "health"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "health", "shop.yml"), []byte(withFlag), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "health", "pay.yml"), []byte(strings.Replace(withFlag, "service: shop", "service: pay", 1)), 0o600))
	stop, said := begin(t, dir, "health_files: health\nwebhooks: [{name: ci, secret_file: ci, services: [shop]}]\n")
	post := func(body string) (int, map[string]any) {
		req, err := http.NewRequest(http.MethodPost, os.Getenv("GATEKEEPER_URL")+"/webhooks/generic/ci", bytes.NewReader([]byte(body)))
		require.NoError(t, err)
		signature.Sign(req.Header, secret, time.Now(), []byte(body))
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		var answer map[string]any
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&answer))
		return resp.StatusCode, answer
	}
	gk(t, 0, "flag", "set", "new-checkout", "--enabled")
	status, answer := post(`{"action":"open","id":"b1","service":"shop","version":"2","previous_version":"1","health_file":"shop.yml","actor":"ann"}`)
	require.Equal(t, http.StatusOK, status, "%v", answer)
	require.Equal(t, map[string]any{"release": "b1", "state": "waiting"}, answer)
	require.Contains(t, gk(t, 0, "release", "show", "b1", "-o", "json"), `"opened_by": "ci (ann)"`)

	status, answer = post(`{"action":"deployed","id":"b1"}`)
	require.Equal(t, http.StatusOK, status, "%v", answer)
	require.Equal(t, "watching", answer["state"])
	status, answer = post(`{"action":"extend","id":"b1","by":"15m"}`)
	require.Equal(t, http.StatusOK, status, "%v", answer)
	status, _ = post(`{"action":"extend","id":"b1","by":"15m"}`)
	require.Equal(t, http.StatusOK, status)
	status, _ = post(`{"action":"mark-irreversible","id":"b1","why":"a migration"}`)
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, gk(t, 0, "release", "show", "b1", "-o", "json"), `"irreversible": "marked by ci: a migration"`)
	status, answer = post(`{"action":"close","id":"b1","why":"done"}`)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "aborted", answer["outcome"])
	status, answer = post(`{"action":"close","id":"b1","why":"again"}`)
	require.Equal(t, http.StatusConflict, status)
	require.Contains(t, answer["detail"], "is closed")

	status, _ = post(`{"action":"open","id":"b2","service":"pay","version":"2","health_file":"pay.yml"}`)
	require.Equal(t, http.StatusForbidden, status)
	status, _ = post(`{"action":"open","id":"b2","service":"shop","version":"3","health_file":"pay.yml"}`)
	require.Equal(t, http.StatusBadRequest, status)
	gk(t, 0, "release", "open", "--version", "2", "--previous-version", "1", "-f", filepath.Join(dir, "health", "pay.yml"), "--id", "p1", "--watch-only")
	status, _ = post(`{"action":"close","id":"p1"}`)
	require.Equal(t, http.StatusForbidden, status, "another service's release")
	status, _ = post(`{"action":"close","id":"none"}`)
	require.Equal(t, http.StatusNotFound, status)
	resp, err := http.Post(os.Getenv("GATEKEEPER_URL")+"/webhooks/generic/ci", "application/json", strings.NewReader(`{"action":"close","id":"b1"}`))
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	require.Equal(t, 0, stop(), "%s", said)
	require.NotContains(t, said.String(), "s3cret")
}

func TestServeRefusesBadChannels(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "short"), []byte("s3cret"), 0o600))
	serve := func(text string) string {
		path := filepath.Join(dir, "gatekeeper.yml")
		require.NoError(t, os.WriteFile(path, []byte("listen: 127.0.0.1:0\ndata_dir: data\n"+text), 0o600))
		var errs bytes.Buffer
		require.Equal(t, exitUsage, run(t.Context(), []string{"serve", "--config", path}, io.Discard, &errs))
		require.NotContains(t, errs.String(), "s3cret")
		return errs.String()
	}
	for want, text := range map[string]string{
		`:6:14: error: the name "a" is used twice`:       "notifications:\n  slack:\n    - {name: a, webhook_url_file: short}\n    - {name: a, webhook_url_file: short}\n",
		`slack "a" needs webhook_url_file or token_file`: "notifications: {slack: [{name: a}]}\n",
		`there is no event "paged" to tell here`:         "notifications: {webhooks: [{name: a, url: 'https://x', secret_file: short, events: [paged]}]}\n",
		`there is no event "passed" to tell here`:        "notifications: {pagerduty: [{name: a, routing_key_file: short, events: [passed]}]}\n",
		`unknown key "routing_key"`:                      "notifications: {pagerduty: [{name: a, routing_key: x}]}\n",
		"holds no webhook URL":                           "notifications: {slack: [{name: a, webhook_url_file: short}]}\n",
		"the secret has 6 characters, fewer than 16":     "webhooks: [{name: ci, secret_file: short}]\n",
		"none: no such file or directory":                "notifications: {pagerduty: [{name: a, routing_key_file: none}]}\n",
	} {
		require.Contains(t, serve(text), want)
	}
}

var shell = regexp.MustCompile("(?s)```sh\n(.*?)```")

// The guide's steps with curl and openssl work as they stand there.
func TestSignedExampleOfTheGuide(t *testing.T) {
	for _, program := range []string{"sh", "curl", "openssl"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("%s is not installed: apt-get install %s", program, program)
			}
			t.Skipf("%s is not installed: apt-get install %s", program, program)
		}
	}
	example := shell.FindStringSubmatch(page(t, "docs/guides/notifications.md"))
	require.NotEmpty(t, example)
	dir := t.TempDir()
	for name, text := range map[string]string{
		"secrets/ci": "s3cret-s3cret-s3cret\n", "health/shop-web.yml": strings.Replace(withFlag, "service: shop", "service: shop-web", 1),
	} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	stop, said := begin(t, dir, "health_files: health\nwebhooks: [{name: ci, secret_file: secrets/ci, services: [shop-*]}]\n")
	gk(t, 0, "flag", "set", "new-checkout", "--enabled")
	cmd := exec.CommandContext(t.Context(), "sh", "-c", example[1])
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "no_proxy=127.0.0.1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.JSONEq(t, `{"release":"build-4711","state":"waiting"}`, string(out))
	require.Equal(t, 0, stop(), "%s", said)
}
