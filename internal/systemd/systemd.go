// Package systemd tells the service manager how the daemon is, over the protocol of sd_notify(3):
// that it has started, that it stops, how it is in a sentence, and that it is not stuck.
package systemd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// Manager is the service manager that started this process, if one did.
type Manager struct {
	send     func(state string) error // nil: there is none
	watchdog time.Duration            // how long it waits for a sign of life; 0: it does not
}

// FromEnvironment gives the manager that the environment names: NOTIFY_SOCKET, and WATCHDOG_USEC
// unless WATCHDOG_PID names another process. A number that can't be read is an error.
func FromEnvironment(getenv func(string) string) (Manager, error) {
	socket := getenv("NOTIFY_SOCKET")
	if socket == "" {
		return Manager{}, nil
	}
	m := Manager{send: func(state string) error { return notify(socket, state) }}
	if pid := getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return m, nil
	}
	if text := getenv("WATCHDOG_USEC"); text != "" {
		usec, err := strconv.ParseInt(text, 10, 64)
		if err != nil || usec <= 0 || usec > int64(maxWatchdog/time.Microsecond) {
			return m, fmt.Errorf("WATCHDOG_USEC is %q, no number of microseconds", text)
		}
		m.watchdog = time.Duration(usec) * time.Microsecond
	}
	return m, nil
}

const (
	maxWatchdog = 24 * time.Hour
	usually     = 10 * time.Second       // between two looks without a watchdog
	first       = 100 * time.Millisecond // between two looks until the start is told
	patience    = 30 * time.Second       // after which a daemon that explains why it is not ready counts as started
	maxStatus   = 500                    // bytes
)

// notify sends one datagram; a name that begins with @ is Linux's abstract kind.
func notify(socket, state string) error {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	_, err = conn.Write([]byte(state))
	return errors.Join(err, conn.Close())
}

// Run tells the manager how the daemon is until ctx ends, and then that it stops. It asks ready
// for that: nil, or an error that explains why not, both are signs of life, for a restart mends no
// full disk. Only a ready that does not answer withholds the watchdog's sign. The start is told
// when ready says nil, or has explained for half a minute: rollbacks that are under way must not
// be killed because nothing new can begin.
func (m Manager) Run(ctx context.Context, ready func() error, log *slog.Logger) {
	if m.send == nil {
		return
	}
	t := teller{Manager: m, log: log, began: time.Now()}
	answers := make(chan error, 1)
	ask := func() { answers <- ready() }
	go ask()
	for {
		select {
		case <-ctx.Done():
			t.tell("STOPPING=1\nSTATUS=stopping")
			return
		case err := <-answers:
			t.heard(err)
		}
		select {
		case <-ctx.Done():
			t.tell("STOPPING=1\nSTATUS=stopping")
			return
		case <-time.After(t.pause()):
			go ask()
		}
	}
}

// teller is the state of one run.
type teller struct {
	Manager
	log     *slog.Logger
	began   time.Time
	started bool
	refused bool // the manager can't be told; logged once
}

func (t *teller) pause() time.Duration {
	switch {
	case !t.started:
		return first
	case t.watchdog > 0:
		return t.watchdog / 3
	}
	return usually
}

// heard passes an answer on.
func (t *teller) heard(err error) {
	var lines []string
	if !t.started && (err == nil || time.Since(t.began) >= patience) {
		t.started = true
		lines = append(lines, "READY=1")
	}
	if t.watchdog > 0 {
		lines = append(lines, "WATCHDOG=1")
	}
	status := "watching releases"
	if err != nil {
		status = oneLine("not ready: " + err.Error())
	}
	t.tell(strings.Join(append(lines, "STATUS="+status), "\n"))
}

// oneLine makes text fit: a line's end would end the status and begin something else.
func oneLine(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxStatus {
		text = strings.ToValidUTF8(text[:maxStatus], "") + "…"
	}
	return text
}

func (t *teller) tell(state string) {
	err := t.send(state)
	if err != nil && !t.refused {
		t.log.Warn("the service manager can't be told how the daemon is", "err", err)
	}
	t.refused = err != nil
}
