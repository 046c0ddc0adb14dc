package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/api"
	"github.com/gatekeeper-engine/gatekeeper/internal/config"
	"github.com/gatekeeper-engine/gatekeeper/internal/signature"
)

// walk is a daemon all of whose routes are called by one client, known as "all".
type walk struct {
	t       *testing.T
	d       *daemon
	url     string
	secret  string
	browser *http.Client
	n       int // releases so far
}

func newWalk(t *testing.T) *walk {
	w := &walk{t: t, secret: api.NewSecret()}
	dir := t.TempDir()
	path := filepath.Join(dir, "gatekeeper.yml")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "hook"), []byte(w.secret), 0o600))
	require.NoError(t, os.WriteFile(path, []byte("listen: 127.0.0.1:0\ndata_dir: data\nwebhooks: [{name: all, secret_file: hook}]\n"+
		"tokens: [{name: all, scopes: [open, operate, alerts, read], token_hash: '"+api.HashSecret(w.secret)+"'}]\n"), 0o600))
	cfg, err := config.Read(path)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	d, l, err := start(ctx, cfg, newLog(cfg.Log, &log{}))
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- d.run(ctx, l) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-done)
		require.NoError(t, d.close())
	})
	w.d, w.url = d, "http://"+l.Addr().String()
	require.Eventually(t, func() bool { return get(t, w.url+"/-/ready") == http.StatusOK }, 30*time.Second, 10*time.Millisecond)
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	w.browser = &http.Client{Jar: jar}
	w.post("/login", url.Values{"token": {w.secret}})
	return w
}

// call sends JSON with the token, signed as well.
func (w *walk) call(method, path, body string) string {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(body))
	require.NoError(w.t, err)
	req.Header.Set("Authorization", "Bearer "+w.secret)
	req.Header.Set("Content-Type", "application/json")
	signature.Sign(req.Header, w.secret, time.Now(), []byte(body))
	return w.answered(http.DefaultClient.Do(req))
}

var formToken = regexp.MustCompile(`name="form" value="([^"]+)"`)

// post sends a form of the page, as a browser with a session does.
func (w *walk) post(path string, fields url.Values) string {
	w.t.Helper()
	if path != "/login" {
		page := w.answered(w.browser.Get(w.url + "/kill-switch"))
		fields.Set("form", formToken.FindStringSubmatch(page)[1])
	}
	return w.answered(w.browser.PostForm(w.url+path, fields))
}

