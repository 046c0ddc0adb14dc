package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper/internal/etcd"

	"github.com/gatekeeper-engine/gatekeeper/internal/servertest"
)

// both gives what a command line says and on which stream it does not matter.
func both(t *testing.T, code int, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	got := run(t.Context(), args, &out, &out)
	require.Equal(t, code, got, "%v\n%s", args, &out)
	return out.String()
}

// A release and a flag go by a snapshot of the running daemon into another data directory.
func TestStoreSnapshotRestoreVerify(t *testing.T) {
	dir := t.TempDir()
	health, snapshot := filepath.Join(dir, "health.yml"), filepath.Join(dir, "snapshot")
	require.NoError(t, os.WriteFile(health, []byte(withFlag), 0o600))
	stop, said := begin(t, dir, "")
	gk(t, 0, "flag", "set", "new-checkout", "--enabled")
	gk(t, 0, "release", "open", "--version", "2", "--previous-version", "1", "-f", health, "--id", "r1")
	require.Contains(t, gk(t, 0, "store", "verify"), "1 release (1 open)")
	gk(t, 0, "store", "snapshot", snapshot)
	require.Contains(t, both(t, 2, "store", "snapshot", snapshot), "is there already")
	require.Contains(t, both(t, 1, "store", "verify", "--data-dir", filepath.Join(dir, "data")), "in use by another Gatekeeper")
	require.Equal(t, 0, stop(), "%s", said)

	told := gk(t, 0, "store", "verify", "--data-dir", filepath.Join(dir, "data"))
	require.Contains(t, told, "1 flag, at revision")
	require.Contains(t, told, "everything is as it was written")
	require.Contains(t, gk(t, 0, "store", "verify", "--config", filepath.Join(dir, "gatekeeper.yml"), "-o", "json"), `"faults": []`)
	offline := filepath.Join(dir, "offline")
	gk(t, 0, "store", "snapshot", offline, "--data-dir", filepath.Join(dir, "data"))
	gk(t, 0, "store", "verify", offline)
	both(t, 7, "store", "snapshot", filepath.Join(dir, "nothing"))
	left, err := filepath.Glob(filepath.Join(dir, "nothing*"))
	require.NoError(t, err)
	require.Empty(t, left)

	other := t.TempDir()
	require.Contains(t, gk(t, 0, "store", "restore", snapshot, "--data-dir", filepath.Join(other, "data")), "1 release (1 open)")
	require.Contains(t, both(t, 9, "store", "restore", snapshot, "--data-dir", filepath.Join(other, "data")), "nothing was restored")
	stop, said = begin(t, other, "")
	require.Contains(t, gk(t, 0, "release", "list", "--open"), "r1")
	require.Regexp(t, `new-checkout +true`, gk(t, 0, "flag", "get", "new-checkout"))
	require.Equal(t, 0, stop(), "%s", said)

	whole, err := os.ReadFile(snapshot)
	require.NoError(t, err)
	whole[len(whole)/3] ^= 4
	require.NoError(t, os.WriteFile(snapshot, whole, 0o600))
	require.Contains(t, both(t, 1, "store", "verify", snapshot), "is damaged")
	require.Contains(t, both(t, 1, "store", "restore", snapshot, "--data-dir", filepath.Join(other, "third")), "is damaged")
	both(t, 2, "store", "verify", snapshot, "--data-dir", other)
	both(t, 2, "store", "verify", "--data-dir", filepath.Join(other, "none"))
	_, err = os.Stat(filepath.Join(other, "none"))
	require.ErrorIs(t, err, os.ErrNotExist, "a typing error makes no store")
}

func TestStoreSnapshotNeedsOperate(t *testing.T) {
	dir := t.TempDir()
	for name, secret := range map[string]string{"ci": "ci-secret-ci-secret", "ops": "ops-secret-ops-secret"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(secret), 0o600))
	}
	begin(t, dir, "tokens:\n  - {name: ci, scopes: [open, read], token_file: ci}\n  - {name: ops, scopes: [operate], token_file: ops}\n")
	to := filepath.Join(dir, "snapshot")
	require.Contains(t, both(t, 1, "store", "snapshot", to, "--token-file", filepath.Join(dir, "ci")), "does not have the scope operate")
	gk(t, 0, "store", "snapshot", to, "--token-file", filepath.Join(dir, "ops"))
}

// The whole daemon on an etcd that runs elsewhere, over a restart.
func TestDaemonOnExternalEtcd(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "etcd")
	out, err := exec.Command("go", "build", "-o", program, "go.etcd.io/etcd/server/v3").CombinedOutput()
	require.NoError(t, err, "%s", out)
	endpoint, peer := "http://"+servertest.Address(t), "http://"+servertest.Address(t)
	server := exec.Command(program, "--data-dir", filepath.Join(dir, "member"), "--listen-client-urls", endpoint, "--advertise-client-urls", endpoint,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer)
	server.Stdout, server.Stderr = io.Discard, io.Discard
	require.NoError(t, server.Start())
	t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })

	health := filepath.Join(dir, "health.yml")
	require.NoError(t, os.WriteFile(health, []byte(withFlag), 0o600))
	settings := "store: {endpoints: [\"" + endpoint + "\"], prefix: /team-a}\n"
	x, err := etcd.Connect(t.Context(), etcd.ExternalConfig{Endpoints: []string{endpoint}, Prefix: "/team-a"}, nil)
	require.NoError(t, err)
	releasesOf(t, x, 300, 200, 10)
	require.NoError(t, x.Close())
	stop, said := begin(t, dir, settings)
	gk(t, 0, "flag", "set", "new-checkout", "--enabled")
	gk(t, 0, "release", "open", "--version", "2", "--previous-version", "1", "-f", health, "--id", "r-new")
	require.Contains(t, both(t, 1, "store", "snapshot", filepath.Join(dir, "snapshot")), "etcdctl")
	require.Equal(t, 0, stop(), "%s", said)
	require.NoDirExists(t, filepath.Join(dir, "data", "store"))
	stop, said = begin(t, dir, settings)
	beside := []string{"store", "prune", "--config", filepath.Join(dir, "gatekeeper.yml"), "--older-than"}
	require.Contains(t, gk(t, 0, append(beside, "150d", "--dry-run")...), "would remove 2 releases")
	require.Contains(t, gk(t, 0, append(beside, "250d")...), "removed 1 release")
	require.Contains(t, gk(t, 0, "store", "prune", "--older-than", "150d"), "removed 1 release", "the daemon still owns the journal")
	gk(t, 0, "release", "rollback", "r-new", "--why", "it is slow")
	gk(t, 3, "release", "wait", "r-new")
	require.Equal(t, 0, stop(), "%s", said)
	require.Contains(t, gk(t, 0, "store", "verify", "--config", filepath.Join(dir, "gatekeeper.yml")), "2 releases (0 open)")
}
