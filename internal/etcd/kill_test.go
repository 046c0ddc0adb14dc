package etcd

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

// childDir is the environment variable that makes the test binary a writer on that directory.
const childDir = "GATEKEEPER_TEST_WRITER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := writeForever(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if dir := os.Getenv(childRemover); dir != "" {
		if err := removeForever(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(runIn(m))
}

// runIn runs the tests with a directory for what they build.
func runIn(m *testing.M) int {
	var err error
	if programDir, err = os.MkdirTemp("", "gatekeeper-etcd-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(programDir)
	return m.Run()
}

// writeForever appends to release r and to a new release in the same commit, and prints the
// sequence number of each acknowledged one.
func writeForever(dir string) error {
	ctx := context.Background()
	s, err := Start(ctx, Options{Dir: dir})
	if err != nil {
		return err
	}
	j, err := s.OpenJournal(ctx)
	if err != nil {
		return err
	}
	last := int64(0)
	facts, err := j.Facts(ctx, "r")
	if err == nil {
		last = int64(len(facts))
	}
	for ; ; last++ {
		text := strings.Repeat(strconv.FormatInt(last+1, 10), 100)
		err := j.Commit(ctx, gatekeeper.Entry{Release: "r", After: last, Facts: []gatekeeper.Fact{noted(text)}},
			gatekeeper.Entry{Release: fmt.Sprint("n", last+1), Facts: []gatekeeper.Fact{noted(text)}})
		if err != nil {
			return err
		}
		if _, err := fmt.Println(last + 1); err != nil {
			return err
		}
	}
}

// writeAndKill runs a writer, kills it at a random moment and gives the last number it printed.
func writeAndKill(t *testing.T, dir string) int64 {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	last, lines := int64(0), bufio.NewScanner(out)
	for after := 1 + rand.IntN(400); lines.Scan(); after-- {
		n, err := strconv.ParseInt(lines.Text(), 10, 64)
		require.NoError(t, err)
		last = n
		if after == 0 {
			require.NoError(t, cmd.Process.Kill()) // what it wrote meanwhile is still read
		}
	}
	require.ErrorContains(t, cmd.Wait(), "killed")
	return last
}

func TestKilledWritersLoseNothing(t *testing.T) {
	dir := t.TempDir()
	for range 10 {
		acknowledged := writeAndKill(t, dir)
		require.Positive(t, acknowledged)
		s := start(t, dir)
		j := openIn(t, s)
		facts, err := j.Facts(t.Context(), "r")
		require.NoError(t, err)
		require.GreaterOrEqual(t, int64(len(facts)), acknowledged, "an acknowledged fact is lost")
		require.LessOrEqual(t, int64(len(facts)), acknowledged+1, "only the commit under way may be there unacknowledged")
		for i, f := range facts {
			require.Equal(t, gatekeeper.Noted{Text: strings.Repeat(strconv.Itoa(i+1), 100)}, f.Body)
		}
		_, err = j.Facts(t.Context(), fmt.Sprint("n", len(facts)))
		require.NoError(t, err, "the other half of the commit is missing")
		_, err = j.Facts(t.Context(), fmt.Sprint("n", len(facts)+1))
		require.ErrorIs(t, err, gatekeeper.ErrNotFound)
		ids, err := j.List(t.Context(), gatekeeper.Listing{Open: true, Limit: 3})
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint("n", len(facts)), ids[0])
		require.NoError(t, s.Close())
	}
}

// TestDamagedFilesFailClosed damages the store's files. etcd and bbolt answer some damage with a
// panic on a goroutine of their own, so the writer on them is another process: it must end with
// an error before it acknowledges anything.
func TestDamagedFilesFailClosed(t *testing.T) {
	for name, pattern := range map[string]string{"database": "etcd/member/snap/db", "log": "etcd/member/wal/*.wal"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := start(t, dir)
			j := openIn(t, s)
			for i := range 50 {
				require.NoError(t, commit(j, t, "r", int64(i), strings.Repeat("x", 500)))
			}
			require.NoError(t, s.Close())
			paths, err := filepath.Glob(filepath.Join(dir, pattern))
			require.NoError(t, err)
			require.NotEmpty(t, paths)
			for _, path := range paths {
				data, err := os.ReadFile(path)
				require.NoError(t, err)
				for i := 0; i < len(data)/2; i += 512 {
					data[i] ^= 0xff
				}
				require.NoError(t, os.WriteFile(path, data, 0o600))
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, os.Args[0])
			cmd.Env = append(os.Environ(), childDir+"="+dir)
			out, err := cmd.Output()
			require.Error(t, err)
			require.NoError(t, ctx.Err(), "it hangs")
			require.Empty(t, string(out), "it wrote to a damaged store")
			if name == "log" {
				_, err = Start(t.Context(), Options{Dir: dir})
				require.Equal(t, gatekeeper.CodeUnavailable, gatekeeper.CodeOf(err), "%v", err)
				require.ErrorContains(t, err, dir)
				require.NotEmpty(t, gatekeeper.HintOf(err))
				t.Log(err)
			}
		})
	}
}

// etcd takes a damaged length in its log for a record that was being written, and cuts the log
// there. The database knows of more, so the store must not go on with less.
func TestCutLogFailsClosed(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	j := openIn(t, s)
	for i := range 10 {
		require.NoError(t, commit(j, t, "r", int64(i), "x"))
	}
	require.NoError(t, s.Close())
	paths, err := filepath.Glob(filepath.Join(dir, "etcd/member/wal/*.wal"))
	require.NoError(t, err)
	require.Len(t, paths, 1)
	log, err := os.OpenFile(paths[0], os.O_RDWR, 0)
	require.NoError(t, err)
	at := int64(0)
	for range 8 { // records
		head := make([]byte, 8)
		_, err = log.ReadAt(head, at)
		require.NoError(t, err)
		// wal/encoder.go: seven bytes of length, and how far it is padded
		size := int64(binary.LittleEndian.Uint64(append(head[:7:7], 0)))
		at += 8 + size + int64(head[7]&7)
	}
	_, err = log.WriteAt([]byte{0, 0, 0, 0x40, 0, 0, 0, 0}, at) // more than the file has
	require.NoError(t, err)
	require.NoError(t, log.Close())

	_, err = Start(t.Context(), Options{Dir: dir, readyWithin: 2 * time.Second})
	requireUnavailable(t, err, dir, "can't be started", "damaged", "nothing was started")
	t.Log(err)
}

func requireUnavailable(t *testing.T, err error, says ...string) {
	t.Helper()
	require.Equal(t, gatekeeper.CodeUnavailable, gatekeeper.CodeOf(err), "%v", err)
	for _, text := range says {
		require.ErrorContains(t, err, text)
	}
	require.NotEmpty(t, gatekeeper.HintOf(err))
}
