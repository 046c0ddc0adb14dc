package execaction

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const (
	maxOutput = 64 << 10        // bytes kept of each output; the rest is read and dropped
	maxLine   = 300             // bytes of a line shown to people
	maxSecret = 64 << 10        // bytes of a file in env_files
	grace     = 2 * time.Second // for ending a program: half of it from SIGTERM to SIGKILL; less near the deadline
)

// ended is how a program ended.
type ended struct {
	code     int // of exit; -1 when a signal ended it
	stdout   []byte
	overflow bool   // it printed more than was kept
	line     string // the first line of standard output
	complain string // the last line of standard error
}

// errNotStarted marks a program that never ran.
var errNotStarted = errors.New("it was not started")

// run runs a program within ctx. An error means that it did not end by itself: it wasn't started,
// or it was ended at the deadline, or left processes behind.
func (c connection) run(ctx context.Context, argv []string, stdin []byte) (ended, error) {
	env, hide, err := c.environment()
	if err != nil {
		return ended{}, errors.Join(errNotStarted, err)
	}
	patience := grace
	if deadline, ok := ctx.Deadline(); ok {
		patience = min(grace, time.Until(deadline)/4)
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-patience)) // so that its end is within the deadline
		defer cancel()
	}
	var stdout, stderr capped
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = c.Dir, env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = max(patience/2, time.Millisecond) // the other half is for ending what is left; 0 would be for ever
	if err := cmd.Start(); err != nil {
		return ended{}, fmt.Errorf("%w: %w", errNotStarted, err)
	}
	err = cmd.Wait()
	left := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) == nil
	e := ended{
		code: cmd.ProcessState.ExitCode(), stdout: stdout.text, overflow: stdout.overflow,
		line: hide.line(first(stdout.text)), complain: hide.line(last(stderr.text)),
	}
	switch {
	case ctx.Err() != nil:
		return e, fmt.Errorf("it was ended before it was done: %w", context.Cause(ctx))
	case errors.Is(err, exec.ErrWaitDelay) || left:
		return e, errors.New("it left processes behind, which were ended")
	case err != nil && !isExit(err):
		return e, err
	}
	return e, nil
}

func isExit(err error) bool {
	_, ok := errors.AsType[*exec.ExitError](err)
	return ok
}

// secrets are values to be hidden.
type secrets []string

func (s secrets) line(text string) string {
	text = s.hide(text)
	if len(text) > maxLine {
		text = strings.ToValidUTF8(text[:maxLine], "") + "…"
	}
	return text
}

func (s secrets) hide(text string) string {
	for _, secret := range s {
		text = strings.ReplaceAll(text, secret, "<secret>")
	}
	return strings.ToValidUTF8(text, "?")
}

// environment gives the program's whole environment, and what of it must not be shown.
func (c connection) environment() ([]string, secrets, error) {
	env := []string{"PATH=/usr/local/bin:/usr/bin:/bin"}
	for name, value := range c.Env {
		env = append(env, name+"="+value)
	}
	var hide secrets
	for name, file := range c.EnvFiles {
		info, err := os.Stat(file)
		if err == nil && info.Size() > maxSecret {
			err = fmt.Errorf("%s is above 64 KiB", file)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("env_files: %s: %w", name, err)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, nil, fmt.Errorf("env_files: %s: %w", name, err)
		}
		value := strings.TrimRight(string(text), "\r\n")
		if value != "" {
			hide = append(hide, value)
		}
		env = append(env, name+"="+value)
	}
	return env, hide, nil
}

// capped keeps the beginning of what is written and takes the rest too, so that a program that
// prints much is not stopped by a full pipe.
type capped struct {
	text     []byte
	overflow bool
}

// Write never fails.
func (c *capped) Write(p []byte) (int, error) {
	room := min(len(p), maxOutput-len(c.text))
	c.text = append(c.text, p[:room]...)
	c.overflow = c.overflow || room < len(p)
	return len(p), nil
}

func first(text []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	return strings.TrimSpace(line)
}

func last(text []byte) string {
	all := strings.TrimSpace(string(text))
	return strings.TrimSpace(all[strings.LastIndexByte(all, '\n')+1:])
}
