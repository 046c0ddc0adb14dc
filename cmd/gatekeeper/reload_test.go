package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper/internal/api"
)

// reloading is a daemon whose file a test rewrites.
type reloading struct {
	t         *testing.T
	dir, url  string
	said      *log
	stop      func() int
	ops, ci   string
	opsSecret string
}

func newReloading(t *testing.T) *reloading {
	r := &reloading{t: t, dir: t.TempDir(), opsSecret: api.NewSecret()}
	secret := api.NewSecret()
	r.ops = "  - {name: ops, scopes: [operate], token_hash: '" + api.HashSecret(r.opsSecret) + "'}\n"
	r.ci = "  - {name: ci, scopes: [open], token_hash: '" + api.HashSecret(secret) + "'}\n"
	require.NoError(t, os.WriteFile(filepath.Join(r.dir, "health.yml"), []byte(strings.Replace(withFlag, "connection: flags", "connection: mine", 1)), 0o600))
	r.stop, r.said = begin(t, r.dir, r.good())
	t.Setenv("GATEKEEPER_TOKEN", r.opsSecret)
	gk(t, 0, "flag", "set", "new-checkout", "--enabled")
	t.Setenv("GATEKEEPER_TOKEN", secret)
	r.url = os.Getenv("GATEKEEPER_URL")
	return r
}

func (r *reloading) good() string {
	return "connections: {mine: {kind: flags}}\ntokens:\n" + r.ops + r.ci
}

func (r *reloading) write(more string) {
	r.t.Helper()
	text := "listen: 127.0.0.1:0\ndata_dir: data\n" + more
	require.NoError(r.t, os.WriteFile(filepath.Join(r.dir, "gatekeeper.yml"), []byte(text), 0o600))
}

func (r *reloading) post() (int, string) {
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.url+"/-/reload", nil)
	require.NoError(r.t, err)
	req.Header.Set("Authorization", "Bearer "+r.opsSecret)
	res, err := http.DefaultClient.Do(req)
	require.NoError(r.t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(r.t, err)
	return res.StatusCode, string(body)
}

func (r *reloading) open(code int, version string) {
	r.t.Helper()
	gk(r.t, code, "release", "open", "--version", version, "--previous-version", "1", "-f", filepath.Join(r.dir, "health.yml"), "--id", "r"+version)
}

func (r *reloading) metric(want string) bool {
	res, err := http.Get(r.url + "/metrics")
	require.NoError(r.t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(r.t, err)
	return strings.Contains(string(body), want)
}

// A release goes its way, with its connection, while the file that names it is reloaded all the time.
func TestReloadsDuringARelease(t *testing.T) {
	r := newReloading(t)
	ci := os.Getenv("GATEKEEPER_TOKEN")
	r.open(0, "2")

	over := make(chan struct{})
	var reloads sync.WaitGroup
	reloads.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-over:
				return
			default:
			}
			if i%2 == 0 {
				r.write("tokens:\n" + r.ops + r.ci) // the connection is gone
			} else {
				r.write(r.good())
			}
			if status, body := r.post(); status != 200 {
				t.Errorf("%d: %s", status, body)
			}
		}
	})
	gk(t, 0, "release", "deployed", "r2")
	for range 20 {
		require.Contains(t, gk(t, 0, "release", "show", "r2"), "WATCHING")
	}
	t.Setenv("GATEKEEPER_TOKEN", r.opsSecret)
	gk(t, 0, "release", "rollback", "r2")
	require.Contains(t, gk(t, 3, "release", "wait", "r2"), "ROLLED BACK")
	close(over)
	reloads.Wait()
	require.Regexp(t, `new-checkout +false`, gk(t, 0, "flag", "get", "new-checkout"))

	t.Setenv("GATEKEEPER_TOKEN", ci)
	r.write("tokens:\n" + r.ops + r.ci)
	status, body := r.post()
	require.Equal(t, 200, status, body)
	r.open(2, "3")
	require.Contains(t, r.said.String(), `msg="the configuration was reloaded" actor=ops`)
	require.Equal(t, 0, r.stop(), "%s", r.said)
}

