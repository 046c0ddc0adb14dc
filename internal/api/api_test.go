package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/engine"
	"github.com/gatekeeper-engine/gatekeeper/internal/memory"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scripted is an engine of facts over a real journal; its verbs note what they were asked.
type scripted struct {
	*memory.Journal
	mu       sync.Mutex
	opens    []engine.OpenRequest
	asked    []string
	sw       engine.KillSwitch
	err      error         // what every verb answers
	openWait time.Duration // how long Open takes
	watchErr error

	standings []engine.Standing
}

func newScripted() *scripted { return &scripted{Journal: memory.New()} }

func (e *scripted) Ready() error { return e.err }

func (e *scripted) Open(ctx context.Context, req engine.OpenRequest) (gatekeeper.Release, error) {
	e.mu.Lock()
	e.opens = append(e.opens, req)
	e.mu.Unlock()
	if e.err != nil {
		return gatekeeper.Release{}, e.err
	}
	select {
	case <-ctx.Done():
		return gatekeeper.Release{}, ctx.Err()
	case <-time.After(e.openWait):
	}
	id := req.ID
	if id == "" {
		id = "made-up"
	}
	err := e.Commit(ctx, gatekeeper.Entry{Release: id, Facts: []gatekeeper.Fact{{At: time.Unix(0, 0).UTC(), Actor: req.Actor, Body: gatekeeper.Opened{
		Service: req.Service, Environment: "default", Version: req.Version, Purpose: gatekeeper.PurposeDeploy,
	}}}})
	if err != nil {
		return gatekeeper.Release{}, err
	}
	return e.Release(ctx, id)
}

func (e *scripted) add(t *testing.T, id string, after int64, bodies ...gatekeeper.Body) {
	t.Helper()
	facts := make([]gatekeeper.Fact, len(bodies))
	for i, b := range bodies {
		facts[i] = gatekeeper.Fact{At: time.Unix(1, 0).UTC(), Body: b}
	}
	require.NoError(t, e.Commit(t.Context(), gatekeeper.Entry{Release: id, After: after, Facts: facts}))
}

func (e *scripted) Release(ctx context.Context, id string) (gatekeeper.Release, error) {
	facts, err := e.Facts(ctx, id)
	if err != nil {
		return gatekeeper.Release{}, err
	}
	return gatekeeper.Replay(id, facts)
}

