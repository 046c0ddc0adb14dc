package bench

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper/internal/servertest"
)

// balancer is a real HAProxy with a frontend and a backend for each shop; a backend has the
// servers old, which serves, and new.
type balancer struct {
	socket string   // of the runtime API
	fronts []string // URLs, by shop
}

// startBalancer serves shops whose versions listen at these addresses.
func startBalancer(b *testing.B, old, new []string) *balancer {
	b.Helper()
	// Paths of unix sockets are short: b.TempDir, with the benchmark's name in it, is too long for them.
	dir, err := os.MkdirTemp("", "bench")
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, os.RemoveAll(dir)) })
	h := &balancer{socket: filepath.Join(dir, "api.sock")}
	var config strings.Builder
	fmt.Fprintf(&config, "global\n  stats socket %s mode 600 level admin\ndefaults\n  mode http\n  timeout connect 1s\n  timeout client 30s\n  timeout server 30s\n", h.socket)
	for i := range old {
		front := servertest.Address(b)
		h.fronts = append(h.fronts, "http://"+front)
		fmt.Fprintf(&config, "frontend %[1]s\n  bind %s\n  default_backend %[1]s\nbackend %[1]s\n  server old %[3]s weight 100\n  server new %[4]s weight 0\n",
			shopName(i), front, old[i], new[i])
	}
	path := filepath.Join(dir, "haproxy.cfg")
	require.NoError(b, os.WriteFile(path, []byte(config.String()), 0o600))
	servertest.Run(b, "haproxy", "-db", "-f", path)
	servertest.Ready(b, h.fronts[len(h.fronts)-1])
	return h
}

func shopName(i int) string { return fmt.Sprintf("shop-%d", i) }

// The runtime API's commands that give all traffic to one server.
func toNew(backend string) string {
	return fmt.Sprintf("set server %[1]s/new weight 100; set server %[1]s/old weight 0", backend)
}

func toOld(backend string) string {
	return fmt.Sprintf("set server %[1]s/old weight 100; set server %[1]s/new weight 0", backend)
}

// ask runs commands of the runtime API in one connection, and gives their answer.
func (h *balancer) ask(commands string) (string, error) {
	conn, err := net.Dial("unix", h.socket)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, commands+"\n"); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	return strings.TrimSpace(string(answer)), err
}

// order runs commands that answer nothing where they are obeyed.
func (h *balancer) order(b *testing.B, commands string) {
	b.Helper()
	answer, err := h.ask(commands)
	require.NoError(b, err)
	require.Empty(b, answer)
}