// A file that can't be used changes nothing, and says so everywhere with every position.
func TestABadReloadChangesNothing(t *testing.T) {
	r := newReloading(t)
	require.True(t, r.metric("gatekeeper_config_last_reload_successful 1"))
	r.write("log: {level: debug}\nquery_timeout: 5s\npolicy: []\nguards:\n  kill_switch_file: x\n  freezes: [{name: a, schedule: never, duration: 1h}]\nplans: {p: [{action: flag/sett}]}\ntokens:\n" + r.ops)
	status, body := r.post()
	require.Equal(t, 422, status)
	for _, want := range []string{
		"nothing was changed", "log can't be changed while the daemon runs", "query_timeout can't be changed", "kill_switch_file can't be changed",
		"freeze \\\"a\\\"", "flag/sett", `"line":3`, `"line":7`, `"line":8`, `"line":9`,
	} {
		require.Contains(t, body, want)
	}
	require.True(t, r.metric("gatekeeper_config_last_reload_successful 0"))
	require.Contains(t, r.said.String(), "the configuration was not reloaded: nothing was changed")
	r.open(0, "2")

	r.write("tokens: [x\n")
	_, body = r.post()
	require.Contains(t, body, "this is no YAML")
	require.NotContains(t, body, "can't be changed", "of a file that could not be read")
	r.write("data_dir2: x\n")
	status, _ = r.post()
	require.Equal(t, 422, status)
	require.NoError(t, os.Remove(filepath.Join(r.dir, "gatekeeper.yml")))
	status, body = r.post()
	require.Equal(t, 422, status)
	require.Contains(t, body, "can't be read")

	r.write(r.good() + "policy: []\n")
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
	require.Eventually(t, func() bool { return r.metric("gatekeeper_config_last_reload_successful 1") }, 10*time.Second, 10*time.Millisecond)
	r.open(1, "3")
	require.Contains(t, r.said.String(), "actor=SIGHUP")
	require.Equal(t, 0, r.stop(), "%s", r.said)
}

// A token that is taken out is worth nothing from then on, also to who follows a stream already.
func TestAReloadTakesTokensBack(t *testing.T) {
	r := newReloading(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url+"/api/v1/events", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+os.Getenv("GATEKEEPER_TOKEN"))
	stream, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer stream.Body.Close()
	require.Equal(t, 200, stream.StatusCode)

	r.write("connections: {mine: {kind: flags}}\ntokens:\n" + r.ops)
	status, body := r.post()
	require.Equal(t, 200, status, body)
	_, err = io.ReadAll(stream.Body)
	require.NoError(t, err, "the stream ended")
	gk(t, 1, "release", "list")

	t.Setenv("GATEKEEPER_TOKEN", r.opsSecret)
	gk(t, 0, "release", "list")
	r.opsSecret = "somebody-else-somebody"
	status, _ = r.post()
	require.Equal(t, 401, status)
	require.Equal(t, 0, r.stop(), "%s", r.said)
}

func TestCheckConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gatekeeper.yml")
	require.NoError(t, os.WriteFile(path, []byte("log: {level: debug}\n"), 0o600))
	require.Equal(t, path+": can be used\n", gk(t, 0, "check", "--config", path))
	require.NoError(t, os.WriteFile(path, []byte("log: {level: loud}\nguards:\n  freezes: [{name: a, schedule: never, duration: 1h}]\n"), 0o600))
	said := gk(t, 2, "check", "--config", path)
	for _, want := range []string{":1:14: error", "^^^^", ":3:33: error", "can't be used"} {
		require.Contains(t, said, want)
	}
	require.Contains(t, gk(t, 2, "check", "--config", path, "-o", "json"), `"line": 3`)
	gk(t, 2, "check")
	gk(t, 2, "check", "--config", path+".none")
}
