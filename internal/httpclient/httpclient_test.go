package httpclient

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
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
