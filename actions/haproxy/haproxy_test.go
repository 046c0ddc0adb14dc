package haproxy

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
	"github.com/gatekeeper-engine/gatekeeper/actions/actiontest"
	"github.com/gatekeeper-engine/gatekeeper/internal/servertest"
)

// balancer is a real HAProxy with the backend shop: blue, green and a spare without a process.
type balancer struct {
	t      *testing.T
	dir    string
	front  string // URL
	socket string
	level  string
	tcp    string // the runtime API's other address
	cmd    *exec.Cmd
	slow   chan struct{} // green answers /slow when it is closed
}

func startBalancer(t *testing.T) *balancer {
	t.Helper()
	if _, err := exec.LookPath("haproxy"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("haproxy is not installed: apt-get install haproxy")
		}
		t.Skip("haproxy is not installed")
	}
	// Paths of unix sockets are short: t.TempDir with the check's name in it would be too long.
	dir, err := os.MkdirTemp("", "haproxy")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	b := &balancer{t: t, dir: dir, socket: filepath.Join(dir, "api.sock"), level: "admin", tcp: servertest.Address(t), slow: make(chan struct{})}
	blue, green := b.backend("blue"), b.backend("green")
	front := servertest.Address(t)
	b.front = "http://" + front
	b.configure(front, blue, green)
	b.start()
	t.Cleanup(b.stop)
	return b
}

func (b *balancer) backend(name string) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			select {
			case <-b.slow:
			case <-r.Context().Done():
			}
		}
		_, _ = io.WriteString(w, name)
	}))
	b.t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func (b *balancer) configure(front, blue, green string) {
	b.t.Helper()
	text := fmt.Sprintf(`
global
  stats socket %s mode 600 level %s
  stats socket ipv4@%s level admin
defaults
  mode http
  timeout connect 1s
  timeout client 10s
  timeout server 10s
frontend shop
  bind %s
  default_backend shop
backend shop
  server blue %s weight 100 check inter 50ms
  server green %s weight 1
  server spare 127.0.0.1:1 weight 1 check inter 50ms disabled
backend empty
`, b.socket, b.level, b.tcp, front, blue, green)
	require.NoError(b.t, os.WriteFile(filepath.Join(b.dir, "haproxy.cfg"), []byte(text), 0o600))
}

func (b *balancer) start() {
	b.t.Helper()
	b.cmd = exec.Command("haproxy", "-db", "-f", filepath.Join(b.dir, "haproxy.cfg"))
	var out bytes.Buffer
	b.cmd.Stderr = &out
	require.NoError(b.t, b.cmd.Start())
	require.Eventually(b.t, func() bool {
		found, err := b.api().servers(b.t.Context(), "shop")
		return err == nil && found["blue"].up
	}, 10*time.Second, 10*time.Millisecond, "haproxy did not start: %s", &out)
}

func (b *balancer) stop() {
	if b.cmd == nil {
		return
	}
	_ = b.cmd.Process.Kill()
	_ = b.cmd.Wait()
	b.cmd = nil
}

func (b *balancer) api() runtime { return runtime{network: "unix", address: b.socket} }

func (b *balancer) ask(command string) {
	b.t.Helper()
	answer, err := b.api().ask(b.t.Context(), command)
	require.NoError(b.t, err)
	require.Empty(b.t, answer, command)
}

// release sends everything to green, as a deployment does.
func (b *balancer) release() {
	b.t.Helper()
	b.ask("set server shop/green weight 100")
	b.ask("set server shop/blue weight 0")
}

func (b *balancer) state() string {
	b.t.Helper()
	found, err := b.api().servers(b.t.Context(), "shop")
	require.NoError(b.t, err)
	return target{Whole: true}.print(found)
}

// wedge puts a listener that takes everything and answers nothing in HAProxy's place.
func (b *balancer) wedge() {
	b.t.Helper()
	b.stop()
	_ = os.Remove(b.socket)
	l, err := net.Listen("unix", b.socket)
	require.NoError(b.t, err)
	b.t.Cleanup(func() { _ = l.Close() })
}

// serves asks through HAProxy on a fresh connection.
func (b *balancer) serves(path string) string {
	b.t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get(b.front + path)
	require.NoError(b.t, err)
	defer func() { _ = r.Body.Close() }()
	body, err := io.ReadAll(r.Body)
	require.NoError(b.t, err)
	return string(body)
}

