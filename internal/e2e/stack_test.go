package e2e

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/alertmanager/api/v2/models"
	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/servertest"
)

// layout is a folder with the configuration of all processes, and what the test must know of it.
type layout struct {
	dir        string
	prometheus string   // Prometheus's file
	tokens     []string // files below secrets/; the first is the pipeline's
	old, new   string   // the servers of HAProxy's backend shop
	deploy     string   // the pipeline's commands to HAProxy's runtime API
}

// production is how the parts are best put together.
func production(prometheusFile string) layout {
	return layout{
		dir: "testdata/stack", prometheus: prometheusFile, tokens: []string{"pipeline", "operator", "alerts"},
		old: "blue", new: "green", deploy: "set server shop/green weight 100; set server shop/blue weight 0",
	}
}

// laboratory is what docker-compose.yml mounts.
func laboratory() layout {
	return layout{
		dir: "../../examples/compose", prometheus: "prometheus.yml", tokens: []string{"people", "senders"},
		old: "v1", new: "v2", deploy: "set server shop/v2 state ready; set server shop/v1 weight 0",
	}
}

// stack is the shop in two versions behind HAProxy, watched by Prometheus, with Alertmanager and
// Gatekeeper beside it.
type stack struct {
	commandLine
	layout
	dir                                                    string // with the layout's files
	gatekeeper, prometheus, alertmanager, haproxy, runtime string // host:port; runtime is HAProxy's API, unless it is a socket
	old, new                                               *version
	traffic                                                *traffic
}

// start starts everything, and returns when the old version's traffic is seen by Prometheus and
// Gatekeeper is ready.
func start(t *testing.T, l layout) *stack {
	t.Helper()
	prometheus, alertmanager := servertest.Need(t, "prometheus"), servertest.Need(t, "prometheus-alertmanager")
	haproxy := servertest.Need(t, "haproxy")
	// Paths of unix sockets are short: t.TempDir, with the test's name in it, is too long for them.
	dir, err := os.MkdirTemp("", "gk")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	s := &stack{
		layout: l, dir: dir, gatekeeper: servertest.Address(t), prometheus: servertest.Address(t), alertmanager: servertest.Address(t),
		haproxy: servertest.Address(t), runtime: servertest.Address(t),
		old: startVersion(t, "v1"), new: startVersion(t, "v2"),
	}
	s.commandLine = commandLine{t: t, env: []string{"GATEKEEPER_URL=http://" + s.gatekeeper, "GATEKEEPER_TOKEN_FILE=" + s.path("secrets/"+l.tokens[0])}}
	s.configure()

	run(t, haproxy, "-db", "-f", s.path("haproxy.cfg"))
	run(t, alertmanager, "--config.file="+s.path("alertmanager.yml"), "--storage.path="+s.path("alertmanager"),
		"--web.listen-address="+s.alertmanager, "--cluster.listen-address=", "--log.level=warn")
	run(t, program, "serve", "--config", s.path("gatekeeper.yml"))
	run(t, prometheus, "--config.file="+s.path(l.prometheus), "--storage.tsdb.path="+s.path("prometheus"),
		"--web.listen-address="+s.prometheus, "--rules.alert.resend-delay=1s", "--log.level=warn")
	eventually(t, func() bool { return answers("http://" + s.haproxy) }, "HAProxy serves the shop")
	s.traffic = send(t, "http://"+s.haproxy)
	eventually(t, func() bool { return answers("http://" + s.gatekeeper + "/-/ready") }, "Gatekeeper is ready")
	eventually(t, func() bool { return answers("http://" + s.alertmanager + "/-/ready") }, "Alertmanager is ready")
	eventually(t, s.seen, "Prometheus sees the old version's traffic and its Alertmanager")
	return s
}

func (s *stack) path(name string) string { return filepath.Join(s.dir, name) }

