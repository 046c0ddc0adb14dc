package api

import (
	"context"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/engine"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

const ciSecret, opsSecret = "ci-secret-ci-secret", "ops-secret-ops-secret"

func tokens(t *testing.T) []Token {
	t.Helper()
	ci, err := NewToken("ci", ciSecret, []Scope{ScopeOpen})
	require.NoError(t, err)
	ops, err := NewToken("ops", opsSecret, []Scope{ScopeOperate, ScopeAlerts})
	require.NoError(t, err)
	return []Token{ci, ops}
}

func says(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) })
}

func TestTokensAndScopes(t *testing.T) {
	e := newScripted()
	f := serve(t, Config{Engine: e, Tokens: tokens(t), Alerts: says("alerts"), Webhooks: map[string]http.Handler{"alertmanager": says("hook")}, Metrics: says("metrics")})
	ci, ops := f.with("Authorization", "Bearer "+ciSecret), f.with("Authorization", "Bearer "+opsSecret)

	res := f.send("GET", "/api/v1/releases", "")
	require.Equal(t, 401, res.StatusCode)
	require.Contains(t, res.Header.Get("WWW-Authenticate"), "Bearer")
	require.Equal(t, 401, f.with("Authorization", "Bearer wrong").problem("POST", "/api/v1/releases", `{"version":"1"}`).Status)

	status, body := ci.do("POST", "/api/v1/releases", `{"id":"r","service":"s","version":"1","actor":"alice"}`)
	require.Equal(t, 201, status, body)
	require.Equal(t, "ci (alice)", e.opens[0].Actor)
	status, _ = ops.do("GET", "/api/v1/releases/r", "")
	require.Equal(t, 200, status, "every token may read")

	require.Equal(t, 403, ci.problem("POST", "/api/v1/releases/r/approve", `{}`).Status)
	require.Equal(t, 403, ops.problem("POST", "/api/v1/releases", `{"version":"1"}`).Status)
	require.Equal(t, 403, ci.problem("PUT", "/api/v1/kill-switch", `{"on":true}`).Status)
	require.Empty(t, e.asked)
	status, _ = ops.do("POST", "/api/v1/releases/r/approve", `{}`)
	require.Equal(t, 200, status)
	require.Equal(t, "approve r by ops: ", e.asked[0])

	require.Equal(t, 403, ci.problem("POST", "/api/v2/alerts", `[]`).Status)
	for _, path := range []string{"/api/v2/alerts", "/webhooks/alertmanager"} {
		require.Equal(t, 401, f.problem("POST", path, `[]`).Status)
		status, _ = ops.do("POST", path, `[]`)
		require.Equal(t, 200, status)
	}
	for _, path := range []string{"/-/healthy", "/-/ready", "/metrics", "/openapi.json"} {
		status, _ = f.do("GET", path, "")
		require.Equal(t, 200, status, path)
	}
}

// Without tokens only programs of this machine are served: not other machines, not web pages.
func TestWithoutTokensOnlyLoopback(t *testing.T) {
	e := newScripted()
	f := serve(t, Config{Engine: e})
	const open = `{"service":"s","version":"1"}`
	for _, tt := range []struct{ header, value string }{
		{"Host", "gatekeeper.example.com"},     // DNS rebinding
		{"Host", "127.0.0.1.nip.io:9095"},      // a name that only looks like it
		{"Origin", "https://evil.example.com"}, // a page of somebody else's
		{"Origin", "null"},                     // a sandboxed page
		{"Sec-Fetch-Site", "cross-site"},       // the same, as newer browsers say
		{"Sec-Fetch-Site", "same-site"},        // another port on this machine
		{"Origin", "http://127.0.0.1:1"},       // the same, as older browsers say
	} {
		require.Equal(t, 403, f.with(tt.header, tt.value).problem("POST", "/api/v1/releases", open).Status, tt)
		require.Equal(t, 403, f.with(tt.header, tt.value).problem("GET", "/api/v1/releases", "").Status, tt)
	}
	require.Empty(t, e.opens)
	for _, host := range []string{"localhost:9095", "127.0.0.1", "[::1]:9095"} {
		status, _ := f.with("Host", host).do("GET", "/api/v1/releases", "")
		require.Equal(t, 200, status, host)
	}
}

