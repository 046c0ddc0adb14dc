package etcd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/servertest"
)

// fill writes a file until the disk is full.
func fill(t *testing.T, dir string) (path string) {
	t.Helper()
	path = filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	require.NoError(t, err)
	for err == nil {
		_, err = f.Write(make([]byte, 64<<10))
	}
	require.ErrorIs(t, err, unix.ENOSPC)
	require.NoError(t, f.Close())
	return path
}

func TestFullDisk(t *testing.T) {
	dir := servertest.Disk(t, "size=100m")
	s := start(t, filepath.Join(dir, "data"))
	j := openIn(t, s)
	require.NoError(t, commit(j, t, "r", 0, "before"))
	require.NoError(t, s.Ready())

	ballast := fill(t, dir)
	for range 3 {
		requireUnavailable(t, commit(j, t, "r", 1, "meanwhile"), "full", "still observed")
	}
	_, err := j.PutFile(t.Context(), []byte("x"))
	requireUnavailable(t, err, "full")
	requireUnavailable(t, s.Ready(), "full")
	facts, err := j.Facts(t.Context(), "r")
	require.NoError(t, err, "reading goes on")
	require.Len(t, facts, 1)

	require.NoError(t, os.Remove(ballast))
	require.NoError(t, commit(j, t, "r", 1, "after"))
	require.NoError(t, s.Ready())
}

// The second file has no room beside the first: nothing is made smaller, and nothing breaks.
func TestNoRoomToShrink(t *testing.T) {
	dir := servertest.Disk(t, "size=300m")
	s := start(t, filepath.Join(dir, "data"))
	j := openIn(t, s)
	ids, err := large(t, j, 30)
	require.NoError(t, err)
	require.NoError(t, j.Remove(t.Context(), ids[:10]...))
	size := s.Space().Size
	free, err := s.free()
	require.NoError(t, err)
	ballast := filepath.Join(dir, "ballast")
	require.NoError(t, os.WriteFile(ballast, make([]byte, free-reserve-8*mib), 0o600))
	require.NoError(t, s.Shrink(t.Context()))
	require.GreaterOrEqual(t, s.Space().Size, size)
	require.NoError(t, os.Remove(ballast))
	require.NoError(t, s.Shrink(t.Context()))
	require.Less(t, s.Space().Size, size)
	requireWhole(t, s)
}

// TestDiskFullUnderEtcd fills the disk and writes past the check of free space, until etcd itself
// can't go on: the process must live, and every call must answer.
func TestDiskFullUnderEtcd(t *testing.T) {
	dir := servertest.Disk(t, "size=100m")
	s, err := Start(t.Context(), Options{Dir: filepath.Join(dir, "data")}) // without a log: parts of it outlive the test
	require.NoError(t, err)
	j := openIn(t, s)
	require.NoError(t, commit(j, t, "r", 0, "before"))
	fill(t, dir)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for err == nil {
		_, err = s.Client().Put(ctx, root+"test", strings.Repeat("x", 1<<20))
	}
	select {
	case <-s.Failed():
	case <-ctx.Done():
		require.Fail(t, "etcd did not give up", "%v", err)
	}
	requireUnavailable(t, s.Ready(), "gave up")
	requireUnavailable(t, commit(j, t, "r", 1, "meanwhile"))
	_, err = j.Facts(t.Context(), "r")
	requireUnavailable(t, err, "gave up", "still observed")
	_, err = j.List(t.Context(), gatekeeper.Listing{Limit: 1})
	requireUnavailable(t, err, "gave up")
	for _, err := range j.Watch(t.Context(), 0) {
		requireUnavailable(t, err, "gave up")
	}
	require.NoError(t, s.Close())
}

func TestNoSpaceToStart(t *testing.T) {
	_, err := Start(t.Context(), Options{Dir: filepath.Join(servertest.Disk(t, "size=8m"), "data")})
	requireUnavailable(t, err, "full")
}

