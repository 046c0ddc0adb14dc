package httpclient

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

func TestConfigRefusesWhatCannotWork(t *testing.T) {
	for name, c := range map[string]struct {
		config Config
		says   string
	}{
		"no url":         {Config{}, "url is missing"},
		"not an address": {Config{URL: "http://user:s3cret@ho st"}, "not a valid address"},
		"credentials":    {Config{URL: "http://user:s3cret@host"}, "holds credentials"},
		"scheme":         {Config{URL: "ftp://host"}, `"ftp"`},
		"no host":        {Config{URL: "http://"}, "no host"},
		"query":          {Config{URL: "http://host?token=s3cret"}, "query"},
		"proxy login":    {Config{URL: "http://h", ProxyURL: "http://user:s3cret@proxy"}, "proxy_url holds credentials"},
		"proxy scheme":   {Config{URL: "http://h", ProxyURL: "socks5://proxy"}, `proxy_url begins with "socks5"`},
		"proxy path":     {Config{URL: "http://h", ProxyURL: "http://proxy/path"}, "proxy_url holds a path"},
		"both auths":     {Config{URL: "http://h", BasicAuth: &BasicAuth{"u", "f"}, BearerTokenFile: "f"}, "exclude"},
		"half basic":     {Config{URL: "http://h", BasicAuth: &BasicAuth{Username: "u"}}, "password_file"},
		"half cert":      {Config{URL: "http://h", TLS: TLS{CertFile: "c"}}, "belong together"},
		"authorization":  {Config{URL: "http://h", Headers: map[string]string{"authorization": "x"}}, "can't be set"},
		"header twice":   {Config{URL: "http://h", Headers: map[string]string{"X-A": "x"}, HeadersFromFiles: map[string]string{"x-a": "f"}}, "twice"},
		"header value":   {Config{URL: "http://h", Headers: map[string]string{"X-A": "x\ny"}}, "valid"},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.config.Validate()
			require.ErrorContains(t, err, c.says)
			require.NotContains(t, err.Error(), "s3cret")
			require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(err))
		})
	}
}

// However an address is written, requests to it are the connection's own.
func TestOwnHostHoweverItIsWritten(t *testing.T) {
	for _, address := range []string{"http://HOST", "HTTP://host:80/x/", "http://host:", "http://[::1]:", "http://[fe80::1%25eth0]:9095/x", "http://bücher.example"} {
		base, err := Config{URL: address}.Base()
		require.NoError(t, err)
		for _, to := range []string{address, base.JoinPath("api").String()} {
			r, err := http.NewRequest(http.MethodGet, to, nil)
			require.NoError(t, err)
			require.True(t, home{base: base}.owns(r.URL), "%s: %s", address, to)
		}
	}
}

func TestClientReadsSecretsAtEachRequest(t *testing.T) {
	var got http.Header
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header }))
	defer server.Close()
	dir := t.TempDir()
	token, tenant := filepath.Join(dir, "token"), filepath.Join(dir, "tenant")
	write(t, token, "one\n")
	write(t, tenant, "shop\n")
	client, err := Config{
		URL: server.URL, BearerTokenFile: token,
		Headers: map[string]string{"X-Plain": "yes"}, HeadersFromFiles: map[string]string{"X-Scope-OrgID": tenant},
	}.New("test")
	require.NoError(t, err)
	defer client.CloseIdleConnections()

	get(t, client, server.URL)
	require.Equal(t, "Bearer one", got.Get("Authorization"))
	require.Equal(t, "yes", got.Get("X-Plain"))
	require.Equal(t, "shop", got.Get("X-Scope-OrgID"))
	write(t, token, "two")
	get(t, client, server.URL)
	require.Equal(t, "Bearer two", got.Get("Authorization"))

	require.NoError(t, os.Remove(token))
	_, err = client.Get(server.URL)
	require.ErrorContains(t, err, token)
}

func TestClientKeepsCredentialsAtHome(t *testing.T) {
	stranger := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the redirect was followed")
	}))
	defer stranger.Close()
	server := httptest.NewServer(http.RedirectHandler(stranger.URL, http.StatusTemporaryRedirect))
	defer server.Close()
	client, err := Config{URL: server.URL}.New("test")
	require.NoError(t, err)
	defer client.CloseIdleConnections()
	require.Equal(t, http.StatusTemporaryRedirect, get(t, client, server.URL))
}