// configure copies the layout's files, with this test's addresses and paths.
func (s *stack) configure() {
	s.t.Helper()
	replacer := strings.NewReplacer(
		"0.0.0.0:9095", s.gatekeeper, "127.0.0.1:9095", s.gatekeeper, "gatekeeper:9095", s.gatekeeper,
		"prometheus:9090", s.prometheus, "alertmanager:9093", s.alertmanager, "bind *:8080", "bind "+s.haproxy,
		"ipv4@*:9999", s.runtime, "haproxy:9999", s.runtime, "/var/lib/haproxy", s.dir,
		"shop-v1:8081", s.old.address, "shop-v2:8082", s.new.address, "data_dir: /data", "data_dir: "+s.path("data"),
	)
	require.NoError(s.t, filepath.WalkDir(s.layout.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(s.layout.dir, path)
		if err != nil {
			return err
		}
		if entry.IsDir() && entry.Name() == "secrets" {
			return fs.SkipDir // somebody's own
		}
		if entry.IsDir() {
			return os.MkdirAll(s.path(name), 0o700)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(s.path(name), []byte(replacer.Replace(string(text))), 0o600)
	}))
	require.NoError(s.t, os.MkdirAll(s.path("secrets"), 0o700))
	for _, name := range s.tokens {
		require.NoError(s.t, os.WriteFile(s.path("secrets/"+name), []byte(strings.Repeat(name, 4)+"\n"), 0o600))
	}
}

// seen says whether Prometheus has a rate of the old version and has found its Alertmanager, for
// which it takes five seconds.
func (s *stack) seen() bool {
	var found struct {
		Data struct {
			Result              []any `json:"result"`
			ActiveAlertmanagers []any `json:"activeAlertmanagers"`
		} `json:"data"`
	}
	query := url.Values{"query": {`rate(http_requests_total{version="v1"}[5s]) > 0`}}
	return read("http://"+s.prometheus+"/api/v1/query?"+query.Encode(), &found) && len(found.Data.Result) > 0 &&
		read("http://"+s.prometheus+"/api/v1/alertmanagers", &found) && len(found.Data.ActiveAlertmanagers) > 0
}

// read decodes the JSON at url, if it is there.
func read(url string, into any) bool {
	resp, err := client.Get(url)
	if err != nil {
		return false
	}
	defer func() { _ = resp.Body.Close() }() // it is read
	return resp.StatusCode == http.StatusOK && json.NewDecoder(resp.Body).Decode(into) == nil
}

// balancer runs commands of HAProxy's runtime API and gives their output.
func (s *stack) balancer(commands string) string {
	s.t.Helper()
	conn, err := net.Dial("unix", s.path("api.sock"))
	if errors.Is(err, fs.ErrNotExist) {
		conn, err = net.Dial("tcp", s.runtime)
	}
	require.NoError(s.t, err)
	defer func() { _ = conn.Close() }() // everything was read
	require.NoError(s.t, conn.SetDeadline(time.Now().Add(5*time.Second)))
	_, err = conn.Write([]byte(commands + "\n"))
	require.NoError(s.t, err)
	said, err := io.ReadAll(conn)
	require.NoError(s.t, err)
	return string(said)
}

// weights gives the weights of the old and the new version, as HAProxy tells them.
func (s *stack) weights() (old, new string) {
	s.t.Helper()
	weight := func(server string) string {
		said := strings.TrimSpace(s.balancer("get weight shop/" + server))
		current, _, _ := strings.Cut(said, " ")
		return current
	}
	return weight(s.layout.old), weight(s.layout.new)
}

// deploy gives all traffic to the new version, as a pipeline would, and returns when customers
// have seen it.
func (s *stack) deploy() {
	s.t.Helper()
	switched := time.Now()
	require.Empty(s.t, strings.TrimSpace(s.balancer(s.layout.deploy)))
	eventually(s.t, func() bool {
		by, err := s.traffic.since(switched)
		require.NoError(s.t, err)
		return by["v2"] >= 50
	}, "customers reach the new version")
}

// release gives a release as the daemon tells it.
func (s *stack) release(id string) (r gatekeeper.Release) {
	s.t.Helper()
	require.NoError(s.t, json.Unmarshal([]byte(s.gives(0, "release", "show", id, "-o", "json")), &r))
	return r
}

// alerts gives the alerts of Gatekeeper that stand at the Alertmanager, by name.
func (s *stack) alerts() map[string]*models.GettableAlert {
	var all models.GettableAlerts
	if !read("http://"+s.alertmanager+"/api/v2/alerts", &all) {
		return nil
	}
	byName := map[string]*models.GettableAlert{}
	for _, a := range all {
		byName[a.Labels["alertname"]] = a
	}
	return byName
}