func TestReadOnlyDirectory(t *testing.T) {
	var dir string
	if os.Getuid() == 0 { // to whom the mode means nothing
		dir = servertest.Disk(t, "size=64m")
		require.NoError(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	} else {
		dir = t.TempDir()
		require.NoError(t, os.Chmod(dir, 0o500))
	}
	_, err := Start(t.Context(), Options{Dir: dir})
	requireUnavailable(t, err, dir, "can't be written")
	_, err = Start(t.Context(), Options{Dir: filepath.Join(dir, "below")})
	requireUnavailable(t, err, dir, "can't be written")
}

func TestQuota(t *testing.T) {
	dir := t.TempDir()
	s, err := Start(t.Context(), Options{Dir: dir, Quota: 2 << 20})
	require.NoError(t, err)
	j := openIn(t, s)
	require.NoError(t, commit(j, t, "r", 0, "before"))
	for err == nil {
		_, err = s.Client().Put(t.Context(), root+"test", strings.Repeat("x", 256<<10))
	}
	requireUnavailable(t, commit(j, t, "r", 1, "meanwhile"), "quota", "still observed")
	facts, err := j.Facts(t.Context(), "r")
	require.NoError(t, err, "reading goes on")
	require.Len(t, facts, 1)
	require.NoError(t, s.Close())

	s = start(t, dir) // with the default quota, as the hint says
	require.NoError(t, commit(openIn(t, s), t, "r", 1, "after"))
}

func TestOneProcessPerDirectory(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	_, err := Start(t.Context(), Options{Dir: dir})
	requireUnavailable(t, err, dir, "in use by another Gatekeeper")
	require.NoError(t, s.Close())
	start(t, dir)
}

func TestCloseLeavesNothingRunning(t *testing.T) {
	before := goleak.IgnoreCurrent()
	s, err := Start(t.Context(), Options{Dir: t.TempDir()})
	require.NoError(t, err)
	j := openIn(t, s)
	require.NoError(t, commit(j, t, "r", 0, "x"))
	for range j.Watch(t.Context(), 0) {
		break
	}
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "closing twice")
	goleak.VerifyNone(t, before)
}

// TestSockets looks for listening sockets of this process: only unix sockets with a path, in a
// directory that nobody else can enter. Abstract ones (@name) are open to every user.
func TestSockets(t *testing.T) {
	for name, dir := range map[string]string{"short": t.TempDir(), "long": filepath.Join(t.TempDir(), strings.Repeat("d", 120))} {
		t.Run(name, func(t *testing.T) {
			before := inodes(t)
			s := start(t, dir)
			mine := inodes(t)
			maps.DeleteFunc(mine, func(inode string, _ bool) bool { return before[inode] })
			for _, name := range []string{"tcp", "tcp6", "udp", "udp6"} {
				for _, f := range table(t, name) {
					require.False(t, mine[f[9]] && (f[3] == "0A" || strings.HasPrefix(name, "udp")), "a port is open: %v", f)
				}
			}
			var paths []string
			for _, f := range table(t, "unix") {
				if mine[f[6]] && f[3] == "00010000" { // SO_ACCEPTCON
					require.Len(t, f, 8, "a socket without a name: %v", f)
					paths = append(paths, f[7])
				}
			}
			require.ElementsMatch(t, []string{filepath.Join(s.run, "client"), filepath.Join(s.run, "peer")}, paths)
			info, err := os.Stat(s.run)
			require.NoError(t, err)
			require.Equal(t, fs.FileMode(0o700), info.Mode().Perm())
			require.NoError(t, s.Close())
			require.NoDirExists(t, s.run)
		})
	}
}

// inodes gives the sockets that this process has open.
func inodes(t *testing.T) map[string]bool {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("SKIPPED, not tested: there is no /proc/self/fd")
	}
	require.NoError(t, err)
	all := make(map[string]bool)
	for _, fd := range fds {
		link, err := os.Readlink("/proc/self/fd/" + fd.Name())
		if rest, ok := strings.CutPrefix(link, "socket:["); err == nil && ok {
			all[strings.TrimSuffix(rest, "]")] = true
		}
	}
	return all
}

func table(t *testing.T, name string) [][]string {
	t.Helper()
	data, err := os.ReadFile("/proc/self/net/" + name)
	require.NoError(t, err)
	var rows [][]string
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		if f := strings.Fields(lines.Text()); len(f) > 6 && strings.HasSuffix(f[0], ":") {
			rows = append(rows, f)
		}
	}
	return rows
}
