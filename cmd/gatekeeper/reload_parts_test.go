package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper/internal/signature"
)

// file writes a file beside the configuration.
func (r *reloading) file(name, text string) {
	r.t.Helper()
	require.NoError(r.t, os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600))
}

// reload has the daemon take more beside what newReloading began with.
func (r *reloading) reload(more string) {
	r.t.Helper()
	r.write(r.good() + more)
	status, body := r.post()
	require.Equal(r.t, 200, status, body)
}

// operate runs a command as ops.
func (r *reloading) operate(code int, args ...string) string {
	r.t.Helper()
	was := os.Getenv("GATEKEEPER_TOKEN")
	r.t.Setenv("GATEKEEPER_TOKEN", r.opsSecret)
	defer r.t.Setenv("GATEKEEPER_TOKEN", was)
	return gk(r.t, code, args...)
}

func eventually(t *testing.T, condition func() bool, said any) {
	t.Helper()
	require.Eventually(t, condition, 10*time.Second, 5*time.Millisecond, "%v", said)
}

func answering(t *testing.T, answer string) *listener {
	l := listen(t, answer)
	close(l.hang)
	return l
}

// Who is told changes while a release is held: what is new hears of what stands, what is kept
// hears nothing twice, and what is left out still sends what waits.
func TestAReloadChangesWhoIsTold(t *testing.T) {
	r := newReloading(t)
	first, second := answering(t, ""), answering(t, "")
	slack, pager, audit := listen(t, "ok"), answering(t, "{}"), answering(t, "")
	r.file("slack", slack.URL+"/services/s3cret-path\n")
	r.file("key", "s3cret0123456789s3cret0123456789\n")
	r.file("audit", "s3cret-s3cret-s3cret\n")
	am := func(l *listener) string { return "{url: '" + l.URL + "'}" }
	page := "  pagerduty: [{name: on-call, routing_key_file: key, url: '" + pager.URL + "'}]\n"

	r.reload("alertmanagers: [" + am(first) + "]\nnotifications:\n" + page + "  slack: [{name: shop, webhook_url_file: slack}]\n")
	r.open(0, "2")
	gk(t, 0, "release", "deployed", "r2")
	r.operate(0, "release", "hold", "r2", "--why", "look first")
	eventually(t, func() bool { return strings.Contains(first.said(), "GatekeeperReleaseHeld") }, "held")
	eventually(t, func() bool {
		return strings.Contains(slack.said(), "held by") && strings.Contains(pager.said(), "trigger")
	}, "told")
	r.operate(0, "release", "resume", "r2") // waits behind the message that hangs
	r.operate(0, "release", "hold", "r2", "--why", "look again")
	eventually(t, func() bool { return strings.Contains(pager.said(), "look again") }, "paged")
	pages := strings.Count(pager.said(), `"trigger"`)

	r.reload("alertmanagers: [" + am(first) + ", " + am(second) + "]\nnotifications:\n" + page +
		"  webhooks: [{name: audit, url: '" + audit.URL + "', secret_file: audit}]\n")
	eventually(t, func() bool { return strings.Contains(second.said(), "GatekeeperReleaseHeld") }, "a new Alertmanager gets what stands")
	eventually(t, func() bool { return strings.Contains(audit.said(), `"event":"held"`) }, "a new channel hears of what is held")
	require.Equal(t, 1, strings.Count(audit.said(), `"event"`), "and of nothing before")
	close(slack.hang)
	eventually(t, func() bool { return strings.Contains(slack.said(), "look again") }, "no news is lost")
	require.Contains(t, slack.said(), "is watched again")
	require.Equal(t, 1, strings.Count(first.said(), "look again"))

	require.Equal(t, pages, strings.Count(pager.said(), `"trigger"`), "what stands is not triggered again")
	r.operate(0, "release", "rollback", "r2")
	require.Contains(t, gk(t, 3, "release", "wait", "r2"), "ROLLED BACK")
	for _, l := range []*listener{first, second} {
		eventually(t, func() bool { return strings.Contains(l.said(), "GatekeeperRolledBack") }, "both are told")
	}
	eventually(t, func() bool { return strings.Contains(pager.said(), `"resolve"`) }, "the page that stood before the reload is resolved")
	eventually(t, func() bool { return strings.Contains(audit.said(), `"event":"rolled_back"`) }, "audit")
	require.NotContains(t, slack.said(), "being rolled back", "it was left out")
	require.Equal(t, 0, r.stop(), "%s", r.said)
	require.NotContains(t, r.said.String(), "s3cret")
}

