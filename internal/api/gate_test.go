package api

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
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
		require.Equal(t, ok, local(r) == nil, remote)
	}
}

func TestBadTokensAreRefused(t *testing.T) {
	_, err := NewToken("ci", "short", nil)
	require.ErrorContains(t, err, "could be guessed")
	require.NotContains(t, err.Error(), "short")
	_, err = New(Config{Engine: newScripted(), Tokens: append(tokens(t), tokens(t)...)})
	require.ErrorContains(t, err, "used twice")
}
