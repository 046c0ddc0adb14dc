// Package servertest runs real servers for tests and benchmarks: Debian's Prometheus and
// Alertmanager, on loopback, until the test ends. Where a program is missing the test is skipped visibly; with
// CI=true it fails.
package servertest

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Prometheus runs Prometheus with a configuration and further flags, waits until it is ready and
// gives its URL. Files beside the configuration, such as rules.yml, are given by their names.
func Prometheus(t testing.TB, config string, files map[string]string, flags ...string) (url string) {
	t.Helper()
	return prometheus(t, t.TempDir(), config, files, flags...)
}

// Backfilled runs Prometheus on past samples, given as OpenMetrics text with timestamps, waits until it
// is ready and gives its URL. It scrapes nothing and keeps everything.
func Backfilled(t testing.TB, samples string) (url string) {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "samples.txt", samples)
	blocks := exec.Command(Need(t, "promtool"), "tsdb", "create-blocks-from", "openmetrics", "-q", filepath.Join(dir, "samples.txt"), filepath.Join(dir, "data"))
	if out, err := blocks.CombinedOutput(); err != nil {
		t.Fatalf("promtool: %v\n%s", err, out)
	}
	return prometheus(t, dir, "", nil, "--storage.tsdb.retention.time=100y")
}

func prometheus(t testing.TB, dir, config string, files map[string]string, flags ...string) (url string) {
	t.Helper()
	address := Address(t)
	write(t, dir, "config.yml", config)
	for name, content := range files {
		write(t, dir, name, content)
	}
	Run(t, "prometheus", append([]string{
		"--config.file=" + filepath.Join(dir, "config.yml"), "--storage.tsdb.path=" + filepath.Join(dir, "data"),
		"--web.listen-address=" + address, "--log.level=warn",
	}, flags...)...)
	Ready(t, "http://"+address+"/-/ready")
	return "http://" + address
}

// Alertmanager runs Alertmanager with a configuration and further flags, waits until it is ready
// and gives its URL; prefix is the path it serves below, "" for none.
func Alertmanager(t testing.TB, config, prefix string) (url string) {
	t.Helper()
	dir, address := t.TempDir(), Address(t)
	write(t, dir, "config.yml", config)
	Run(t, "prometheus-alertmanager",
		"--config.file="+filepath.Join(dir, "config.yml"), "--storage.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+address, "--web.route-prefix="+prefix, "--cluster.listen-address=", "--log.level=warn")
	url = "http://" + address + prefix
	Ready(t, url+"/-/ready")
	return url
}

// Need gives the path of a program from Debian's package of the same name.
func Need(t testing.TB, program string) (path string) {
	t.Helper()
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing: apt-get install %s", program, program)
	}
	t.Skipf("%s is missing: apt-get install %s", program, program)
	return ""
}

// Run runs a program until the test ends and shows what it wrote if the test failed.
func Run(t testing.TB, program string, args ...string) {
	t.Helper()
	var log strings.Builder
	cmd := exec.Command(Need(t, program), args...)
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // it was asked to end: how it says so does not matter
		if t.Failed() {
			t.Log(log.String())
		}
	})
}

// Ready waits until GET url gives 200.
func Ready(t testing.TB, url string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get(url)
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return
		}
	}
	t.Fatalf("%s does not become ready", url)
}

func write(t testing.TB, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
