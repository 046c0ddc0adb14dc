package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// log is what a daemon writes, readable while it runs.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

var address = regexp.MustCompile(`msg=serving address=(\S+)`)

// begin runs a daemon and points the command line at it; stop ends it and gives its exit code.
func begin(t *testing.T, dir, more string) (stop func() int, said *log) {
	t.Helper()
	path := filepath.Join(dir, "gatekeeper.yml")
	require.NoError(t, os.WriteFile(path, []byte("listen: 127.0.0.1:0\ndata_dir: data\n"+more), 0o600))
	said = &log{}
	stop = daemonOf(t, path, said)
	url := "http://" + address.FindStringSubmatch(said.String())[1]
	t.Setenv("GATEKEEPER_URL", url)
	require.Eventually(t, func() bool { return get(t, url+"/-/ready") == http.StatusOK }, 30*time.Second, 10*time.Millisecond)
	return stop, said
}

// daemonOf runs a daemon until it serves.
func daemonOf(t *testing.T, path string, said *log) (stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int, 1)
	go func() { done <- run(ctx, []string{"serve", "--config", path}, io.Discard, said) }()
	code, ended := 0, false
	stop = func() int {
		if !ended {
			cancel()
			code, ended = <-done, true
		}
		return code
	}
	t.Cleanup(func() { stop() })
	require.Eventually(t, func() bool { return address.MatchString(said.String()) }, 30*time.Second, 10*time.Millisecond, "%s", said)
	return stop
}

func get(t *testing.T, url string) int {
	t.Helper()
	res, err := http.Get(url)
	require.NoError(t, err)
	defer res.Body.Close()
	return res.StatusCode
}

// gk runs one command line and gives its standard output.
func gk(t *testing.T, code int, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	got := run(t.Context(), args, &out, &errs)
	require.Equal(t, code, got, "%v\n%s\n%s", args, &out, &errs)
	return out.String()
}

const withFlag = `service: shop
window: 5m
groups:
  - name: a
    rules:
      - alert: Bad
        expr: rate(errors_total{version="${version}"}[1m]) > 1
rollback:
  - action: flag/set
    connection: flags
    with: {flag: new-checkout, enabled: false}
    recover_within: 1s
`

// onWrite is output at whose first words something is done.
type onWrite func()

func (w onWrite) Write(p []byte) (int, error) {
	w()
	return len(p), nil
}

// A release from the command line to a flag that is off again, over a restart of the daemon.
func TestDaemon(t *testing.T) {
	dir := t.TempDir()
	health := filepath.Join(dir, "health.yml")
	require.NoError(t, os.WriteFile(health, []byte(withFlag), 0o600))
	stop, said := begin(t, dir, "")

	gk(t, 0, "flag", "set", "new-checkout", "--enabled")
	require.Regexp(t, `new-checkout +true +on=true +off=false +100`, gk(t, 0, "flag", "list"))
	gk(t, 0, "release", "open", "--version", "2", "--previous-version", "1", "-f", health, "--id", "r1")
	require.Equal(t, "r1\n", gk(t, 0, "release", "open", "--version", "2", "--previous-version", "1", "-f", health, "--id", "r1"), "the same again")
	gk(t, 0, "release", "deployed", "r1")
	require.Contains(t, gk(t, 0, "release", "show", "r1"), "WATCHING the window ends in")
	gk(t, 6, "release", "wait", "r1", "--timeout", "50ms")
	ctx, interrupt := context.WithCancel(t.Context())
	var interrupted bytes.Buffer
	require.Equal(t, 1, run(ctx, []string{"release", "wait", "r1"}, onWrite(interrupt), &interrupted))
	require.Equal(t, "interrupted: release r1 goes on; follow it with: gatekeeper release wait r1\n", interrupted.String())

	require.Equal(t, 0, stop(), "%s", said)
	gk(t, 7, "release", "show", "r1")
	stop, said = begin(t, dir, "")
	require.Contains(t, gk(t, 0, "release", "list", "--open"), "watching")

	gk(t, 0, "release", "rollback", "r1", "--why", "it is slow")
	told := gk(t, 3, "release", "wait", "r1")
	for _, want := range []string{"decided", "it is slow", "applying", "applied", "reached", "ROLLED BACK"} {
		require.Contains(t, told, want)
	}
	require.Regexp(t, `new-checkout +false`, gk(t, 0, "flag", "get", "new-checkout"))
	require.Contains(t, gk(t, 0, "release", "show", "r1", "-o", "json"), `"outcome": "rolled_back"`)
	gk(t, 9, "release", "approve", "r1")
	gk(t, 1, "release", "show", "nothing")
	require.Contains(t, gk(t, 0, "kill-switch", "on", "--why", "trouble"), "is on")
	require.Contains(t, gk(t, 0, "kill-switch", "off"), "is off")
	require.Equal(t, 0, stop(), "%s", said)
}

