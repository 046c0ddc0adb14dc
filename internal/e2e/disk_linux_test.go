package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/gatekeeper-engine/gatekeeper/internal/servertest"
)

// fill writes a file until 8 MiB are left of the disk: less than Gatekeeper begins a commit with,
// and enough for etcd to end what it has begun.
func fill(t *testing.T, dir, ballast string) {
	t.Helper()
	var fs unix.Statfs_t
	require.NoError(t, unix.Statfs(dir, &fs))
	free := int64(fs.Bavail) * fs.Bsize
	require.Greater(t, free, int64(40<<20), "it is full already")
	require.NoError(t, os.WriteFile(ballast, make([]byte, free-8<<20), 0o600))
}

// The disk fills up while a good and a bad release are watched. Nothing can be decided, for nothing
// can be recorded, and whoever asks is told so; when there is space again, both end as they should.
func TestDiskFullDuringReleases(t *testing.T) {
	t.Parallel()
	dir := servertest.Disk(t, "size=100m")
	f := startFaulty(t, filepath.Join(dir, "data"))
	f.release("good", "well", flagPlan)
	f.release("bad", "well", flagPlan)
	ballast := filepath.Join(dir, "ballast")
	fill(t, dir, ballast)
	f.goBad("bad")

	eventually(t, func() bool { return !answers(f.url + "/-/ready") }, "the daemon is not ready")
	code, _, said := f.try("release", "open", "--id", "late", "--version", "v2", "--previous-version", "v1", "-f", filepath.Join(f.dir, "health.yml"), "--environment", "late")
	require.Equal(t, 7, code, "%s", said)
	require.Contains(t, said, "is full")
	require.Contains(t, said, "hint: Make space on that disk")
	// The bad release's rule is full after its second slot; a third slot comes and nothing is done.
	seen := f.queries("bad")
	eventually(t, func() bool { return f.queries("bad") > seen+6 }, "the bad release is still watched")
	require.True(t, f.on("bad"), "an effect before its decision is durable")
	require.True(t, f.on("good"))

	require.NoError(t, os.Remove(ballast))
	f.ends(t, "bad", 3)
	require.False(t, f.on("bad"))
	f.ends(t, "good", 0)
	require.True(t, f.on("good"))
	require.True(t, answers(f.url+"/-/ready"))
}

// damaged gives the data directory of a daemon that has ended, with bytes of its log changed since.
func damaged(t *testing.T) string {
	t.Helper()
	f := startFaulty(t, "")
	f.gives(0, "flag", "set", "one", "--enabled")
	f.daemon.end(unix.SIGTERM)
	dir := filepath.Join(f.dir, "data")
	logs, err := filepath.Glob(filepath.Join(dir, "store", "etcd", "member", "wal", "*.wal"))
	require.NoError(t, err)
	require.Len(t, logs, 1)
	text, err := os.ReadFile(logs[0])
	require.NoError(t, err)
	at := bytes.LastIndex(text, []byte("one"))
	require.Positive(t, at, "the flag is in the log")
	copy(text[at:], "two")
	require.NoError(t, os.WriteFile(logs[0], text, 0o600))
	return dir
}

// A daemon that can't use its data directory or its configuration ends at once and says why and
// what to do.
func TestStartRefused(t *testing.T) {
	t.Parallel()
	f := startFaulty(t, "")
	readOnly := servertest.Disk(t, "size=64m")
	require.NoError(t, unix.Mount("", readOnly, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	corrupt := damaged(t)
	for name, c := range map[string]struct {
		config string
		code   int
		says   []string
	}{
		"data directory in use": {"data_dir: " + filepath.Join(f.dir, "data"), 1, []string{"in use by another Gatekeeper", "hint: Stop the other Gatekeeper"}},
		"read-only disk":        {"data_dir: " + readOnly, 1, []string{"can't be written", "read-only file system", "hint: "}},
		"full disk":             {"data_dir: " + servertest.Disk(t, "size=8m"), 1, []string{"is full", "nothing was started", "hint: Make space"}},
		"corrupted journal":     {"data_dir: " + corrupt, 1, []string{"damaged", "nothing was started", "hint: ", "backup"}},
		"port taken":            {"listen: " + f.url[len("http://"):], 1, []string{"address already in use", "nothing was started", "hint: is another daemon running?"}},
		"no token file":         {"tokens: [{name: ci, scopes: [open], token_file: nowhere}]", 2, []string{":2:10: error: ", "nowhere", "nothing was started", "hint: put the secret into a file"}},
		"several errors": {
			"lisen: x\nquery_timeout: soon\nbackends: {a: {prometheus: {url: 'ftp://x'}}}\nplans: {p: [{action: flag/sett, connection: flags}]}", 2,
			[]string{":2:1: error: ", ":3:16: error: ", ":4:28: error: ", ":5:", "flag/set", "nothing was started"},
		},
		"no YAML": {"listen: [", 2, []string{"this is no YAML", "nothing was started"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "gatekeeper.yml")
			first := "listen: " + servertest.Address(t)
			if name == "port taken" || name == "no YAML" {
				first = "log: {level: info}"
			}
			require.NoError(t, os.WriteFile(path, []byte(first+"\n"+c.config+"\n"), 0o600))
			code, _, said := commandLine{t: t}.try("serve", "--config", path)
			require.Equal(t, c.code, code, "%s", said)
			t.Log("\n" + said)
			for _, want := range c.says {
				require.Contains(t, said, want)
			}
			require.NotContains(t, said, "panic")
			require.NotContains(t, said, "goroutine ")
		})
	}
}
