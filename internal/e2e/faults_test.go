package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/servertest"
)

// faulty is a daemon in a hostile world.
type faulty struct {
	commandLine
	*hostile
	dir, url string
	daemon   *process
}

// startFaulty starts a daemon with its data in data; "" is a folder of its own.
func startFaulty(t *testing.T, data string) *faulty {
	t.Helper()
	f := &faulty{hostile: startHostile(t), dir: t.TempDir()}
	if data == "" {
		data = "data"
	}
	listen := servertest.Address(t)
	f.url = "http://" + listen
	f.commandLine = commandLine{t: t, env: []string{"GATEKEEPER_URL=" + f.url}}
	f.put("gatekeeper.yml", "LISTEN", listen, "DATA", data, "WORLD", f.address)
	f.serve()
	return f
}

// put copies a file of testdata/faults into the daemon's folder and gives its path.
func (f *faulty) put(name string, oldnew ...string) string {
	f.t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "faults", name))
	require.NoError(f.t, err)
	path := filepath.Join(f.dir, name)
	require.NoError(f.t, os.WriteFile(path, []byte(strings.NewReplacer(oldnew...).Replace(string(text))), 0o600))
	return path
}

func (f *faulty) serve() {
	f.t.Helper()
	f.daemon = run(f.t, program, "serve", "--config", filepath.Join(f.dir, "gatekeeper.yml"))
	eventually(f.t, func() bool { return answers(f.url + "/-/ready") }, "the daemon is ready")
}

// flagPlan rolls back by switching the service's flag off.
const flagPlan = `  - {action: flag/set, connection: flags, with: {flag: SERVICE, enabled: false}, recover_within: 2s}`

// release releases v2 of a service whose flag is on, and marks it as deployed.
func (f *faulty) release(service, backend, plan string) (id string) {
	f.t.Helper()
	f.gives(0, "flag", "set", service, "--enabled")
	health := f.put("health.yml", "ROLLBACK", strings.ReplaceAll(plan, "SERVICE", service), "SERVICE", service, "BACKEND", backend)
	id = strings.TrimSpace(f.gives(0, "release", "open", "--id", service, "--version", "v2", "--previous-version", "v1", "-f", health))
	f.gives(0, "release", "deployed", id)
	return id
}

// on says whether a service's flag is on: whether its release was not rolled back.
func (f *faulty) on(service string) bool {
	f.t.Helper()
	var flag struct{ Enabled bool }
	require.NoError(f.t, json.Unmarshal([]byte(f.gives(0, "flag", "get", service, "-o", "json")), &flag))
	return flag.Enabled
}

// ends follows a release to its end, which is told by that exit code, and gives what was told.
func (f *faulty) ends(t *testing.T, id string, code int) string {
	t.Helper()
	got, told, errs := f.try("release", "wait", id)
	require.Equal(t, code, got, "%s\n%s", told, errs)
	t.Log("\n" + told)
	f.replays(t, id, filepath.Join(f.dir, "health.yml"))
	return told
}

// Whatever a backend does, a release that may be well is never taken back; what is known to be
// bad is, also among ten thousand series.
func TestHostileBackends(t *testing.T) {
	t.Parallel()
	f := startFaulty(t, "")
	cases := map[string]struct {
		code int
		says string
	}{
		"down":      {5, "connection refused"},
		"slow":      {5, "deadline"},
		"garbage":   {5, "bytes of"},
		"login":     {5, "an HTML page"},
		"half":      {5, "breaks off"},
		"partial":   {5, "store-7 did not answer"},
		"throttled": {5, "429"},
		"broken":    {5, "the disk is full"},
		"flood":     {5, "10001 series"},
		"nothing":   {5, "no data"},
		"nan":       {5, "traffic"},
		"twins":     {5, "two samples are one alert"},
		"crowd":     {0, "PASSED"},
		"many":      {3, "ROLLED BACK"},
	}
	for name := range cases {
		f.release(name, name, flagPlan)
		if name == "many" || name == "twins" {
			f.goBad(name)
		}
		f.wake(name) // at once: the window is short
	}
	t.Run("ends", func(t *testing.T) {
		for name, c := range cases {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				told := f.ends(t, name, c.code)
				require.Contains(t, told, c.says)
				require.Equal(t, name != "many", f.on(name), "%s", told)
			})
		}
	})
}

// A target that does not do what it is asked for ends in a rollback that failed, told with what the
// target said, after a bounded number of requests.
func TestHostileTargets(t *testing.T) {
	t.Parallel()
	f := startFaulty(t, "")
	const plan = `  - {action: http/request, connection: TARGET, with: {path: /rollback, observe: {path: /live, pointer: /version, equals: v1}}, recover_within: 2s}`
	cases := map[string]string{
		"refuses": "answered 403 (nothing was changed)",
		"hangs":   "it may have had its effect",
		"lies":    "not at its target after 3 attempts: GET",
	}
	for name := range cases {
		f.release(name, "well", strings.ReplaceAll(plan, "TARGET", name))
		f.goBad(name)
	}
	t.Run("ends", func(t *testing.T) {
		for name, says := range cases {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				told := f.ends(t, name, 4)
				require.Contains(t, told, says)
				require.Contains(t, told, "ROLLBACK FAILED")
				require.NotZero(t, f.times(name))
				require.LessOrEqual(t, f.times(name), 10)
			})
		}
	})
}