// Tokens, a health file of the operator's, and plans for rule files that have none.
func TestDaemonWithTokensAndPlans(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	ci, ops := write("ci.token", "ci-secret-ci-secret\n"), write("ops.token", "ops-secret-ops-secret\n")
	write("health/shop.yml", withFlag)
	plain := write("alerts.yml", "groups:\n  - name: a\n    rules:\n      - alert: Bad\n        expr: rate(errors_total[1m]) > 1\n")
	plan := write("plan.yml", "- action: flag/set\n  connection: flags\n  with: {flag: f, restore: true}\n")
	stop, said := begin(t, dir, `
health_files: health
tokens:
  - {name: ci, scopes: [open], token_file: ci.token}
  - {name: ops, scopes: [operate], token_file: ops.token}
plans:
  restore-flag: [{action: flag/set, connection: flags, with: {flag: f, restore: true}}]
`)
	gk(t, 1, "release", "list")
	gk(t, 1, "flag", "set", "f", "--token-file", ci)
	gk(t, 0, "flag", "set", "f", "--token-file", ops)
	gk(t, 0, "flag", "set", "new-checkout", "--token-file", ops)

	open := func(code int, args ...string) string {
		return gk(t, code, append([]string{"release", "open", "--version", "2", "--previous-version", "1", "--actor", "alice", "--token-file", ci}, args...)...)
	}
	require.Contains(t, open(0, "--health-file", "shop.yml", "-o", "json"), `"opened_by": "ci (alice)"`)
	open(2, "--health-file", "../ci.token")
	open(1, "--health-file", "none.yml", "--service", "none")
	require.Contains(t, open(0, "-f", plain, "--service", "a", "--plan", "restore-flag", "-o", "yaml"), "action: flag/set")
	require.Contains(t, open(0, "-f", plain, "--service", "b", "--plan-file", plan, "-o", "yaml"), "action: flag/set")
	open(2, "-f", plain, "--service", "c", "--plan", "none")
	open(2, "-f", plain, "--service", "c", "--plan-file", plain)
	require.Equal(t, 3, strings.Count(gk(t, 0, "release", "list", "--token-file", ops), "waiting"))
	require.Equal(t, 0, stop(), "%s", said)
	require.NotContains(t, said.String(), "secret-")
}

func TestServeRefusesABadConfiguration(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gatekeeper.yml")
	require.NoError(t, os.WriteFile(path, []byte(`
lisen: x
connections:
  edge: {kind: haproxi}
tokens: [{name: ci, scopes: [opn], token_file: none}]
alertmanagers: [{url: nowhere}]
backends: {main: {prometheus: {url: "http://x", tiemout: 5s}}}
plans:
  undo:
    - {action: flag/sett, connection: flags}
    - {action: flag/set, connection: fags}
    - {action: flag/set}
`), 0o600))
	var errs bytes.Buffer
	require.Equal(t, exitUsage, run(t.Context(), []string{"serve", "--config", path}, io.Discard, &errs))
	for _, want := range []string{":2:1", "haproxi", `no scope "opn"`, "nowhere", "tiemout", ":10:7: error: there is no action \"flag/sett\"", ":11:7: error: there is no connection \"fags\"", ":12:7: error: action flag/set needs a connection", "^^^^^", "nothing was started"} {
		require.Contains(t, errs.String(), want)
	}
	require.Equal(t, exitUsage, run(t.Context(), []string{"serve", "--config", path + ".none"}, io.Discard, &errs))
}

func TestServeSaysWhenThePortIsTaken(t *testing.T) {
	dir := t.TempDir()
	_, said := begin(t, dir, "")
	taken := address.FindStringSubmatch(said.String())[1]
	path := filepath.Join(dir, "second.yml")
	require.NoError(t, os.WriteFile(path, []byte("listen: "+taken+"\ndata_dir: second\n"), 0o600))
	var errs bytes.Buffer
	require.Equal(t, exitError, run(t.Context(), []string{"serve", "--config", path}, io.Discard, &errs))
	require.Contains(t, errs.String(), "is another daemon running?")
	require.NotContains(t, strings.ToLower(errs.String()), "panic")
}

// A token as `token new` prints it, for some services only, over the daemon that it is pasted into.
func TestDaemonWithAHashedToken(t *testing.T) {
	var fresh newToken
	require.NoError(t, json.Unmarshal([]byte(gk(t, 0, "token", "new", "--name", "ci", "--scope", "open", "--service", "shop*", "-o", "json")), &fresh))
	require.NotContains(t, fresh.Entry.Hash, fresh.Token)
	text := gk(t, 0, "token", "new", "--name", "ci", "--scope", "open", "--scope", "read", "--service", "shop*")
	require.Regexp(t, `(?s)\ngatekeeper_[A-Z2-7]{52}\n.*\n- name: ci\n  scopes: \[open, read\]\n  services: \[shop\*\]\n  token_hash: sha256:[0-9a-f]{64}\n$`, text)
	gk(t, 2, "token", "new", "--name", "ci")
	gk(t, 2, "token", "new", "--name", "ci", "--scope", "opn")
	gk(t, 2, "token", "new", "--name", "ci", "--scope", "open", "--service", "[")

	dir := t.TempDir()
	health := filepath.Join(dir, "health.yml")
	require.NoError(t, os.WriteFile(health, []byte(withFlag), 0o600))
	stop, said := begin(t, dir, "tokens:\n  - {name: ci, scopes: [open], services: [shop*], token_hash: \""+fresh.Entry.Hash+"\"}\n"+
		"policy:\n  - {services: ['*'], open: [ci], allow: [{targets: ['new-*']}]}\n")
	t.Setenv("GATEKEEPER_TOKEN", fresh.Token)
	gk(t, 1, "flag", "set", "new-checkout")
	gk(t, 0, "release", "open", "--version", "2", "--previous-version", "1", "-f", health, "--watch-only", "--id", "r1")
	require.NoError(t, os.WriteFile(health, []byte(strings.Replace(withFlag, "flag: new-checkout", "flag: other", 1)), 0o600))
	gk(t, 1, "release", "open", "--version", "3", "--previous-version", "1", "-f", health, "--watch-only")
	require.NoError(t, os.WriteFile(health, []byte(strings.Replace(withFlag, "service: shop", "service: pay", 1)), 0o600))
	gk(t, 1, "release", "open", "--version", "2", "--previous-version", "1", "-f", health, "--watch-only")
	require.Contains(t, gk(t, 0, "release", "list"), "r1")
	require.Equal(t, 0, stop(), "%s", said)
	require.NotContains(t, said.String(), fresh.Token)
}
