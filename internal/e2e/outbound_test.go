package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper/internal/servertest"
)

// crossroads are the hosts of a daemon's connections, which send whoever asks on to a stranger. Its address
// is spelled 0.0.0.0: that leads to loopback, too, but a proxy of the environment would be used for it.
type crossroads struct {
	address  string // host:port
	stranger string // host:port

	mu    sync.Mutex
	asked map[string]bool // by the path's first part
	met   []string        // what the stranger was sent
}

func startCrossroads(t *testing.T) *crossroads {
	t.Helper()
	c := &crossroads{asked: map[string]bool{}}
	stranger := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		c.meet(r.Method + " " + r.RequestURI + " of " + r.UserAgent())
	}))
	stranger.Config.ConnState = func(_ net.Conn, is http.ConnState) {
		if is == http.StateNew {
			c.meet("a connection")
		}
	}
	stranger.Start()
	t.Cleanup(stranger.Close)
	c.stranger = stranger.Listener.Addr().String()
	sends := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // so that the connection can be used again
		part, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		c.mu.Lock()
		c.asked[part] = true
		c.mu.Unlock()
		http.Redirect(w, r, "http://"+c.stranger+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	t.Cleanup(sends.Close)
	c.address = strings.Replace(sends.Listener.Addr().String(), "127.0.0.1", "0.0.0.0", 1)
	return c
}

func (c *crossroads) meet(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.met = append(c.met, what)
}

// missing gives the connections that nothing was asked of yet.
func (c *crossroads) missing(of ...string) (all []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, one := range of {
		if !c.asked[one] {
			all = append(all, one)
		}
	}
	return all
}

// poison gives an environment that names the stranger wherever one can.
func (c *crossroads) poison() (env []string) {
	for _, name := range []string{
		"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "KUBERNETES_MASTER",
		"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "ETCDCTL_ENDPOINTS",
	} {
		env = append(env, name+"=http://"+c.stranger)
	}
	return append(env, "NO_PROXY=", "no_proxy=")
}

// serve runs a daemon with a configuration of testdata/outbound in a poisoned environment.
func (c *crossroads) serve(t *testing.T, dir, name string, oldnew ...string) (url string, daemon *process) {
	t.Helper()
	listen := servertest.Address(t)
	config := c.put(t, dir, name, append(oldnew, "LISTEN", listen)...)
	return "http://" + listen, run(t, "env", append(c.poison(), program, "serve", "--config", config)...)
}

// put copies a file of testdata/outbound into a folder and gives its path.
func (c *crossroads) put(t *testing.T, dir, name string, oldnew ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "outbound", name))
	require.NoError(t, err)
	path := filepath.Join(dir, name)
	oldnew = append(oldnew, "HERE", c.address, "STRANGER", c.stranger, "DIR", dir)
	require.NoError(t, os.WriteFile(path, []byte(strings.NewReplacer(oldnew...).Replace(string(text))), 0o600))
	return path
}

// A daemon sends requests to the hosts that its operator configured, and to nobody else: not to where these
// redirect to, nor to what a health file, a label, an annotation or a webhook's body names, nor through a proxy
// of the environment.
func TestOutboundRequestsOnlyToHostsOfConnections(t *testing.T) {
	t.Parallel()
	c := startCrossroads(t)
	dir := t.TempDir()
	c.put(t, dir, "kubeconfig")
	write(t, filepath.Join(dir, "hook"), "http://"+c.address+"/slack-hook")
	write(t, filepath.Join(dir, "secret"), strings.Repeat("secret", 5))
	url, daemon := c.serve(t, dir, "gatekeeper.yml")
	eventually(t, func() bool { return answers(url + "/-/ready") }, "the daemon is ready")
	line := commandLine{t: t, env: []string{"GATEKEEPER_URL=" + url}}

	c.smuggle(t, url)
	for _, path := range []string{"webhooks/alertmanager", "api/v2/alerts"} {
		c.alert(t, url+"/"+path)
	}
	status, said := c.open(t, url, "r", "v2@"+c.stranger, "",
		`{action: http/request, connection: deploy, with: {path: "/back/${version}", headers: {X-Url: "${labels.url}"}, body: {url: "${labels.url}"}, retry: by_key}}`)
	require.Equal(t, http.StatusCreated, status, said)
	line.gives(0, "release", "deployed", "r")
	eventually(t, func() bool { return len(c.missing("prometheus", "scrape")) == 0 }, "the rule is judged")
	line.gives(0, "release", "rollback", "r")
	line.gives(4, "release", "wait", "r")
	told := []string{"deploy", "alertmanager", "slack-hook", "slack-bot", "pagerduty", "webhook", "tracing"}
	eventually(t, func() bool { return len(c.missing(told...)) == 0 }, "everybody is told")

	daemon.end(syscall.SIGTERM)
	require.Empty(t, c.met)
	c.store(t)
	require.Empty(t, c.met)
}

