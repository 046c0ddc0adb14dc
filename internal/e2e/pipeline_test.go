package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/servertest"
)

const pipelineToken = "the-token-of-the-pipeline"

// works is a daemon whose pipelines, with a token of their own, release checkout in production.
type works struct {
	*faulty
	workspace string // the pipeline's, with its health file and ./deploy
	path      string // of folders with programs
}

func startWorks(t *testing.T) *works {
	t.Helper()
	f := startFaulty(t, "")
	f.daemon.end(syscall.SIGTERM)
	config := filepath.Join(f.dir, "gatekeeper.yml")
	text, err := os.ReadFile(config)
	require.NoError(t, err)
	const operator = "the-token-of-the-operator"
	write(t, filepath.Join(f.dir, "ci"), pipelineToken)
	write(t, filepath.Join(f.dir, "ops"), operator)
	write(t, config, string(text)+"health_files: .\ntokens:\n  - {name: ci, token_file: ci, scopes: [open]}\n  - {name: ops, token_file: ops, scopes: [open, operate]}\n")
	f.env = append(f.env, "GATEKEEPER_TOKEN="+operator)
	f.serve()
	f.wake("nothing")
	w := &works{faulty: f, workspace: t.TempDir(), path: filepath.Dir(program) + ":" + os.Getenv("PATH")}
	return w
}

func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), 0o700)) // some are programs
}

// pipeline reads one of the examples.
func pipeline(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "examples", "pipelines", name))
	require.NoError(t, err)
	return string(text)
}

// errand is one run of a pipeline: what happens to it, and how it has to end.
type errand struct {
	deploy  string  // what the script ./deploy does last
	ratio   float64 // of errors of the new version
	backend string
	away    bool   // Gatekeeper can't be reached
	absent  string // IF_UNREACHABLE
	unclear string // IF_INCONCLUSIVE

	code    int // of the step that tells; 0: the pipeline succeeds
	outcome gatekeeper.Outcome
}

// idOf makes an id of an errand's name.
func idOf(name string) string { return strings.NewReplacer(" ", "-", ",", "").Replace(name) }

// errands are what every pipeline is tried with.
var errands = map[string]errand{
	"good":               {outcome: gatekeeper.OutcomePassed},
	"bad":                {ratio: 0.9, code: 3, outcome: gatekeeper.OutcomeRolledBack},
	"bad at once":        {ratio: 0.9, deploy: "sleep 7", code: 3, outcome: gatekeeper.OutcomeRolledBack},
	"deployment fails":   {deploy: "exit 9", code: 9, outcome: gatekeeper.OutcomeAborted},
	"inconclusive":       {backend: "nothing", code: 5, outcome: gatekeeper.OutcomeInconclusive},
	"inconclusive, pass": {backend: "nothing", unclear: "pass", outcome: gatekeeper.OutcomeInconclusive},
	"away":               {away: true, code: 7},
	"away, continue":     {away: true, absent: "continue"},
}

// prepare makes the workspace and the world of an errand and gives the pipeline's variables.
func (w *works) prepare(t *testing.T, one *errand) map[string]string {
	t.Helper()
	if one.backend == "" {
		one.backend = "well"
	}
	if one.absent == "" {
		one.absent = "fail"
	}
	if one.unclear == "" {
		one.unclear = "fail"
	}
	w.gives(0, "flag", "set", "checkout", "--enabled")
	health, err := os.ReadFile(w.put("health.yml", "ROLLBACK", strings.ReplaceAll(flagPlan, "SERVICE", "checkout"), "SERVICE", "checkout", "BACKEND", one.backend))
	require.NoError(t, err)
	health = bytes.Replace(health, []byte("\nbackend:"), []byte("\nenvironment: production\nstart_within: 10s\nbackend:"), 1)
	write(t, filepath.Join(w.dir, "checkout.yml"), string(health))
	write(t, filepath.Join(w.workspace, "health.yml"), string(health))
	write(t, filepath.Join(w.workspace, "deploy"), "#!/bin/sh\ntouch deployed\n"+one.deploy+"\n")
	if err := os.Remove(filepath.Join(w.workspace, "deployed")); !os.IsNotExist(err) {
		require.NoError(t, err)
	}
	w.give("checkout", one.ratio)
	url := w.url
	if one.away {
		url = "http://" + servertest.Address(t)
	}
	return map[string]string{"GATEKEEPER_URL": url, "GATEKEEPER_TOKEN": pipelineToken, "IF_UNREACHABLE": one.absent, "IF_INCONCLUSIVE": one.unclear}
}

