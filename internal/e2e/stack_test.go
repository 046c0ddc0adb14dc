package e2e

import (
	"encoding/json"
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
)

// configuration is where the files of all processes stand.
const configuration = "testdata/stack"

// stack is the shop in two versions behind HAProxy, watched by Prometheus, with Alertmanager and
// Gatekeeper beside it.
type stack struct {
	commandLine
	dir                                           string // with the files of testdata/stack
	gatekeeper, prometheus, alertmanager, haproxy string // host:port
	old, new                                      *version
	traffic                                       *traffic
}

// start starts everything, with that configuration of Prometheus, and returns when the old
// version's traffic is seen by Prometheus and Gatekeeper is ready.
func start(t *testing.T, prometheusFile string) *stack {
	t.Helper()
	prometheus, alertmanager := needs(t, "prometheus", "prometheus"), needs(t, "prometheus-alertmanager", "prometheus-alertmanager")
	haproxy := needs(t, "haproxy", "haproxy")
	// Paths of unix sockets are short: t.TempDir, with the test's name in it, is too long for them.
	dir, err := os.MkdirTemp("", "gk")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	s := &stack{
		dir: dir, gatekeeper: freeAddress(t), prometheus: freeAddress(t), alertmanager: freeAddress(t), haproxy: freeAddress(t),
		old: startVersion(t, "v1"), new: startVersion(t, "v2"),
	}
	s.commandLine = commandLine{t: t, env: []string{"GATEKEEPER_URL=http://" + s.gatekeeper, "GATEKEEPER_TOKEN_FILE=" + s.path("secrets/pipeline")}}
	s.configure()

	run(t, haproxy, "-db", "-f", s.path("haproxy.cfg"))
	run(t, alertmanager, "--config.file="+s.path("alertmanager.yml"), "--storage.path="+s.path("alertmanager"),
		"--web.listen-address="+s.alertmanager, "--cluster.listen-address=", "--log.level=warn")
	run(t, program, "serve", "--config", s.path("gatekeeper.yml"))
	run(t, prometheus, "--config.file="+s.path(prometheusFile), "--storage.tsdb.path="+s.path("prometheus"),
		"--web.listen-address="+s.prometheus, "--rules.alert.resend-delay=1s", "--log.level=warn")
	eventually(t, func() bool { return answers("http://" + s.haproxy) }, "HAProxy serves the shop")
	s.traffic = send(t, "http://"+s.haproxy)
	eventually(t, func() bool { return answers("http://" + s.gatekeeper + "/-/ready") }, "Gatekeeper is ready")
	eventually(t, func() bool { return answers("http://" + s.alertmanager + "/-/ready") }, "Alertmanager is ready")
	eventually(t, s.seen, "Prometheus sees the old version's traffic and its Alertmanager")
	return s
}

func (s *stack) path(name string) string { return filepath.Join(s.dir, name) }

// configure copies the files of testdata/stack, with this test's addresses and paths.
func (s *stack) configure() {
	s.t.Helper()
	replacer := strings.NewReplacer(
		"0.0.0.0:9095", s.gatekeeper, "127.0.0.1:9095", s.gatekeeper, "gatekeeper:9095", s.gatekeeper,
		"prometheus:9090", s.prometheus, "alertmanager:9093", s.alertmanager, "bind :8000", "bind "+s.haproxy,
		"shop-v1:8080", s.old.address, "shop-v2:8080", s.new.address,
		"/var/lib/gatekeeper", s.path("data"), "/var/lib/haproxy", s.dir,
	)
	require.NoError(s.t, filepath.WalkDir(configuration, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(configuration, path)
		if err != nil {
			return err
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
	for _, name := range []string{"pipeline", "operator", "alerts"} {
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
	require.NoError(s.t, err)
	defer func() { _ = conn.Close() }() // everything was read
	require.NoError(s.t, conn.SetDeadline(time.Now().Add(5*time.Second)))
	_, err = conn.Write([]byte(commands + "\n"))
	require.NoError(s.t, err)
	said, err := io.ReadAll(conn)
	require.NoError(s.t, err)
	return string(said)
}

// weights gives the weights of blue and green, as HAProxy tells them.
func (s *stack) weights() (blue, green string) {
	s.t.Helper()
	weight := func(server string) string {
		said := strings.TrimSpace(s.balancer("get weight shop/" + server))
		current, _, _ := strings.Cut(said, " ")
		return current
	}
	return weight("blue"), weight("green")
}

// deploy gives all traffic to the new version, as a pipeline would, and returns when customers
// have seen it.
func (s *stack) deploy() {
	s.t.Helper()
	switched := time.Now()
	require.Empty(s.t, strings.TrimSpace(s.balancer("set server shop/green weight 100; set server shop/blue weight 0")))
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