func (w *walk) answered(res *http.Response, err error) string {
	w.t.Helper()
	require.NoError(w.t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(w.t, err)
	require.Less(w.t, res.StatusCode, 300, "%s: %s", res.Request.URL, body)
	return string(body)
}

const walked = `service: s%d
groups: [{name: a, rules: [{alert: Bad, expr: 'errors_total{version="${version}"} > 1'}]}]
respond: [{matchers: ['alertname="Outside"'], external: true, do: hold}, {do: rollback}]
rollback: [{action: flag/set, connection: flags, with: {flag: f%d, enabled: false}}]
`

// next makes what the next release can be opened with.
func (w *walk) next() {
	w.t.Helper()
	w.n++
	w.call("PUT", fmt.Sprintf("/api/v1/flags/f%d", w.n), `{"enabled":true}`)
}

// open opens a release of a service of its own.
func (w *walk) open(more string) (id string) {
	w.t.Helper()
	w.next()
	return w.opened(more)
}

func (w *walk) opened(more string) (id string) {
	w.t.Helper()
	bundle, err := json.Marshal(map[string]string{"name": "health.yml", "file": fmt.Sprintf(walked, w.n, w.n)})
	require.NoError(w.t, err)
	id = fmt.Sprintf("r%d", w.n)
	w.call("POST", "/api/v1/releases", fmt.Sprintf(`{"id":%q,"version":"2","previous_version":"1","bundle":%s%s}`, id, bundle, more))
	return id
}

func (w *walk) watched() string { return w.open(`,"deployed":true`) }

func (w *walk) until(id string, is func(gatekeeper.Release) bool) string {
	w.t.Helper()
	require.Eventually(w.t, func() bool {
		r, err := w.d.engine.Release(w.t.Context(), id)
		return err == nil && is(r)
	}, 30*time.Second, 10*time.Millisecond)
	return id
}

// held gives a release that is held because of a breach.
func (w *walk) held() string {
	id := w.watched()
	w.alert(id, "/api/v2/alerts")
	return w.until(id, func(r gatekeeper.Release) bool { return r.State == gatekeeper.Holding })
}

func (w *walk) alert(id, path string) {
	labels := map[string]string{"alertname": "Outside", "service": "s" + id[1:]}
	one := map[string]any{"labels": labels, "startsAt": time.Now().Format(time.RFC3339Nano), "status": "firing"}
	var body any = []any{one}
	if strings.HasPrefix(path, "/webhooks/") {
		body = map[string]any{"version": "4", "status": "firing", "alerts": body}
	}
	text, err := json.Marshal(body)
	require.NoError(w.t, err)
	w.call("POST", path, string(text))
}

// deeds counts the facts and audit records that the client is behind.
func (w *walk) deeds() (n int) {
	ctx := w.t.Context()
	for i := range w.n {
		facts, err := w.d.engine.Facts(ctx, fmt.Sprintf("r%d", i+1))
		require.True(w.t, err == nil || gatekeeper.CodeOf(err) == gatekeeper.CodeNotFound, "%v", err)
		for _, f := range facts {
			if (gatekeeper.By{Actor: f.Actor}).Concerns("all") {
				n++
			}
		}
	}
	records, err := w.d.engine.Audits(ctx, 0, gatekeeper.MaxAuditPage)
	require.NoError(w.t, err)
	for _, r := range records {
		if r.Concerns("all") {
			n++
		}
	}
	return n
}

// harmless are the routes that change nothing which outlives them, and why.
var harmless = map[string]string{
	"/ofrep/":      "it reads flags: the question is the body",
	"POST /login":  "a session shows a token; what is done by it is recorded with the token's name",
	"POST /logout": "the same",
}

// verbOf prepares a release on which the verb can be asked.
func (w *walk) verbOf(verb string) (id string) {
	switch verb {
	case "approve", "veto", "resume":
		return w.held()
	case "deployed":
		return w.open("")
	case "heartbeat": // a sign of life is recorded once people were told that it is missing
		return w.until(w.open(`,"heartbeat":"1s"`), func(r gatekeeper.Release) bool { return !r.SilentSince.IsZero() })
	}
	return w.watched()
}

// routes calls each route that changes something, on what prepare has made of it.
func (w *walk) routes() map[string]func() func() {
	call := func(method, path, body string) func() func() {
		return func() func() { return func() { w.call(method, path, body) } }
	}
	all := map[string]func() func(){
		"POST /api/v1/releases":    func() func() { return func() { w.watched() } },
		"PUT /api/v1/kill-switch":  call("PUT", "/api/v1/kill-switch", `{"on":false}`),
		"PUT /api/v1/flags/{key}":  call("PUT", "/api/v1/flags/new", `{"enabled":true}`),
		"POST /api/v1/store/prune": call("POST", "/api/v1/store/prune", `{"older_than":"4320h"}`),
		"POST /-/reload":           call("POST", "/-/reload", ""),
		"DELETE /api/v1/flags/{key}": func() func() {
			var f api.Flag
			require.NoError(w.t, json.Unmarshal([]byte(w.call("PUT", "/api/v1/flags/old", `{"enabled":true}`)), &f))
			return func() { w.call("DELETE", fmt.Sprintf("/api/v1/flags/old?version=%d", f.Version), "") }
		},
		"/webhooks/generic/all": func() func() {
			id := w.watched()
			return func() { w.call("POST", "/webhooks/generic/all", `{"action":"close","id":"`+id+`"}`) }
		},
		"POST /kill-switch":          func() func() { return func() { w.post("/kill-switch", url.Values{"on": {"false"}}) } },
		"POST /releases/{id}/{verb}": func() func() { return w.askOnThePage },
	}
	for _, path := range []string{"/api/v2/alerts", "/webhooks/alertmanager"} {
		all[path] = func() func() {
			id := w.watched()
			return func() { w.alert(id, path) }
		}
	}
	for _, verb := range []string{"deployed", "heartbeat", "approve", "veto", "hold", "resume", "rollback", "close", "mark-irreversible", "extend"} {
		all["POST /api/v1/releases/{id}/"+verb] = func() func() {
			id, body := w.verbOf(verb), "{}"
			if verb == "extend" {
				body = `{"by":"15m"}`
			}
			return func() { w.call("POST", "/api/v1/releases/"+id+"/"+verb, body) }
		}
	}
	return all
}

// askOnThePage asks every verb of the page's forms.
func (w *walk) askOnThePage() {
	for _, verb := range []string{"approve", "veto", "hold", "resume", "rollback", "close", "extend"} {
		id := w.verbOf(verb)
		before := w.deeds()
		w.post("/releases/"+id+"/"+verb, url.Values{"minutes": {"15"}})
		require.Greater(w.t, w.deeds(), before, "%s on the page left nothing in the journal", verb)
	}
}

// Every route that is not for reading leaves a fact of a release or an audit record with who
// called it. A new one must say here how to call it, or why it changes nothing.
func TestEveryChangingRouteIsRecorded(t *testing.T) {
	w := newWalk(t)
	routes, seen := w.routes(), map[string]bool{}
	for _, pattern := range w.d.face.now.Load().Handler.(api.Pages).Patterns() {
		seen[pattern] = true
		if strings.HasPrefix(pattern, "GET ") || strings.HasPrefix(pattern, "HEAD ") || harmless[pattern] != "" {
			continue
		}
		t.Run(strings.ReplaceAll(pattern, "/", "_"), func(t *testing.T) {
			w.t = t
			prepare, ok := routes[pattern]
			require.True(t, ok, "nothing is known of %s: how is it called, and what does it leave in the journal?", pattern)
			ask := prepare()
			before := w.deeds()
			ask()
			require.Greater(t, w.deeds(), before, "%s left nothing in the journal", pattern)
		})
	}
	w.t = t
	for pattern := range routes {
		require.True(t, seen[pattern], "%s is not served", pattern)
	}
	for pattern := range harmless {
		require.True(t, seen[pattern], "%s is not served", pattern)
	}
	require.False(t, bytes.Contains(w.stored(), []byte(w.secret)), "the token is in the store")
}

// stored gives everything that the store holds.
func (w *walk) stored() []byte {
	in, err := w.d.store.Snapshot(w.t.Context())
	require.NoError(w.t, err)
	all, err := io.ReadAll(in)
	require.NoError(w.t, err)
	require.NoError(w.t, in.Close())
	return all
}