// give sets the ratio of errors of a service's new version.
func (h *hostile) give(service string, ratio float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ratio[service] = ratio
}

// check holds the world after an errand to what it has to be.
func (w *works) check(t *testing.T, one errand, said string) {
	t.Helper()
	_, err := os.Stat(filepath.Join(w.workspace, "deployed"))
	require.Equal(t, !one.away || one.absent == "continue", err == nil, "%s", said)
	require.Equal(t, one.outcome != gatekeeper.OutcomeRolledBack, w.on("checkout"), "%s", said)
	require.NotContains(t, said, pipelineToken)
	if one.away {
		require.Contains(t, said, "can't be reached")
		return
	}
	require.Equal(t, one.outcome, w.last(t).Outcome, "%s", said)
}

// last gives the newest release.
func (w *works) last(t *testing.T) gatekeeper.Release {
	t.Helper()
	var page struct{ Releases []gatekeeper.Release }
	decode(t, w.gives(0, "release", "list", "--limit", "1", "-o", "json"), &page)
	require.Len(t, page.Releases, 1)
	return page.Releases[0]
}

// shell runs a script as a pipeline's runner does and gives its exit code and what it said.
func (w *works) shell(t *testing.T, env map[string]string, name string, args ...string) (code int, said string) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 2*patience)
	defer stop()
	if name == "gatekeeper" {
		name = program
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.WaitDelay = w.workspace, 5*time.Second
	cmd.Env = []string{"PATH=" + w.path, "HOME=" + w.workspace, "TMPDIR=" + os.TempDir()} // nothing of the test's own
	for k, v := range env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	tie(cmd)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		require.NoError(t, err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// The scripts, as they are, through everything that can happen to a release.
func TestPipelines(t *testing.T) {
	t.Parallel()
	servertest.Need(t, "curl")
	for script, health := range map[string]string{"cli.sh": "health.yml", "curl.sh": "checkout.yml"} {
		t.Run(script, func(t *testing.T) {
			t.Parallel()
			w := startWorks(t)
			for name, one := range errands {
				t.Run(name, func(t *testing.T) {
					env := w.prepare(t, &one)
					text := pipeline(t, script)
					if one.away {
						text = strings.Replace(text, "--retry 6", "--retry 1", 1) // it would take two minutes
					}
					file := filepath.Join(t.TempDir(), script)
					write(t, file, text)
					code, said := w.shell(t, env, file, idOf(name), "v2", health, "./deploy")
					if one.code == 9 {
						one.code = 1
					}
					require.Equal(t, one.code, code, "%s", said)
					w.check(t, one, said)
				})
			}
		})
	}
}

// A pipeline that is run again, with an id of its own, while the same version is open: it goes on
// with that release.
func TestPipelineRunAgain(t *testing.T) {
	t.Parallel()
	servertest.Need(t, "curl")
	w := startWorks(t)
	for script, health := range map[string]string{"cli.sh": "health.yml", "curl.sh": "checkout.yml"} {
		one := errand{}
		env := w.prepare(t, &one)
		first := "first-" + strings.TrimSuffix(script, ".sh")
		w.gives(0, "release", "open", "--id", first, "--version", "v2", "-f", filepath.Join(w.workspace, "health.yml"))
		path, err := filepath.Abs(filepath.Join("..", "..", "examples", "pipelines", script))
		require.NoError(t, err)
		code, said := w.shell(t, env, path, "second-"+script, "v2", health, "./deploy")
		require.Zero(t, code, "%s", said)
		require.Equal(t, first, w.last(t).ID)
	}
}

// A pipeline that is killed in the middle of its deployment: people are told that it gives no sign
// of life, and the bad version is taken back without it.
func TestDeadPipeline(t *testing.T) {
	t.Parallel()
	w := startWorks(t)
	one := errand{ratio: 0.9, deploy: "exec sleep 60"}
	env := w.prepare(t, &one)
	file := filepath.Join(t.TempDir(), "cli.sh")
	write(t, file, strings.NewReplacer("--heartbeat 2m", "--heartbeat 3s", "sleep 30", "sleep 0.2").Replace(pipeline(t, "cli.sh")))
	health := filepath.Join(w.workspace, "health.yml")
	text, err := os.ReadFile(health)
	require.NoError(t, err)
	write(t, health, strings.Replace(string(text), "for: 1s", "for: 10s", 1))

	cmd := exec.Command(file, "dead", "v2", "health.yml", "./deploy")
	cmd.Dir, cmd.Env = w.workspace, []string{"PATH=" + w.path}
	for k, v := range env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	tie(cmd)
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	require.NoError(t, cmd.Start())
	eventually(t, func() bool { _, err := os.Stat(filepath.Join(w.workspace, "deployed")); return err == nil }, "it deploys")
	time.Sleep(4 * time.Second) // longer than was promised: beats came
	require.Zero(t, w.last(t).SilentSince)
	require.NoError(t, syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL))
	require.Error(t, cmd.Wait())

	w.ended(t) // who waits for it would be its pipeline
	told := w.gives(0, "release", "show", "dead")
	require.Contains(t, told, "ROLLED BACK")
	require.Equal(t, 1, strings.Count(told, "no sign of life from the pipeline since"), "%s", told)
	require.False(t, w.on("checkout"))
}

// What can only post signs its requests, with openssl.
func TestPipelineThatCanOnlyPost(t *testing.T) {
	t.Parallel()
	servertest.Need(t, "curl")
	servertest.Need(t, "openssl")
	w := startWorks(t)
	w.daemon.end(syscall.SIGTERM)
	config := filepath.Join(w.dir, "gatekeeper.yml")
	text, err := os.ReadFile(config)
	require.NoError(t, err)
	write(t, filepath.Join(w.dir, "secret"), "the-secret-of-what-can-only-post\n")
	write(t, config, string(text)+"webhooks: [{name: old-ci, secret_file: secret, services: [checkout]}]\n")
	w.serve()
	one := errand{}
	env := w.prepare(t, &one)
	path, err := filepath.Abs(filepath.Join("..", "..", "examples", "pipelines", "signed.sh"))
	require.NoError(t, err)
	post := func(code int, secret, body string) string {
		got, said := w.shell(t, env, path, "old-ci", filepath.Join(w.dir, secret), body)
		require.Equal(t, code, got, "%s", said)
		return said
	}
	open := `{"action":"open","id":"posted","service":"checkout","environment":"production","version":"v2","health_file":"checkout.yml","heartbeat":"2m"}`
	require.Contains(t, post(1, "ci", open), "signature")
	require.Contains(t, post(0, "secret", open), `"state":"waiting"`)
	post(0, "secret", `{"action":"heartbeat","id":"posted"}`)
	require.Contains(t, post(0, "secret", `{"action":"deployed","id":"posted"}`), `"state":"watching"`)
	post(0, "secret", `{"action":"extend","id":"posted","by":"1s"}`)
	require.Equal(t, gatekeeper.OutcomePassed, w.ended(t).Outcome)
	require.Contains(t, post(1, "secret", `{"action":"close","id":"posted"}`), "is closed")
	require.Equal(t, 2*time.Minute, time.Duration(w.last(t).Heartbeat))
}

// Who waits is the pipeline.
func TestWaitingIsASignOfLife(t *testing.T) {
	t.Parallel()
	w := startWorks(t)
	one := errand{ratio: 0.1} // seen with traffic, and never reported as deployed
	env := w.prepare(t, &one)
	code, said := w.shell(t, env, "gatekeeper", "release", "open", "--id", "beats", "--version", "v2", "-f", "health.yml", "--heartbeat", "1s", "--wait")
	require.Zero(t, code, "%s", said)
	require.Contains(t, said, "PASSED")
	require.NotContains(t, said, "no sign of life")
}

func decode(t *testing.T, text string, into any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(text), into), "%s", text)
}
