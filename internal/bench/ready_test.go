package bench

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper/internal/api"
	"github.com/gatekeeper-engine/gatekeeper/internal/client"
	"github.com/gatekeeper-engine/gatekeeper/internal/servertest"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

const (
	starts = 11
	closed = 1000
	open   = 100
)

// BenchmarkStartToReady tells the time from the start of the program to its first good answer to
// /-/ready, on an empty data directory, and on one that holds 1,000 closed and 100 open releases.
func BenchmarkStartToReady(b *testing.B) {
	path, err := program()
	require.NoError(b, err)
	for b.Loop() {
		var empty, full spread
		used := b.TempDir()
		startProgram(b, path, used).stop(b, func(d *daemon) { fillStore(b, d.client) })
		for range starts { // in turn
			for _, s := range []struct {
				dir   string
				times *spread
			}{{b.TempDir(), &empty}, {used, &full}} {
				d := startProgram(b, path, s.dir)
				*s.times = append(*s.times, d.took)
				d.stop(b, func(*daemon) {})
			}
		}
		report(b, empty.median(), "empty-p50")
		report(b, empty.at(1), "empty-max")
		report(b, full.median(), "full-p50")
		report(b, full.at(1), "full-max")
		ratio(b, full, empty, "full/empty")
	}
}

// daemon is the program with the time it took to be ready.
type daemon struct {
	cmd    *exec.Cmd
	client *client.Client
	took   time.Duration
}

// startProgram starts the program on a data directory and waits until it is ready.
func startProgram(b *testing.B, path, dir string) *daemon {
	b.Helper()
	address := servertest.Address(b)
	file := filepath.Join(b.TempDir(), "gatekeeper.yml")
	require.NoError(b, os.WriteFile(file, []byte(fmt.Sprintf("listen: %s\ndata_dir: %s\n", address, dir)), 0o600))
	d := &daemon{cmd: exec.Command(path, "serve", "--config", file)}
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	start := time.Now()
	require.NoError(b, d.cmd.Start())
	for !ready("http://" + address) {
		require.Less(b, time.Since(start), time.Minute, "it does not get ready")
		time.Sleep(2 * time.Millisecond)
	}
	d.took = time.Since(start)
	var err error
	d.client, err = client.New("http://"+address, "", http.DefaultClient)
	require.NoError(b, err)
	return d
}

func ready(url string) bool {
	resp, err := http.Get(url + "/-/ready")
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// stop ends the daemon after use has used it.
func (d *daemon) stop(b *testing.B, use func(*daemon)) {
	b.Helper()
	use(d)
	require.NoError(b, d.cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(b, d.cmd.Wait())
}

const flaggedFile = `
service: service-%d
window: 24h
groups:
  - name: g
    rules:
      - alert: HighErrorRate
        expr: |
          sum(rate(http_requests_total{service="${service}", version="${version}", status=~"5.."}[1m]))
            / sum(rate(http_requests_total{service="${service}", version="${version}"}[1m])) > 0.01
        for: 2m
respond: [{do: rollback, no_data: ignore, on_error: ignore}]
rollback:
  - action: flag/set
    connection: flags
    with: {flag: new-checkout, enabled: false}
`

// fillStore opens all releases, and closes what is to be closed.
func fillStore(b *testing.B, c *client.Client) {
	b.Helper()
	_, err := c.PutFlag(b.Context(), api.Flag{Key: "new-checkout", Enabled: true}, api.ByBody{})
	require.NoError(b, err)
	var next atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := next.Add(1); i <= closed+open; i = next.Add(1) {
				if err := fillOne(b, c, int(i)); err != nil {
					b.Errorf("release %d: %v", i, err)
					return
				}
			}
		})
	}
	all.Wait()
	require.False(b, b.Failed())
}

func fillOne(b *testing.B, c *client.Client, i int) error {
	r, err := c.Open(b.Context(), api.OpenBody{
		Version: "v2", PreviousVersion: "v1", Deployed: true,
		Bundle: &rules.Bundle{Name: "health.yml", File: fmt.Sprintf(flaggedFile, i)},
	})
	if err == nil && i <= closed {
		_, err = c.Ask(b.Context(), r.ID, "close", api.ByBody{})
	}
	return err
}