func (e *scripted) List(ctx context.Context, q gatekeeper.Listing) ([]gatekeeper.Release, error) {
	ids, err := e.Journal.List(ctx, q)
	var out []gatekeeper.Release
	for _, id := range ids {
		r, err := e.Release(ctx, id)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, err
}

func (e *scripted) Watch(ctx context.Context, after int64) iter.Seq2[gatekeeper.Change, error] {
	if e.watchErr != nil {
		return func(yield func(gatekeeper.Change, error) bool) { yield(gatekeeper.Change{}, e.watchErr) }
	}
	return e.Journal.Watch(ctx, after)
}

func (e *scripted) Audit(ctx context.Context, r gatekeeper.AuditRecord) error {
	_, err := e.Journal.Audit(ctx, r)
	return err
}

func (e *scripted) ask(verb, id string, by engine.By) (gatekeeper.Release, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked = append(e.asked, fmt.Sprintf("%s %s by %s: %s", verb, id, by.Actor, by.Why))
	if e.err != nil {
		return gatekeeper.Release{}, e.err
	}
	return gatekeeper.Release{ID: id}, nil
}

func (e *scripted) Deployed(_ context.Context, id string, by engine.By) (gatekeeper.Release, error) {
	return e.ask("deployed", id, by)
}

func (e *scripted) Approve(_ context.Context, id string, by engine.By) (gatekeeper.Release, error) {
	return e.ask("approve", id, by)
}

func (e *scripted) Veto(_ context.Context, id string, by engine.By) (gatekeeper.Release, error) {
	return e.ask("veto", id, by)
}

func (e *scripted) Hold(_ context.Context, id string, by engine.By) (gatekeeper.Release, error) {
	return e.ask("hold", id, by)
}

func (e *scripted) Resume(_ context.Context, id string, by engine.By) (gatekeeper.Release, error) {
	return e.ask("resume", id, by)
}

func (e *scripted) Rollback(_ context.Context, id string, by engine.By) (gatekeeper.Release, error) {
	return e.ask("rollback", id, by)
}

func (e *scripted) Close(_ context.Context, id string, by engine.By) (gatekeeper.Release, error) {
	return e.ask("close", id, by)
}

func (e *scripted) Heartbeat(_ context.Context, id string, by engine.By) (gatekeeper.Release, error) {
	return e.ask("heartbeat", id, by)
}

func (e *scripted) Mark(_ context.Context, id string, by engine.By) (gatekeeper.Release, error) {
	return e.ask("mark-irreversible", id, by)
}

func (e *scripted) Extend(_ context.Context, id string, d time.Duration, by engine.By) (gatekeeper.Release, error) {
	return e.ask("extend "+d.String(), id, by)
}

func (e *scripted) KillSwitch() engine.KillSwitch { return e.sw }

func (e *scripted) SetKillSwitch(_ context.Context, on bool, by engine.By) (engine.KillSwitch, error) {
	e.sw = engine.KillSwitch{On: on, Actor: by.Actor, Why: by.Why}
	return e.sw, nil
}

// face is a served API and the client's side of it.
type face struct {
	t      *testing.T
	url    string
	header http.Header
}

func serve(t *testing.T, cfg Config) face {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	cfg.Streams = ctx
	h, err := New(cfg)
	require.NoError(t, err)
	f := serveHandler(t, h)
	t.Cleanup(stop) // before the server is closed, which waits for the streams
	return f
}

func serveHandler(t *testing.T, h http.Handler) face {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config = Server(h)
	srv.Start()
	t.Cleanup(func() {
		srv.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return face{t: t, url: srv.URL, header: http.Header{}}
}

func (f face) with(k, v string) face {
	h := f.header.Clone()
	h.Set(k, v)
	return face{f.t, f.url, h}
}

func (f face) send(method, path, body string) *http.Response {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), method, f.url+path, strings.NewReader(body))
	require.NoError(f.t, err)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for k, v := range f.header {
		req.Header[k] = v
		if k == "Host" {
			req.Host = v[0]
		}
	}
	res, err := http.DefaultClient.Do(req)
	require.NoError(f.t, err)
	f.t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

func (f face) do(method, path, body string) (int, string) {
	f.t.Helper()
	res := f.send(method, path, body)
	text, err := io.ReadAll(res.Body)
	require.NoError(f.t, err)
	return res.StatusCode, string(text)
}

func (f face) problem(method, path, body string) Problem {
	f.t.Helper()
	res := f.send(method, path, body)
	require.Equal(f.t, "application/problem+json", res.Header.Get("Content-Type"))
	var p Problem
	require.NoError(f.t, json.NewDecoder(res.Body).Decode(&p))
	require.Equal(f.t, res.StatusCode, p.Status)
	require.NotEmpty(f.t, p.Detail)
	return p
}

func TestOpen(t *testing.T) {
	e := newScripted()
	f := serve(t, Config{Engine: e})
	res := f.with("Idempotency-Key", "r1").send("POST", "/api/v1/releases",
		`{"service":"shop","version":"2","window":"5m","actor":"alice","labels":{"region":"eu"},"bundle":{"name":"health.yml","file":"rules"}}`)
	require.Equal(t, http.StatusCreated, res.StatusCode)
	require.Equal(t, "/api/v1/releases/r1", res.Header.Get("Location"))
	var r gatekeeper.Release
	require.NoError(t, json.NewDecoder(res.Body).Decode(&r))
	require.Equal(t, "r1", r.ID)
	require.Equal(t, engine.OpenRequest{
		ID: "r1", Service: "shop", Version: "2", Window: 5 * time.Minute, Actor: "alice",
		Labels: map[string]string{"region": "eu"}, Bundle: &rules.Bundle{Name: "health.yml", File: "rules"},
	}, e.opens[0])

	p := f.with("Idempotency-Key", "a").problem("POST", "/api/v1/releases", `{"id":"b","version":"2"}`)
	require.Equal(t, gatekeeper.CodeInvalid, p.Code)
	require.Len(t, e.opens, 1, "nothing is opened when the two ids differ")
}

func TestOpenRefusesBadInput(t *testing.T) {
	e := newScripted()
	f := serve(t, Config{Engine: e})
	for name, tt := range map[string]struct {
		body, says string
		status     int
	}{
		"no JSON":       {`{"version"`, "unexpected", 400},
		"no version":    {`{"service":"shop"}`, "version", 422},
		"unknown key":   {`{"version":"2","colour":"blue"}`, "body.colour", 422},
		"wrong type":    {`{"version":2}`, "body.version", 422},
		"bad duration":  {`{"version":"2","window":"soon"}`, "soon", 422},
		"too big":       {`{"version":"` + strings.Repeat("x", MaxBody) + `"}`, "", 413},
		"nothing":       {``, "body", 400},
		"a list":        {`[]`, "object", 422},
		"huge version":  {`{"version":"` + strings.Repeat("x", 300) + `"}`, "200", 422},
		"null as a key": {`{"version":null}`, "version", 422},
		"key twice":     {`{"version":"2","version":"3"}`, "body.version stands twice", 400},
		"label twice":   {`{"version":"2","labels":{"a":"1","b":"2","a":"3"}}`, "body.labels.a stands twice", 400},
		"odd case":      {`{"Version":"2"}`, "body.Version", 422},
		"no UTF-8":      {"{\"version\":\"\xff\"}", "not UTF-8", 400},
		"two bodies":    {`{"version":"2"}{"version":"3"}`, "after top-level value", 400},
		"deep":          {`{"version":` + strings.Repeat("[", 100_000), "max depth", 400},
	} {
		t.Run(name, func(t *testing.T) {
			g := f
			g.t = t
			p := g.problem("POST", "/api/v1/releases", tt.body)
			require.Equal(t, tt.status, p.Status)
			require.Equal(t, gatekeeper.CodeInvalid, p.Code)
			all, err := json.Marshal(p)
			require.NoError(t, err)
			require.Contains(t, string(all), tt.says)
			require.Contains(t, p.Detail, "nothing was done")
			require.NotEmpty(t, p.Hint)
		})
	}
	require.Empty(t, e.opens)
}

func TestUnique(t *testing.T) {
	for text, says := range map[string]string{
		`{"a":{"x":1,"y":"x"},"b":["a","a",{"a":"a"}],"c":null}`: "",
		`7`:                         "",
		`[{"a":1},{"a":1}]`:         "",
		`{"a":"a","a":2}`:           "body.a stands twice",
		`{"a":[0,{"b":{},"b":1}]}`:  "body.a.1.b stands twice",
		`{"a":[[],{}],"b":1,"a":1}`: "body.a stands twice",
		`{"a":{},"\u0061":1}`:       "body.a stands twice",
		`{"":1,"":2}`:               "body. stands twice",
	} {
		err := unique([]byte(text))
		if says == "" {
			require.NoError(t, err, text)
		} else {
			require.EqualError(t, err, says, text)
		}
	}
}

func TestEngineErrorsKeepTheirCode(t *testing.T) {
	e := newScripted()
	f := serve(t, Config{Engine: e})
	for code, status := range statuses {
		e.err = gatekeeper.Errorf(code, "do this", "it happened")
		p := f.problem("POST", "/api/v1/releases/r/approve", `{}`)
		require.Equal(t, Problem{Title: http.StatusText(status), Status: status, Code: code, Detail: "it happened", Hint: "do this"}, p)
	}
	e.err = fmt.Errorf("open: %w", rules.Problems{
		{File: "health.yml", Line: 3, Column: 9, Length: 2, Severity: rules.Error, Check: "promql/syntax", Message: "unclosed", Hint: "close it"},
		{File: "health.yml", Line: 7, Severity: rules.Error, Message: "unknown key"},
	})
	p := f.problem("POST", "/api/v1/releases", `{"version":"2"}`)
	require.Equal(t, 422, p.Status)
	require.Equal(t, "the health file has 2 problems", p.Detail)
	require.Equal(t, Detail{File: "health.yml", Line: 3, Column: 9, Length: 2, Severity: "error", Check: "promql/syntax", Message: "unclosed", Hint: "close it"}, p.Errors[0])
	e.err = fmt.Errorf("lost: %w", gatekeeper.ErrFenced)
	require.Equal(t, 503, f.problem("GET", "/-/ready", "").Status)
}

func TestVerbs(t *testing.T) {
	e := newScripted()
	f := serve(t, Config{Engine: e})
	verbs := []string{"deployed", "heartbeat", "approve", "veto", "hold", "resume", "rollback", "close", "mark-irreversible"}
	for _, v := range verbs {
		status, body := f.do("POST", "/api/v1/releases/r1/"+v, `{"actor":"bob","why":"because"}`)
		require.Equal(t, 200, status, body)
		require.Equal(t, v+" r1 by bob: because", e.asked[len(e.asked)-1])
		status, body = f.do("POST", "/api/v1/releases/r1/"+v, "")
		require.Equal(t, 200, status, body)
		require.Equal(t, v+" r1 by local: ", e.asked[len(e.asked)-1])
	}
	status, body := f.do("POST", "/api/v1/releases/r1/extend", `{"by":"15m","actor":"bob","why":"slow"}`)
	require.Equal(t, 200, status, body)
	require.Equal(t, "extend 15m0s r1 by bob: slow", e.asked[len(e.asked)-1])
	require.Equal(t, 422, f.problem("POST", "/api/v1/releases/r1/extend", `{}`).Status)
}

func TestRead(t *testing.T) {
	e := newScripted()
	f := serve(t, Config{Engine: e})
	for _, id := range []string{"a", "b", "c"} {
		e.add(t, id, 0, gatekeeper.Opened{Service: "shop", Version: id})
	}
	status, body := f.do("GET", "/api/v1/releases?limit=2&open=true", "")
	require.Equal(t, 200, status)
	var page ReleaseList
	require.NoError(t, json.Unmarshal([]byte(body), &page))
	require.Equal(t, []string{"c", "b", "b"}, []string{page.Releases[0].ID, page.Releases[1].ID, page.Next})
	_, body = f.do("GET", "/api/v1/releases?limit=2&after=b", "")
	require.NoError(t, json.Unmarshal([]byte(body), &page))
	require.Len(t, page.Releases, 1)

	_, body = f.do("GET", "/api/v1/releases/a/facts", "")
	var facts FactList
	require.NoError(t, json.Unmarshal([]byte(body), &facts))
	require.Equal(t, gatekeeper.KindOpened, facts.Facts[0].Body.Kind())

	hash, err := e.PutFile(t.Context(), []byte(`{"name":"h.yml","file":"service: shop","rule_files":{"r.yml":"groups: []"}}`))
	require.NoError(t, err)
	e.add(t, "pinned", 0, gatekeeper.Opened{Service: "shop", Version: "1", File: hash})
	_, body = f.do("GET", "/api/v1/releases/pinned/file", "")
	var pinned rules.Bundle
	require.NoError(t, json.Unmarshal([]byte(body), &pinned))
	require.Equal(t, rules.Bundle{Name: "h.yml", File: "service: shop", RuleFiles: map[string]string{"r.yml": "groups: []"}}, pinned)
	require.Equal(t, gatekeeper.CodeNotFound, f.problem("GET", "/api/v1/releases/x/file", "").Code)

	require.Equal(t, gatekeeper.CodeNotFound, f.problem("GET", "/api/v1/releases/x", "").Code)
	require.Equal(t, gatekeeper.CodeNotFound, f.problem("GET", "/api/v1/releases/x/facts", "").Code)
	require.Equal(t, gatekeeper.CodeInvalid, f.problem("GET", "/api/v1/releases?limit=9999", "").Code)
	require.Equal(t, gatekeeper.CodeInvalid, f.problem("GET", "/api/v1/releases?opn=true", "").Code)
	require.Equal(t, 404, f.problem("GET", "/nowhere", "").Status)
	p := f.problem("DELETE", "/api/v1/releases", "")
	require.Equal(t, 405, p.Status)
	require.Contains(t, p.Detail, "POST")
}

func TestKillSwitchAndActions(t *testing.T) {
	f := serve(t, Config{Engine: newScripted(), Actions: []Action{{Name: "flag/set", Safety: "by_target", Settings: []Setting{{Name: "flag", Type: "string"}}}}})
	status, body := f.do("PUT", "/api/v1/kill-switch", `{"on":true,"actor":"bob","why":"stop"}`)
	require.Equal(t, 200, status, body)
	_, body = f.do("GET", "/api/v1/kill-switch", "")
	require.JSONEq(t, `{"on":true,"actor":"bob","why":"stop"}`, body)
	require.Equal(t, 422, f.problem("PUT", "/api/v1/kill-switch", `{}`).Status)
	_, body = f.do("GET", "/api/v1/actions", "")
	require.Contains(t, body, `"name":"flag/set"`)
}

// Long opens must outlive the deadline that their body has, or a slow Prepare would be cancelled.
func TestOpenOutlivesTheBodysDeadline(t *testing.T) {
	e := newScripted()
	e.openWait = 300 * time.Millisecond
	h, err := build(Config{Engine: e}, 50*time.Millisecond)
	require.NoError(t, err)
	status, body := serveHandler(t, h).do("POST", "/api/v1/releases", `{"service":"s","version":"2"}`)
	require.Equal(t, 201, status, body)
}

func TestOpenAPI(t *testing.T) {
	f := serve(t, Config{Engine: newScripted(), Version: "1.2.3"})
	status, body := f.do("GET", "/openapi.json", "")
	require.Equal(t, 200, status)
	var doc struct {
		OpenAPI string
		Info    struct{ Version string }
		Paths   map[string]map[string]struct {
			OperationID string
			Security    []map[string][]string
		}
	}
	require.NoError(t, json.Unmarshal([]byte(body), &doc))
	require.Equal(t, "3.1.0", doc.OpenAPI)
	require.Equal(t, "1.2.3", doc.Info.Version)
	for path, methods := range doc.Paths {
		for method, op := range methods {
			require.NotEmpty(t, op.Security, "%s %s", method, path)
		}
	}
	require.Equal(t, "open-release", doc.Paths["/api/v1/releases"]["post"].OperationID)
	for _, kind := range gatekeeper.Kinds() {
		require.Contains(t, body, `"`+string(kind)+`"`)
	}
	require.NotContains(t, body, `"Seq"`)
	status, body = f.do("GET", "/openapi.yaml", "")
	require.Equal(t, 200, status)
	require.True(t, bytes.HasPrefix([]byte(body), []byte("components:")), body[:40])
}

// A sender that does not get its body across is told so while somebody still listens.
func TestSlowSendersAreAnswered(t *testing.T) {
	alerts := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	h, err := build(Config{Engine: newScripted(), Alerts: alerts, Webhooks: map[string]http.Handler{"alertmanager": alerts}, OFREP: alerts}, 50*time.Millisecond)
	require.NoError(t, err)
	server := httptest.NewServer(h)
	defer server.Close()
	for path, want := range map[string]int{
		"/api/v1/releases": 408, "/api/v2/alerts": 503, "/webhooks/alertmanager": 503, "/ofrep/v1/evaluate/flags": 503,
	} {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		require.NoError(t, err)
		_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", path)
		require.NoError(t, err)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err, path)
		require.Equal(t, want, res.StatusCode, path)
		require.NoError(t, res.Body.Close())
		require.NoError(t, conn.Close())
	}
}
