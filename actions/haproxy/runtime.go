package haproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/gatekeeper-engine/gatekeeper/actions"
)

const maxAnswer = 8 << 20 // bytes of one answer; a server takes about 150

// runtime speaks HAProxy's runtime API: one command a connection, answered until it is closed.
type runtime struct{ network, address string }

// ask sends a command and gives what it answered, without blank lines around it. An error that
// wraps [actions.ErrNoEffect] means that the command was never sent.
func (r runtime) ask(ctx context.Context, command string) (string, error) {
	conn, err := new(net.Dialer).DialContext(ctx, r.network, r.address)
	if err != nil {
		return "", fmt.Errorf("HAProxy's runtime API can't be reached: %w (%w)", err, actions.ErrNoEffect)
	}
	defer func() { _ = conn.Close() }()
	// A deadline in the past ends a read or write that waits.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	answer, err := exchange(conn, command)
	if err != nil {
		return "", fmt.Errorf("HAProxy's runtime API at %s gave no answer to %q: %w",
			r.address, command, errors.Join(context.Cause(ctx), err))
	}
	return answer, nil
}

func exchange(conn io.ReadWriter, command string) (string, error) {
	if _, err := io.WriteString(conn, command+"\n"); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(io.LimitReader(conn, maxAnswer+1))
	if err != nil {
		return "", err
	}
	if len(answer) > maxAnswer {
		return "", fmt.Errorf("the answer is above %d bytes", maxAnswer)
	}
	// Every answer ends with a line feed, also an empty one: without it HAProxy died or gave up.
	if len(answer) == 0 {
		return "", io.ErrUnexpectedEOF
	}
	return strings.TrimSpace(string(answer)), nil
}

// set changes one server. The runtime API answers nothing where it obeyed.
func (r runtime) set(ctx context.Context, c command) error {
	answer, err := r.ask(ctx, c.String())
	if err != nil {
		return err
	}
	if answer != "" {
		return fmt.Errorf("HAProxy refused %q: %s (%w)", c, firstLine(answer), actions.ErrNoEffect)
	}
	return nil
}

// command is one `set server`.
type command struct {
	backend, server string
	weight          int   // if state is empty
	state           state // or
}

// String gives the command's line.
func (c command) String() string {
	if c.state != "" {
		return fmt.Sprintf("set server %s/%s state %s", c.backend, c.server, c.state)
	}
	return fmt.Sprintf("set server %s/%s weight %d", c.backend, c.server, c.weight)
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	if len(line) > 200 {
		line = line[:200]
	}
	return line
}
