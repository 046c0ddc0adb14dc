package systemd

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// recorded runs a manager for so long and gives what it was told, each with its time.
func recorded(t *testing.T, watchdog, lasts time.Duration, ready func() error) []string {
	t.Helper()
	var told []string
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), lasts)
		defer cancel()
		Manager{watchdog: watchdog, send: func(state string) error {
			told = append(told, time.Since(began).String()+" "+strings.ReplaceAll(state, "\n", " "))
			return nil
		}}.Run(ctx, ready, quiet())
	})
	return told
}

func TestStartSignsOfLifeAndStop(t *testing.T) {
	asked := 0
	require.Equal(t, []string{
		"0s WATCHDOG=1 STATUS=not ready: the open releases are being taken up",
		"100ms WATCHDOG=1 STATUS=not ready: the open releases are being taken up",
		"200ms READY=1 WATCHDOG=1 STATUS=watching releases",
		"20.2s WATCHDOG=1 STATUS=watching releases",
		"40.2s WATCHDOG=1 STATUS=watching releases",
		"50s STOPPING=1 STATUS=stopping",
	}, recorded(t, time.Minute, 50*time.Second, func() error {
		if asked++; asked < 3 {
			return errors.New("the open releases\nare being taken up")
		}
		return nil
	}))
	require.Equal(t, []string{"0s READY=1 STATUS=watching releases", "10s STATUS=watching releases", "15s STOPPING=1 STATUS=stopping"},
		recorded(t, 0, 15*time.Second, func() error { return nil }))
}

// A full disk is explained: the daemon counts as started, and is not killed for it.
func TestWhoExplainsLives(t *testing.T) {
	told := recorded(t, time.Minute, 5*time.Minute, func() error { return errors.New("the disk is full\nREADY=1") })
	ready, signs := 0, 0
	for _, s := range told {
		if strings.Contains(s, " READY=1 ") && !strings.HasPrefix(s, "0s") {
			ready++
			require.True(t, strings.HasPrefix(s, "30s "), s)
		}
		if strings.Contains(s, "WATCHDOG=1") {
			signs++
		}
	}
	require.Equal(t, 1, ready, "%v", told[len(told)-3:])
	require.Greater(t, signs, 300)
}

// Who does not answer gives no sign, and can still be stopped.
func TestWhoHangsGivesNoSign(t *testing.T) {
	asked := 0
	var told []string
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		Manager{watchdog: time.Minute, send: func(state string) error { told = append(told, state); return nil }}.Run(ctx, func() error {
			if asked++; asked > 1 {
				<-hang
			}
			return nil
		}, quiet())
		close(hang)
	})
	require.Len(t, told, 2)
	require.Contains(t, told[0], "READY=1")
	require.Contains(t, told[1], "STOPPING=1")
}

func TestManagerThatIsGoneChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		warned := &strings.Builder{}
		Manager{send: func(string) error { return errors.New("gone") }}.Run(ctx, func() error { return nil }, slog.New(slog.NewTextHandler(warned, nil)))
		require.Equal(t, 1, strings.Count(warned.String(), "level=WARN"), warned)
	})
}

func TestEnvironment(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	require.NoError(t, err)
	defer l.Close()
	env := map[string]string{"NOTIFY_SOCKET": socket, "WATCHDOG_USEC": "30000000"}
	get := func(name string) string { return env[name] }
	m, err := FromEnvironment(get)
	require.NoError(t, err)
	require.Equal(t, 30*time.Second, m.watchdog)
	require.NoError(t, m.send("READY=1"))
	got := make([]byte, 100)
	n, err := l.Read(got)
	require.NoError(t, err)
	require.Equal(t, "READY=1", string(got[:n]))

	env["WATCHDOG_PID"] = "1"
	m, err = FromEnvironment(get)
	require.NoError(t, err)
	require.Zero(t, m.watchdog, "another process is watched")
	env["WATCHDOG_PID"] = ""
	for _, bad := range []string{"soon", "0", "-5", strconv.Itoa(1 << 62)} {
		env["WATCHDOG_USEC"] = bad
		_, err = FromEnvironment(get)
		require.ErrorContains(t, err, "WATCHDOG_USEC")
	}
	m, err = FromEnvironment(func(string) string { return "" })
	require.NoError(t, err)
	m.Run(t.Context(), func() error { panic("nobody asks") }, quiet())
}

func TestStatusIsOneShortLine(t *testing.T) {
	require.Equal(t, "a b c", oneLine("a\nb\r\n  c"))
	require.LessOrEqual(t, len(oneLine(strings.Repeat("ü", 1000))), maxStatus+len("…"))
}