func TestLocalLooksAtTheClient(t *testing.T) {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1/", nil)
	require.NoError(t, err)
	for remote, ok := range map[string]bool{"127.0.0.1:5": true, "[::1]:5": true, "[::ffff:127.0.0.1]:5": true, "10.0.0.7:5": false, "": false} {
		r.RemoteAddr = remote
		require.Equal(t, ok, local(r, foreign(r)) == nil, remote)
	}
}

func TestBadTokensAreRefused(t *testing.T) {
	_, err := NewToken("ci", "short", nil)
	require.ErrorContains(t, err, "could be guessed")
	require.NotContains(t, err.Error(), "short")
	_, err = New(Config{Engine: newScripted(), Tokens: append(tokens(t), tokens(t)...)})
	require.ErrorContains(t, err, "used twice")
}

func TestTokensByTheirHash(t *testing.T) {
	secret := NewSecret()
	require.Len(t, secret, len("gatekeeper_")+52)
	require.NotEqual(t, secret, NewSecret())
	token, err := NewHashedToken("ci", HashSecret(secret), []Scope{ScopeOpen})
	require.NoError(t, err)
	f := serve(t, Config{Engine: newScripted(), Tokens: []Token{token}})
	status, _ := f.with("Authorization", "Bearer "+secret).do("GET", "/api/v1/releases", "")
	require.Equal(t, 200, status)
	require.Equal(t, 401, f.with("Authorization", "Bearer "+HashSecret(secret)).problem("GET", "/api/v1/releases", "").Status, "the hash is no token")
	for _, hash := range []string{"", secret, "sha256:", "sha256:00", "md5:" + HashSecret(secret)[7:], HashSecret(secret) + "00"} {
		_, err := NewHashedToken("ci", hash, nil)
		require.ErrorContains(t, err, "is not sha256:", hash)
	}
}

// A token for some services does not read or change releases of others, nor what concerns all.
func TestTokensForServices(t *testing.T) {
	e := newScripted()
	e.add(t, "mine", 0, gatekeeper.Opened{Service: "shop-eu", Version: "1"})
	e.add(t, "theirs", 0, gatekeeper.Opened{Service: "pay", Version: "1"})
	all := tokens(t)
	for i := range all {
		all[i].Services = gatekeeper.Globs{"shop-*"}
	}
	f := serve(t, Config{Engine: e, Tokens: all, Flags: shelf{}})
	ci, ops := f.with("Authorization", "Bearer "+ciSecret), f.with("Authorization", "Bearer "+opsSecret)

	_, body := ci.do("GET", "/api/v1/releases", "")
	require.Contains(t, body, `"mine"`)
	require.NotContains(t, body, "theirs")
	for _, call := range []struct{ method, path, body string }{
		{"GET", "", ""},
		{"GET", "/facts", ""},
		{"GET", "/file", ""},
		{"GET", "/events", ""},
		{"POST", "/deployed", "{}"},
		{"POST", "/heartbeat", "{}"},
		{"POST", "/close", "{}"},
		{"POST", "/mark-irreversible", "{}"},
	} {
		require.Equal(t, 403, ci.problem(call.method, "/api/v1/releases/theirs"+call.path, call.body).Status, call)
	}
	for _, verb := range []string{"approve", "veto", "hold", "resume", "rollback"} {
		require.Equal(t, 403, ops.problem("POST", "/api/v1/releases/theirs/"+verb, "{}").Status, verb)
	}
	for _, who := range []face{ci, ops} {
		require.Equal(t, 403, who.problem("POST", "/api/v1/releases/theirs/extend", `{"by":"15m"}`).Status)
	}
	require.Equal(t, 403, ops.problem("PUT", "/api/v1/kill-switch", `{"on":true}`).Status)
	require.Equal(t, 403, ops.problem("PUT", "/api/v1/flags/f", `{"enabled":true}`).Status)
	require.Equal(t, 403, ops.problem("DELETE", "/api/v1/flags/f?version=1", "").Status)
	require.Empty(t, e.asked)
	require.False(t, e.sw.On)
	require.Equal(t, 404, ci.problem("GET", "/api/v1/releases/none", "").Status)

	for _, who := range []face{ci, ops} {
		status, body := who.do("POST", "/api/v1/releases/mine/extend", `{"by":"15m"}`)
		require.Equal(t, 200, status, body)
	}
	e.asked = nil
	status, body := ops.do("POST", "/api/v1/releases/mine/approve", `{"actor":"bob"}`)
	require.Equal(t, 200, status, body)
	require.Equal(t, []string{"approve mine by ops (bob): "}, e.asked)
	status, _ = ci.do("GET", "/api/v1/releases/mine/facts", "")
	require.Equal(t, 200, status)
	status, body = ci.do("POST", "/api/v1/releases", `{"id":"r","service":"shop-us","version":"1"}`)
	require.Equal(t, 201, status, body)
	require.Equal(t, "ci", e.opens[0].Token)
	require.Equal(t, gatekeeper.Globs{"shop-*"}, e.opens[0].Services, "the engine refuses, for it knows the service")
}

