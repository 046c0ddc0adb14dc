package main

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The daemon tells a service manager that it has started, that it lives, and that it stops.
func TestServeTellsSystemd(t *testing.T) {
	dir := t.TempDir()
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	require.NoError(t, err)
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", filepath.Join(dir, "notify"))
	t.Setenv("WATCHDOG_USEC", "300000")
	await := func(want string) {
		t.Helper()
		require.NoError(t, l.SetReadDeadline(time.Now().Add(30*time.Second)))
		for text := make([]byte, 1000); ; {
			n, err := l.Read(text)
			require.NoError(t, err, "waiting for %s", want)
			if strings.Contains(string(text[:n]), want) {
				return
			}
		}
	}
	stop, said := begin(t, dir, "")
	await("READY=1\nWATCHDOG=1\nSTATUS=watching releases")
	await("WATCHDOG=1")
	await("WATCHDOG=1")
	require.Equal(t, 0, stop(), "%s", said)
	await("STOPPING=1")
}