// SIGTERM between the request to the target and its answer: the daemon ends by itself, and the
// next one finishes the release with that one effect.
func TestTerminatedWhileApplying(t *testing.T) {
	t.Parallel()
	g := startTarget(t, true, 1500*time.Millisecond)
	v := startVictim(t, g, "by_key")
	id := strings.TrimSpace(v.gives(0, "release", "open", "--version", "v2", "--previous-version", "v1", "-f", filepath.Join(v.dir, "health.yml")))
	g.deploy("v2")
	ended := v.pipeline(id)
	select {
	case <-g.asked:
	case <-time.After(patience):
		t.Fatal("nothing was asked for")
	}
	v.daemon.end(syscall.SIGTERM)
	require.Zero(t, v.daemon.cmd.ProcessState.ExitCode(), "%s", v.daemon.said)
	require.Contains(t, v.daemon.said.String(), "shutting down")
	v.serve()

	told := <-ended
	require.Equal(t, 3, told.code, "%s\n%s", told.stdout, told.stderr)
	var r gatekeeper.Release
	require.NoError(t, json.Unmarshal([]byte(v.gives(0, "release", "show", id, "-o", "json")), &r))
	require.Equal(t, gatekeeper.OutcomeRolledBack, r.Outcome)
	_, effects, live := g.counts()
	require.Equal(t, "v1", live)
	require.Equal(t, 1, effects, "%s", told.stdout)
}

// Requests that can't be meant are refused with what is wrong with them, and harm nothing: the
// release that is watched meanwhile passes.
func TestMalformedRequests(t *testing.T) {
	t.Parallel()
	f := startFaulty(t, "")
	f.release("calm", "well", flagPlan)
	big, deep := strings.Repeat("x", 3<<20), strings.Repeat("[", 200_000)
	for name, c := range map[string]struct {
		path, contentType, body string
		status                  int
		says                    string
	}{
		"too large":             {"api/v1/releases", "application/json", `{"version":"` + big + `"}`, 413, "nothing was done"},
		"too large, webhook":    {"webhooks/alertmanager", "application/json", `{"version":"` + big + `"}`, 413, "nothing of it was taken"},
		"too large, alerts":     {"api/v2/alerts", "application/json", `["` + big + `"]`, 413, "nothing of it was taken"},
		"too large, OFREP":      {"ofrep/v1/evaluate/flags/calm", "application/json", `{"context":{"a":"` + big + `"}}`, 400, "larger than 64 KiB"},
		"XML":                   {"api/v1/releases", "text/xml", "<a/>", 415, "Content-Type: application/json"},
		"XML, webhook":          {"webhooks/alertmanager", "text/xml", "<a/>", 400, "not a message of Alertmanager's webhook"},
		"XML, alerts":           {"api/v2/alerts", "text/xml", "<a/>", 400, "not the array of alerts"},
		"XML, OFREP":            {"ofrep/v1/evaluate/flags", "text/xml", "<a/>", 400, "must be application/json"},
		"deep":                  {"api/v1/releases", "application/json", `{"version":` + deep, 400, "max depth"},
		"deep, webhook":         {"webhooks/alertmanager", "application/json", `{"alerts":` + deep, 400, "max depth"},
		"deep, alerts":          {"api/v2/alerts", "application/json", deep, 400, "max depth"},
		"a key twice":           {"api/v1/releases", "application/json", `{"version":"2","version":"3"}`, 400, "body.version stands twice"},
		"an unknown key":        {"api/v1/releases", "application/json", `{"version":"2","verzion":"3"}`, 422, "body.verzion"},
		"no UTF-8":              {"api/v1/releases", "application/json", "{\"version\":\"\xff\"}", 400, "not UTF-8"},
		"an unknown release":    {"api/v1/releases/nothing/approve", "application/json", `{}`, 404, `there is no release \"nothing\"`},
		"an unknown flag":       {"ofrep/v1/evaluate/flags/nothing", "application/json", `{}`, 404, "FLAG_NOT_FOUND"},
		"an unknown path":       {"api/v1/relaeses", "application/json", `{}`, 404, "there is nothing at"},
		"an unknown service":    {"webhooks/alertmanager", "application/json", `{"version":"4","alerts":[{"status":"firing","labels":{"alertname":"HighErrorRate","service":"nothing"}}]}`, 200, `"dropped":1`},
		"no route for the harm": {"api/v2/alerts", "application/json", `[{"labels":{"alertname":"HighErrorRate","service":"calm"}}]`, 200, `"dropped":1`},
	} {
		t.Run(name, func(t *testing.T) {
			resp, err := client.Post(f.url+"/"+c.path, c.contentType, strings.NewReader(c.body))
			require.NoError(t, err)
			defer func() { _ = resp.Body.Close() }() // it is read
			said, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.Equal(t, c.status, resp.StatusCode, "%s", said)
			require.Contains(t, string(said), c.says)
		})
	}
	t.Run("a header too large", func(t *testing.T) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.url+"/api/v1/releases", nil)
		require.NoError(t, err)
		req.Header.Set("X-Much", big[:200_000])
		resp, err := client.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, resp.StatusCode)
	})
	t.Run("a release of another service's file", func(t *testing.T) {
		code, _, said := f.try("release", "open", "--service", "other", "--version", "v2", "-f", filepath.Join(f.dir, "health.yml"))
		require.Equal(t, 2, code)
		require.Contains(t, said, `its health file is for "calm"`)
	})
	f.ends(t, "calm", 0)
	require.True(t, f.on("calm"))
}