func TestReload(t *testing.T) {
	all := tokens(t)
	confined, err := NewToken("some", "some-secret-some-secret", []Scope{ScopeOperate})
	require.NoError(t, err)
	confined.Services = gatekeeper.Globs{"shop"}
	var by []string
	var answer error
	f := serve(t, Config{Engine: newScripted(), Tokens: append(all, confined), Reload: func(_ context.Context, b engine.By) error {
		by = append(by, b.Actor)
		return answer
	}})
	require.Equal(t, 401, f.problem("POST", "/-/reload", "").Status)
	require.Equal(t, 403, f.with("Authorization", "Bearer "+ciSecret).problem("POST", "/-/reload", "").Status)
	require.Equal(t, 403, f.with("Authorization", "Bearer some-secret-some-secret").problem("POST", "/-/reload", "").Status)
	require.Empty(t, by)
	ops := f.with("Authorization", "Bearer "+opsSecret)
	status, _ := ops.do("POST", "/-/reload", "")
	require.Equal(t, 200, status)
	require.Equal(t, 405, ops.problem("GET", "/-/reload", "").Status)
	answer = rules.Problems{{File: "gatekeeper.yml", Line: 3, Column: 5, Message: "bad"}}
	p := ops.problem("POST", "/-/reload", "")
	require.Equal(t, 422, p.Status)
	require.Equal(t, "the configuration has 1 problem: nothing was changed", p.Detail)
	require.Equal(t, Detail{File: "gatekeeper.yml", Line: 3, Column: 5, Message: "bad"}, p.Errors[0])
	require.Equal(t, []string{"ops", "ops"}, by)
}

// Who was authenticated before the request came here needs no token, unless there are tokens.
func TestKnownClients(t *testing.T) {
	known := func(r *http.Request) (string, bool) {
		return r.Header.Get("X-Test-Client"), r.Header.Get("X-Test-Client") != ""
	}
	e := newScripted()
	f := serve(t, Config{Engine: e, Known: known})
	alice := f.with("X-Test-Client", "alice")
	status, body := alice.with("Host", "gatekeeper.example.com").do("POST", "/api/v1/releases", `{"id":"r","service":"s","version":"1"}`)
	require.Equal(t, 201, status, body)
	require.Equal(t, "alice", e.opens[0].Actor)
	require.Equal(t, "alice", e.opens[0].Token)
	require.Equal(t, 403, alice.with("Origin", "https://evil.example.com").problem("POST", "/api/v1/releases/r/close", "{}").Status)
	require.Equal(t, 403, f.with("Host", "gatekeeper.example.com").problem("GET", "/api/v1/releases", "").Status, "nobody")

	f = serve(t, Config{Engine: e, Known: known, Tokens: tokens(t)})
	require.Equal(t, 401, f.with("X-Test-Client", "alice").problem("GET", "/api/v1/releases", "").Status)
}
