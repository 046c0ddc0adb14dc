package e2e

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	patience = 60 * time.Second // for anything that should happen
	often    = 20 * time.Millisecond
)

// output is what a process writes, readable while it runs.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// process is a program that runs until the test ends, or is killed before.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	said *output
	once sync.Once
}

// run starts a program; the log of it is shown if the test fails.
func run(t *testing.T, name string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(name, args...), said: &output{}}
	p.cmd.Stdout, p.cmd.Stderr = p.said, p.said
	tie(p.cmd)
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() {
		p.end(syscall.SIGTERM)
		if t.Failed() {
			t.Logf("%s said:\n%s", name, p.said)
		}
	})
	return p
}

// end sends a signal and waits until the process is gone; one that does not go is killed.
func (p *process) end(signal syscall.Signal) {
	p.once.Do(func() {
		_ = p.cmd.Process.Signal(signal) // an error says that it is gone already
		late := time.AfterFunc(20*time.Second, func() {
			p.t.Errorf("%s did not end after %s and was killed", p.cmd.Path, signal)
			_ = p.cmd.Process.Kill()
		})
		_ = p.cmd.Wait() // how it ended says nothing: it was told to
		late.Stop()
	})
}

// answers says whether GET url gives 200.
func answers(url string) bool {
	resp, err := client.Get(url)
	if err != nil {
		return false
	}
	defer func() { _ = resp.Body.Close() }() // only the status counts
	return resp.StatusCode == http.StatusOK
}

// client keeps no connection, so that nothing is left of it when a test ends.
var client = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// eventually waits until the condition holds.
func eventually(t *testing.T, condition func() bool, what string) {
	t.Helper()
	require.Eventually(t, condition, patience, often, what)
}

// commandLine runs gatekeeper's command line against one daemon, as a pipeline does.
type commandLine struct {
	t   *testing.T
	env []string
}

// try runs one command and gives its exit code, -1 if it was cut off, and what it wrote. It may be
// used beside the test's own goroutine.
func (c commandLine) try(args ...string) (code int, stdout, stderr string) {
	ctx, stop := context.WithTimeout(c.t.Context(), 2*patience)
	defer stop()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), c.env...), &out, &errs
	tie(cmd)
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		return -1, "", err.Error()
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// gives runs one command, which must end with that exit code, and gives its standard output.
func (c commandLine) gives(code int, args ...string) string {
	c.t.Helper()
	got, stdout, stderr := c.try(args...)
	require.Equal(c.t, code, got, "gatekeeper %v\n%s\n%s", args, stdout, stderr)
	return stdout
}