// A page that stands is taken over by a channel that changed.
func TestAReloadOfAChannelTakesOverItsPage(t *testing.T) {
	r := newReloading(t)
	before, after := answering(t, "{}"), answering(t, "{}")
	r.file("key", "s3cret0123456789s3cret0123456789\n")
	at := func(l *listener) string {
		return "notifications: {pagerduty: [{name: on-call, routing_key_file: key, url: '" + l.URL + "'}]}\n"
	}
	r.reload(at(before))
	r.open(0, "2")
	gk(t, 0, "release", "deployed", "r2")
	r.operate(0, "release", "hold", "r2")
	eventually(t, func() bool { return strings.Contains(before.said(), "trigger") }, "paged")
	r.reload(at(after))
	r.operate(0, "release", "resume", "r2")
	eventually(t, func() bool {
		return strings.Contains(after.said(), `"trigger"`) && strings.Contains(after.said(), `"resolve"`)
	}, "paged again with the same key, and resolved")
	require.Contains(t, after.said(), `"dedup_key":"r2"`)
	require.NotContains(t, before.said(), "resolve")
	require.Equal(t, 0, r.stop(), "%s", r.said)
}

// promql is a Prometheus without samples that counts what it is asked.
func promql(t *testing.T) (url string, asked *atomic.Int64) {
	asked = &atomic.Int64{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		kind := "vector"
		if strings.HasSuffix(r.URL.Path, "query_range") {
			kind = "matrix"
		}
		_, _ = io.WriteString(w, `{"status":"success","data":{"resultType":"`+kind+`","result":[]}}`)
	}))
	t.Cleanup(s.Close)
	return s.URL, asked
}

// Backends change under an open release: it asks the one that has the name now. An embedded store
// that did not change goes on, and one that an open release asks can't be left out.
func TestAReloadChangesBackends(t *testing.T) {
	r := newReloading(t)
	one, askedOne := promql(t)
	two, askedTwo := promql(t)
	kept := "  kept: {tsdb: {data_dir: kept}}\n"
	main := func(url string) string { return "  main: {prometheus: {url: '" + url + "'}}\n" }
	r.reload("default_backend: main\nbackends:\n" + main(one) + kept)
	health := "service: shop\nwindow: 5m\nbackend: %\n" + strings.SplitN(withFlag, "window: 5m\n", 2)[1]
	health = strings.Replace(strings.Replace(health, "connection: flags", "connection: mine", 1), "- name: a\n", "- name: a\n    interval: 1s\n", 1)
	r.file("health.yml", strings.Replace(health, "%", "main", 1))
	r.open(0, "2")
	gk(t, 0, "release", "deployed", "r2")
	eventually(t, func() bool { return askedOne.Load() > 0 }, "asked")
	require.True(t, r.metric(`backend="kept"`))
	require.False(t, r.metric(`backend="local"`), "what is not configured any more has no metrics")

	r.reload("default_backend: main\nbackends:\n" + main(two) + kept + "  more: {tsdb: {data_dir: more}}\n")
	before := askedOne.Load()
	eventually(t, func() bool { return askedTwo.Load() > 2 }, "the open release asks the other")
	require.LessOrEqual(t, askedOne.Load(), before+1, "but for what was under way")
	require.True(t, r.metric(`backend="more"`))
	require.Equal(t, 1, strings.Count(strings.Join(opened(t, r.dir, "kept"), ""), "lock"), "it is open, and was not opened beside itself")

	r.write(r.good() + "default_backend: kept\nbackends:\n" + kept + "  extra: {tsdb: {data_dir: extra}}\n")
	status, body := r.post()
	require.Equal(t, 409, status, body)
	require.DirExists(t, filepath.Join(r.dir, "extra"))
	require.Empty(t, opened(t, r.dir, "extra"), "what was opened for a reload that is refused is closed again")
	require.Contains(t, body, `the backend \"main\" can't be left out: its answers judge the open releases r2`)
	require.True(t, r.metric(`backend="more"`), "nothing was changed")
	was := askedTwo.Load()
	eventually(t, func() bool { return askedTwo.Load() > was }, "it is judged on")

	gk(t, 0, "release", "close", "r2")
	r.reload("default_backend: kept\nbackends:\n" + kept)
	require.False(t, r.metric(`backend="more"`))
	require.Empty(t, opened(t, r.dir, "more"), "it was closed")
	r.file("health.yml", strings.Replace(health, "%", "main", 1))
	r.open(2, "3")
	r.file("health.yml", strings.Replace(health, "%", "kept", 1))
	r.open(0, "3")
	require.Equal(t, 0, r.stop(), "%s", r.said)
}

// opened gives the lock files of an embedded store.
func opened(t *testing.T, dir, name string) []string {
	found, err := filepath.Glob(filepath.Join(dir, name, "lock"))
	require.NoError(t, err)
	return found
}