func (b *balancer) open(with string) (actions.Action, error) {
	b.t.Helper()
	registry, err := actions.NewRegistry(Specs()...)
	require.NoError(b.t, err)
	address, err := json.Marshal(map[string]any{"socket": b.socket, "backends": []string{"shop", "empty", "nowhere"}})
	require.NoError(b.t, err)
	a, safety, err := registry.Open("haproxy/switch", json.RawMessage(with),
		actions.Binding{Connection: actions.Connection{Name: "lb", Kind: Kind, Settings: address}})
	if err == nil {
		require.Equal(b.t, gatekeeper.ByTarget, safety)
	}
	return a, err
}

func (b *balancer) mustOpen(with string) actions.Action {
	b.t.Helper()
	a, err := b.open(with)
	require.NoError(b.t, err)
	return a
}

const setBlue = `{"backend":"shop","servers":{"blue":{"weight":100},"green":{"weight":0,"state":"drain"}}}`

func TestConformance(t *testing.T) {
	for name, with := range map[string]string{
		"set":           setBlue,
		"restore":       `{"backend":"shop"}`,
		"restore named": `{"backend":"shop","only":["blue","green"]}`,
	} {
		t.Run(name, func(t *testing.T) {
			actiontest.Run(t, gatekeeper.ByTarget, func(t *testing.T) actiontest.System {
				b := startBalancer(t)
				return actiontest.System{
					Open:    func() actions.Action { return b.mustOpen(with) },
					Release: b.release,
					State:   b.state,
					Stop:    b.stop,
					Hang:    b.wedge,
					Refuse: func() { // the switched servers are gone
						b.ask("set server shop/blue weight 100")
						b.ask("set server shop/blue state maint")
						b.ask("set server shop/spare state ready")
						answer, err := b.api().ask(t.Context(), "del server shop/blue")
						require.NoError(t, err)
						t.Log(answer)
					},
				}
			})
		})
	}
}

func prepare(t *testing.T, a actions.Action) gatekeeper.Target {
	t.Helper()
	pinned, err := a.Prepare(t.Context())
	require.NoError(t, err)
	return pinned
}

func TestSentences(t *testing.T) {
	b := startBalancer(t)
	pinned := prepare(t, b.mustOpen(setBlue))
	require.Equal(t, gatekeeper.Set, pinned.Kind)
	require.Equal(t, "servers blue=100 green=0/drain of backend shop", pinned.Says)

	restore := prepare(t, b.mustOpen(`{"backend":"shop"}`))
	require.Equal(t, gatekeeper.Restore, restore.Kind)
	require.Equal(t, "servers blue=100 green=1 spare=1/maint of backend shop", restore.Says)

	b.release()
	live, err := b.mustOpen(setBlue).Observe(t.Context(), pinned)
	require.NoError(t, err)
	require.Equal(t, "backend shop: blue=0, not 100; green=100, not 0/drain", live.Says)
	require.Equal(t, "blue=0 green=100", live.Print)
}

func TestNothingBadIsServedAfterTheTarget(t *testing.T) {
	b := startBalancer(t)
	a := b.mustOpen(setBlue)
	pinned := prepare(t, a)
	for range 10 {
		b.ask("set server shop/green state ready")
		b.release()
		require.Equal(t, "green", b.serves("/"))
		_, err := a.Apply(t.Context(), pinned, "k")
		require.NoError(t, err)
		live, err := a.Observe(t.Context(), pinned)
		require.NoError(t, err)
		require.Equal(t, gatekeeper.AtTarget, live.Position, live.Says)
		for range 20 {
			require.Equal(t, "blue", b.serves("/"))
		}
	}
}

func TestRunningRequestsAreWaitedFor(t *testing.T) {
	b := startBalancer(t)
	a := b.mustOpen(`{"backend":"shop","drain":"200ms","servers":{"blue":{"weight":100},"green":{"state":"maint"}}}`)
	pinned := prepare(t, a)
	b.release()
	answered := make(chan string, 1)
	go func() { answered <- b.serves("/slow") }()
	require.Eventually(t, func() bool {
		running, err := b.api().sessions(t.Context(), "shop")
		return err == nil && running["green"] == 1
	}, 5*time.Second, 5*time.Millisecond)

	_, err := a.Apply(t.Context(), pinned, "k")
	require.NoError(t, err)
	live, err := a.Observe(t.Context(), pinned)
	require.NoError(t, err)
	require.Equal(t, gatekeeper.AtTarget, live.Position, "a request that never ends must not undo the rollback")
	require.Contains(t, live.Says, "1 requests still run on servers taken out")

	close(b.slow)
	require.Equal(t, "green", <-answered)
	live, err = a.Observe(t.Context(), pinned)
	require.NoError(t, err)
	require.NotContains(t, live.Says, "still run")
}