// open asks for a release by the API, with a health file of testdata/outbound, and gives what was answered.
func (c *crossroads) open(t *testing.T, url, id, version, key, rung string) (status int, said string) {
	t.Helper()
	health, err := os.ReadFile(filepath.Join("testdata", "outbound", "health.yml"))
	require.NoError(t, err)
	file := strings.NewReplacer("KEY", key, "RUNG", rung).Replace(string(health))
	body, err := json.Marshal(map[string]any{
		"id": id, "version": version, "previous_version": c.stranger, "labels": map[string]string{"url": "http://" + c.stranger + "/"},
		"bundle": map[string]string{"name": "health.yml", "file": strings.ReplaceAll(file, "STRANGER", c.stranger)},
	})
	require.NoError(t, err)
	return post(t, url+"/api/v1/releases", string(body))
}

func post(t *testing.T, url, body string) (status int, said string) {
	t.Helper()
	resp, err := client.Post(url, "application/json", strings.NewReader(body))
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }() // it is read
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(text)
}

// smuggle opens releases whose health files name the stranger as something to ask, and one of a cluster,
// which redirects.
func (c *crossroads) smuggle(t *testing.T, url string) {
	t.Helper()
	const (
		request = `{action: http/request, connection: deploy, with: %s}`
		undo    = `{action: kubernetes/rollout-undo, connection: cluster, with: {namespace: shop, deployment: checkout%s}}`
		flag    = `{action: flag/set, connection: flags, with: {flag: f, enabled: false}}`
	)
	for name, one := range map[string]struct{ key, rung, says string }{
		"an address as path":       {"", fmt.Sprintf(request, `{path: "http://STRANGER/"}`), "want one that begins with /"},
		"a path with a host":       {"", fmt.Sprintf(request, `{path: "//STRANGER/"}`), "can't be in it"},
		"a path that climbs":       {"", fmt.Sprintf(request, `{path: "/..//STRANGER/"}`), "can't be in it"},
		"an address as value":      {"", fmt.Sprintf(request, `{path: "/${labels.url}"}`), "can't stand in a path"},
		"a header with the host":   {"", fmt.Sprintf(request, `{path: /, headers: {Host: STRANGER}}`), "can't be set by a health file"},
		"settings of a connection": {"", fmt.Sprintf(request, `{path: /, proxy_url: "http://STRANGER"}`), "proxy_url"},
		"a connection of its own":  {"", `{action: http/request, connection: "http://STRANGER", with: {path: /}}`, "connection"},
		"an API server":            {"", fmt.Sprintf(undo, `, server: "http://STRANGER"`), "server"},
		"a backend of its own":     {"backend: http://STRANGER", flag, "is not configured"},
		"a backend's parameters":   {"params: {url: http://STRANGER}", flag, "params"},
		"the cluster":              {"", fmt.Sprintf(undo, ""), "Kubernetes could not be asked"},
	} {
		status, said := c.open(t, url, idOf(name), "of "+name, one.key, one.rung)
		require.GreaterOrEqual(t, status, 400, name)
		require.Contains(t, said, one.says, name)
	}
	require.Empty(t, c.missing("cluster"), "the API server was asked")
}

// alert sends an alert that is full of addresses.
func (c *crossroads) alert(t *testing.T, url string) {
	t.Helper()
	const labels = `"labels":{"alertname":"R","service":"checkout","instance":"STRANGER","__address__":"STRANGER"},` +
		`"annotations":{"runbook_url":"http://STRANGER/"},"generatorURL":"http://STRANGER/"`
	body := `[{` + labels + `}]`
	if strings.Contains(url, "webhooks") {
		body = `{"version":"4","externalURL":"http://STRANGER/","alerts":[{"status":"firing",` + labels + `}]}`
	}
	status, said := post(t, url, strings.ReplaceAll(body, "STRANGER", c.stranger))
	require.Equal(t, http.StatusOK, status, said)
}

// store runs a daemon whose etcd takes connections and says nothing, until the first is there.
func (c *crossroads) store(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	said := make(chan string, 1)
	go func() {
		defer close(said)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		hello, _ := bufio.NewReader(conn).ReadString('\n') // "" is told by the test
		said <- hello
	}()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	_, daemon := c.serve(t, t.TempDir(), "store.yml", "STORE", "0.0.0.0:"+port)
	require.Contains(t, <-said, "PRI * HTTP/2.0", "gRPC begins")
	require.NoError(t, l.Close())
	daemon.end(syscall.SIGTERM)
}