// Senders of signed requests come and go; what they sent before can't be replayed after.
func TestAReloadChangesSendersOfSignedRequests(t *testing.T) {
	r := newReloading(t)
	const secret = "s3cret-s3cret-s3cret"
	r.file("ci", secret)
	require.NoError(t, os.Mkdir(filepath.Join(r.dir, "health"), 0o700))
	r.file("health/shop.yml", strings.Replace(withFlag, "connection: flags", "connection: mine", 1))
	body := []byte(`{"action":"open","id":"b1","service":"shop","version":"2","previous_version":"1","health_file":"shop.yml"}`)
	header := http.Header{}
	signature.Sign(header, secret, time.Now(), body)
	post := func(name string) (int, string) {
		req, err := http.NewRequest(http.MethodPost, r.url+"/webhooks/generic/"+name, bytes.NewReader(body))
		require.NoError(t, err)
		req.Header = header
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		return res.StatusCode, string(text)
	}
	status, _ := post("ci")
	require.Equal(t, 404, status)
	r.reload("health_files: health\nwebhooks: [{name: ci, secret_file: ci, services: [pay]}]\n")
	status, text := post("ci")
	require.Equal(t, 403, status, text)
	r.reload("health_files: health\nwebhooks: [{name: ci, secret_file: ci}]\n")
	status, text = post("ci")
	require.Equal(t, 200, status, text)
	r.reload("health_files: health\nwebhooks: [{name: ci, secret_file: ci, services: [shop]}]\n")
	status, text = post("ci")
	require.Equal(t, 200, status, text)
	require.Contains(t, text, `"repeated":true`)
	r.reload("")
	status, _ = post("ci")
	require.Equal(t, 404, status)
	require.Equal(t, 0, r.stop(), "%s", r.said)
}

// One bad part of each kind changes nothing of all the others.
func TestABadPartChangesNothing(t *testing.T) {
	r := newReloading(t)
	told, other := answering(t, ""), answering(t, "")
	r.file("audit", "s3cret-s3cret-s3cret\n")
	r.file("short", "s3cret\n")
	r.file("taken", "no folder")
	hook := func(l *listener) string {
		return "notifications: {webhooks: [{name: audit, url: '" + l.URL + "', secret_file: audit}]}\n"
	}
	good := "backends: {base: {tsdb: {data_dir: base}}}\n" + hook(told)
	r.reload(good)
	for want, more := range map[string]string{
		"none: no such file":                   good + "alertmanagers: [{url: 'http://127.0.0.1:1', tls: {ca_file: none}}]\n",
		"a secret can't be read":               "backends: {base: {tsdb: {data_dir: base}}}\nnotifications: {webhooks: [{name: audit, url: '" + other.URL + "', secret_file: none}]}\n",
		"holds no webhook URL":                 "notifications: {slack: [{name: s, webhook_url_file: short}]}\nbackends: {base: {tsdb: {data_dir: base}}}\n",
		"fewer than 16":                        good + "webhooks: [{name: ci, secret_file: short}]\n",
		"tls exist and hold PEM":               hook(other) + "default_backend: a\nbackends: {a: {prometheus: {url: 'http://127.0.0.1:1', tls: {ca_file: none}}}}\n",
		"can't be opened":                      hook(other) + "default_backend: base\nbackends: {base: {tsdb: {data_dir: base}}, b: {tsdb: {data_dir: taken}}}\n",
		`used by no other process`:             hook(other) + "backends: {again: {tsdb: {data_dir: base}}}\n",
		`embedded backend \"base\" can't be`:   hook(other) + "backends: {base: {tsdb: {data_dir: base, retention: 30d}}}\n",
		`\"base\" can't become one of another`: hook(other) + "default_backend: base\nbackends: {base: {prometheus: {url: 'http://127.0.0.1:1'}}}\n",
		`there is no backend \"nowhere\"`:      good + "default_backend: nowhere\n",
		"external_url can't be changed while":  good + "external_url: 'http://x'\n",
	} {
		r.write(r.good() + more)
		status, body := r.post()
		require.GreaterOrEqual(t, status, 400, want)
		require.Contains(t, body, want)
	}
	require.True(t, r.metric("gatekeeper_config_last_reload_successful 0"))
	require.True(t, r.metric(`backend="base"`))
	require.Empty(t, opened(t, r.dir, "taken"))
	r.open(0, "2")
	gk(t, 0, "release", "deployed", "r2")
	r.operate(0, "release", "hold", "r2")
	eventually(t, func() bool { return strings.Contains(told.said(), `"event":"held"`) }, "as before")
	require.Empty(t, other.said())
	r.reload(good)
	require.True(t, r.metric("gatekeeper_config_last_reload_successful 1"))
	require.Equal(t, 0, r.stop(), "%s", r.said)
}

// A web_config_file that begins to ask for TLS is refused: the daemon would be served as before.
func TestAReloadCantTurnTLSOn(t *testing.T) {
	dir := t.TempDir()
	certificate(t, dir, "alice")
	web := filepath.Join(dir, "web.yml")
	require.NoError(t, os.WriteFile(web, []byte("http_server_config: {http2: false}\n"), 0o600))
	stop, said := begin(t, dir, "web_config_file: web.yml\n")
	require.NoError(t, os.WriteFile(web, []byte(mutual), 0o600))
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
	eventually(t, func() bool {
		return strings.Contains(said.String(), "whether TLS is served can't be changed while the daemon runs")
	}, said)
	require.NoError(t, os.WriteFile(web, []byte("http_server_config: {http2: false}\n"), 0o600))
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
	eventually(t, func() bool { return strings.Contains(said.String(), "the configuration was reloaded") }, said)
	require.Equal(t, 0, stop(), "%s", said)
}