func TestRestartBetweenOpenAndApply(t *testing.T) {
	b := startBalancer(t)
	b.ask("set server shop/green weight 30")
	pinned := prepare(t, b.mustOpen(`{"backend":"shop"}`))
	b.release()
	b.stop()
	b.start() // everything is as in haproxy.cfg again
	a := b.mustOpen(`{"backend":"shop"}`)
	live, err := a.Observe(t.Context(), pinned)
	require.NoError(t, err)
	require.Equal(t, gatekeeper.Elsewhere, live.Position)
	_, err = a.Apply(t.Context(), pinned, "k")
	require.NoError(t, err)
	require.Equal(t, "blue=100 green=30 spare=1/maint", b.state())
}

func TestServersAddedSinceArePutInMaintenance(t *testing.T) {
	b := startBalancer(t)
	a := b.mustOpen(`{"backend":"shop"}`)
	pinned := prepare(t, a)
	answer, err := b.api().ask(t.Context(), "add server shop/new 127.0.0.1:9 weight 50")
	require.NoError(t, err)
	require.Contains(t, answer, "New server registered")
	b.ask("set server shop/new state ready")

	live, err := a.Observe(t.Context(), pinned)
	require.NoError(t, err)
	require.Equal(t, gatekeeper.Elsewhere, live.Position)
	require.Contains(t, live.Says, "new=50 was added")
	_, err = a.Apply(t.Context(), pinned, "k")
	require.NoError(t, err)
	live, err = a.Observe(t.Context(), pinned)
	require.NoError(t, err)
	require.Equal(t, gatekeeper.AtTarget, live.Position, live.Says)
}

// spare is in maintenance and its process is gone, which shows only once it is brought in.
func TestNobodyIsTakenOutWhileTheOthersAreDown(t *testing.T) {
	b := startBalancer(t)
	a := b.mustOpen(`{"backend":"shop","servers":{"spare":{"weight":5},"blue":{"state":"maint"},"green":{"state":"maint"}}}`)
	pinned := prepare(t, a)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, err := a.Apply(ctx, pinned, "k")
	require.ErrorContains(t, err, "no server to return to came up, so none was taken out")
	require.NotErrorIs(t, err, actions.ErrNoEffect)
	require.Equal(t, "blue", b.serves("/"))
}

func TestPrepareRefusesWhatCouldNotWork(t *testing.T) {
	b := startBalancer(t)
	for with, says := range map[string]string{
		`{"backend":"nowhere"}`:                                "backend nowhere: HAProxy says: Can't find backend.",
		`{"backend":"empty"}`:                                  "backend empty: HAProxy knows no servers in it",
		`{"backend":"shop","only":["blu"]}`:                    "backend shop has no server blu, only blue, green, spare",
		`{"backend":"shop","servers":{"violet":{"weight":1}}}`: "backend shop has no server violet, only blue, green, spare",
		`{"backend":"shop","only":["spare"]}`:                  "backend shop serves nothing now: there is nothing to return to",
	} {
		_, err := b.mustOpen(with).Prepare(t.Context())
		require.ErrorContains(t, err, says)
	}
	b.ask("set server shop/spare state ready")
	require.Eventually(t, func() bool {
		_, err := b.mustOpen(`{"backend":"shop","servers":{"spare":{"weight":5}}}`).Prepare(t.Context())
		return err != nil && strings.Contains(err.Error(), "spare is down, so returning to it would serve nobody")
	}, 5*time.Second, 20*time.Millisecond)
}

func TestPrepareNeedsLevelAdmin(t *testing.T) {
	b := startBalancer(t)
	text, err := os.ReadFile(filepath.Join(b.dir, "haproxy.cfg"))
	require.NoError(t, err)
	b.stop()
	text = bytes.Replace(text, []byte("level admin"), []byte("level operator"), 1)
	require.NoError(t, os.WriteFile(filepath.Join(b.dir, "haproxy.cfg"), text, 0o600))
	b.start()
	_, err = b.mustOpen(setBlue).Prepare(t.Context())
	require.ErrorContains(t, err, `has level "operator"`)
	require.Equal(t, gatekeeper.CodeRefused, gatekeeper.CodeOf(err))
}

func TestRuntimeAPIOnTCP(t *testing.T) {
	b := startBalancer(t)
	api := runtime{network: "tcp", address: b.tcp}
	found, err := api.servers(t.Context(), "shop")
	require.NoError(t, err)
	require.Equal(t, 100, found["blue"].Weight)
	b.stop()
	_, err = api.ask(t.Context(), "show cli level")
	require.ErrorIs(t, err, actions.ErrNoEffect)
}