// Whatever got into an address, only the connection's own scheme, host and port are asked.
func TestClientAsksItsOwnHostOnly(t *testing.T) {
	stranger := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("somebody else was asked")
	}))
	defer stranger.Close()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	c := Config{URL: server.URL + "/prefix"}
	client, err := c.New("test")
	require.NoError(t, err)
	defer client.CloseIdleConnections()
	for _, address := range []string{stranger.URL, strings.Replace(server.URL, "http:", "https:", 1), stranger.URL + "/" + server.URL} {
		_, err = client.Post(address+"/s3cret", "text/plain", strings.NewReader("body"))
		require.ErrorContains(t, err, "not for the connection's own host", address)
		require.NotContains(t, errors.Unwrap(err).Error(), "s3cret")
	}
	require.Equal(t, http.StatusOK, get(t, client, server.URL+"/elsewhere"))

	client, err = c.New("test", func(u *url.URL) bool { return u.Path == "/mine" })
	require.NoError(t, err)
	defer client.CloseIdleConnections()
	_, err = client.Get(stranger.URL)
	require.ErrorContains(t, err, "not for the connection's own host")
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer other.Close()
	require.Equal(t, http.StatusOK, get(t, client, other.URL+"/mine"))
}

// Environments name a proxy for commands, and none for a daemon. No proxy is ever used for an address on
// loopback, but 0.0.0.0, which leads there too, counts as another machine's.
func TestProxies(t *testing.T) {
	proxied := ""
	proxy := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { proxied = r.URL.String() }))
	defer proxy.Close()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	address := strings.Replace(server.URL, "127.0.0.1", "0.0.0.0", 1)
	for name, one := range map[string]struct {
		config      Config
		environment string
		through     bool
	}{
		"a daemon":           {Config{}, proxy.URL, false},
		"a daemon's setting": {Config{ProxyURL: proxy.URL}, "http://127.0.0.1:1", true},
		"a command":          {Config{ProxyFromEnvironment: true}, proxy.URL, true},
		"both":               {Config{ProxyURL: proxy.URL, ProxyFromEnvironment: true}, "http://127.0.0.1:1", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("HTTP_PROXY", one.environment)
			t.Setenv("NO_PROXY", "")
			proxied = ""
			one.config.URL = address
			client, err := one.config.New("test")
			require.NoError(t, err)
			defer client.CloseIdleConnections()
			require.Equal(t, http.StatusOK, get(t, client, address+"/a"))
			require.Equal(t, one.through, proxied == address+"/a", proxied)
		})
	}
}

func TestClientTrustsTheNamedAuthorityOnly(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	strict, err := Config{URL: server.URL}.New("test")
	require.NoError(t, err)
	_, err = strict.Get(server.URL)
	require.Error(t, err)

	lax, err := Config{URL: server.URL, TLS: TLS{InsecureSkipVerify: true}}.New("test")
	require.NoError(t, err)
	defer lax.CloseIdleConnections()
	require.Equal(t, http.StatusOK, get(t, lax, server.URL))

	_, err = Config{URL: server.URL, TLS: TLS{CAFile: filepath.Join(t.TempDir(), "none")}}.New("test")
	require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(err))
}

func write(t *testing.T, file, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
}

func get(t *testing.T, client *http.Client, url string) int {
	t.Helper()
	resp, err := client.Get(url)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode
}

// Credentials may stand in the daemon's environment instead of files.
func TestCredentialsOfTheEnvironment(t *testing.T) {
	t.Setenv("GK_TOKEN", "s3cret-token")
	t.Setenv("GK_HEADER", "s3cret-header")
	var got http.Header
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Clone() }))
	defer srv.Close()
	c := Config{URL: srv.URL, BearerTokenFile: "env:GK_TOKEN", HeadersFromFiles: map[string]string{"X-Scope-OrgID": "env:GK_HEADER"}}
	client, err := c.New("test")
	require.NoError(t, err)
	_, err = client.Get(srv.URL)
	require.NoError(t, err)
	require.Equal(t, "Bearer s3cret-token", got.Get("Authorization"))
	require.Equal(t, "s3cret-header", got.Get("X-Scope-OrgID"))

	c = Config{URL: srv.URL, BasicAuth: &BasicAuth{Username: "ann", PasswordFile: "env:GK_NONE"}}
	_, err = c.New("test")
	require.ErrorContains(t, err, "GK_NONE is empty or not set")
}
