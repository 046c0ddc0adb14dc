package etcd

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/gatekeeper-engine/gatekeeper"
)

// childRemover is the environment variable that makes the test binary remove what is in that directory.
const childRemover = "GATEKEEPER_TEST_REMOVER"

// removeForever removes closed releases, a few at a time, and prints the first of those that are gone.
func removeForever(dir string) error {
	ctx := context.Background()
	s, err := Start(ctx, Options{Dir: dir})
	if err != nil {
		return err
	}
	j, err := s.OpenJournal(ctx)
	if err != nil {
		return err
	}
	ids, err := j.List(ctx, gatekeeper.Listing{Limit: 1000})
	if err != nil {
		return err
	}
	for batch := range slices.Chunk(ids[1:], 3) { // the newest is open
		if err := j.Remove(ctx, batch...); err != nil {
			return err
		}
		if _, err := fmt.Println(batch[0]); err != nil {
			return err
		}
		if _, err := j.Sweep(ctx); err != nil {
			return err
		}
	}
	return s.Close()
}

// populate writes n closed releases with a file each, and one that is open.
func populate(t *testing.T, j *Journal, n int) {
	t.Helper()
	for i := range n + 1 {
		hash, err := j.PutFile(t.Context(), []byte(fmt.Sprint("health file of ", i)))
		require.NoError(t, err)
		facts := []gatekeeper.Fact{
			{At: time.Now(), Body: gatekeeper.Opened{Service: "shop", Environment: "prod", Version: fmt.Sprint(i), File: hash}},
			noted(strings.Repeat("x", 100)),
		}
		id := fmt.Sprint("r", i)
		require.NoError(t, j.Commit(t.Context(), gatekeeper.Entry{Release: id, Facts: facts}))
		if i < n {
			require.NoError(t, j.Commit(t.Context(), gatekeeper.Entry{Release: id, After: 2, Facts: []gatekeeper.Fact{
				{At: time.Now(), Body: gatekeeper.Closed{Outcome: gatekeeper.OutcomeAborted, Why: "w"}},
			}}))
		}
	}
}

func requireWhole(t *testing.T, s *Server) Report {
	t.Helper()
	report, err := Verify(t.Context(), s.Client(), nil)
	require.NoError(t, err)
	require.Empty(t, report.Faults)
	return report
}

// Whenever the process is killed, no half of a release is left, and what was said to be gone is gone.
func TestKilledRemoversLeaveNoHalves(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	const releases = 300
	populate(t, openIn(t, s), releases)
	require.NoError(t, s.Close())
	left := releases + 1
	for round := 0; left > 1; round++ {
		require.Less(t, round, 100, "nothing is removed")
		gone := removeAndKill(t, dir)
		s := start(t, dir)
		report := requireWhole(t, s)
		require.Less(t, report.Releases, left)
		left = report.Releases
		require.Equal(t, 1, report.Open)
		require.GreaterOrEqual(t, report.Files, left)
		j := openIn(t, s)
		for _, id := range gone {
			_, err := j.Facts(t.Context(), id)
			require.ErrorIs(t, err, gatekeeper.ErrNotFound)
		}
		ids, err := j.List(t.Context(), gatekeeper.Listing{Limit: 1000})
		require.NoError(t, err)
		require.Len(t, ids, left)
		require.NoError(t, s.Close())
	}
	s = start(t, dir)
	_, err := openIn(t, s).Sweep(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, requireWhole(t, s).Files)
}

// removeAndKill runs a remover, kills it at a random moment and gives what it printed.
func removeAndKill(t *testing.T, dir string) (gone []string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childRemover+"="+dir)
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	for after := rand.IntN(30); lines.Scan(); after-- {
		gone = append(gone, lines.Text())
		if after == 0 {
			_ = cmd.Process.Kill() // it may have ended
		}
	}
	_ = cmd.Wait()
	require.NotEmpty(t, gone)
	return gone
}

// Maintenance writes beside the owner, who goes on, and not in the name of one who was deposed.
func TestBesideTheOwner(t *testing.T) {
	s := start(t, t.TempDir())
	none, err := s.Beside(t.Context())
	require.NoError(t, err)
	require.NoError(t, none.Remove(t.Context(), "nobody's"), "a store that nobody has owned yet")
	owner := openIn(t, s)
	populate(t, owner, 2)
	beside, err := s.Beside(t.Context())
	require.NoError(t, err)
	require.NoError(t, beside.Remove(t.Context(), "r0"))
	require.NoError(t, commit(owner, t, "r2", 2, "the owner goes on"))
	next := openIn(t, s)
	require.ErrorIs(t, beside.Remove(t.Context(), "r1"), gatekeeper.ErrFenced)
	require.ErrorIs(t, none.Remove(t.Context(), "r1"), gatekeeper.ErrFenced)
	require.NoError(t, next.Remove(t.Context(), "r1"))
	requireWhole(t, s)
}

// Half of a release that was there before, as by a damaged disk, is not made worse.
func TestRemoveOfADamagedRelease(t *testing.T) {
	s := start(t, t.TempDir())
	j := openIn(t, s)
	populate(t, j, 1)
	_, err := s.Client().Delete(t.Context(), placeKey("r0"))
	require.NoError(t, err)
	require.NoError(t, j.Remove(t.Context(), "r0"))
	facts, err := j.Facts(t.Context(), "r0")
	require.NoError(t, err)
	require.Len(t, facts, 3)
}

// Between the look at the releases and the removal of a file somebody may open one that needs it.
func TestSweepYieldsToAnOpening(t *testing.T) {
	s := start(t, t.TempDir())
	j := openIn(t, s)
	populate(t, j, 1)
	hash, err := j.PutFile(t.Context(), []byte("nobody's yet"))
	require.NoError(t, err)
	unused, err := j.files(t.Context())
	require.NoError(t, err)
	newest, err := j.newest(t.Context())
	require.NoError(t, err)
	require.NoError(t, j.spare(t.Context(), unused, map[string]bool{}))
	require.Len(t, unused, 1)

	opened := gatekeeper.Fact{At: time.Now(), Body: gatekeeper.Opened{Service: "shop", Version: "1", File: hash}}
	require.NoError(t, j.Commit(t.Context(), gatekeeper.Entry{Release: "new", Facts: []gatekeeper.Fact{opened}}))
	gone, err := j.drop(t.Context(), hash, unused[hash], newest)
	require.NoError(t, err)
	require.False(t, gone)
	swept, err := j.Sweep(t.Context())
	require.NoError(t, err)
	require.Zero(t, swept)
	requireWhole(t, s)
}

// beforeTxn does something before the nth transaction.
type beforeTxn struct {
	clientv3.KV
	nth int
	do  func()
}

func (b *beforeTxn) Txn(ctx context.Context) clientv3.Txn {
	if b.nth--; b.nth == 0 {
		b.do()
	}
	return b.KV.Txn(ctx)
}

func TestSweepWhileSomebodyElsePrunes(t *testing.T) {
	const files, newest, firstPage, firstPins = 1, 1, 1, 1
	s := start(t, t.TempDir())
	j := openIn(t, s)
	populate(t, j, 100)
	ids, err := j.List(t.Context(), gatekeeper.Listing{Limit: 64})
	require.NoError(t, err)
	kv := &beforeTxn{KV: s.Client().KV, nth: files + newest + firstPage + firstPins + 1}
	kv.do = func() { require.NoError(t, j.Remove(t.Context(), ids[63])) }
	client := clientv3.NewCtxClient(t.Context())
	client.KV = kv
	beside := &Journal{client: client, epoch: j.epoch}
	_, err = beside.Sweep(t.Context())
	require.NoError(t, err)
	require.LessOrEqual(t, kv.nth, 0)
	swept, err := j.Sweep(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, swept, "the file of the release that was removed meanwhile, which was known before")
	requireWhole(t, s)
}

// Somebody else removed it meanwhile, and its id is used again.
func TestRemoveSparesWhatWasOpenedAgain(t *testing.T) {
	s := start(t, t.TempDir())
	j := openIn(t, s)
	populate(t, j, 1)
	client := clientv3.NewCtxClient(t.Context())
	client.KV = &beforeTxn{KV: s.Client().KV, nth: 2, do: func() {
		require.NoError(t, j.Remove(t.Context(), "r0"))
		require.NoError(t, commit(j, t, "r0", 0, "another"))
	}}
	beside := &Journal{client: client, epoch: j.epoch}
	require.ErrorIs(t, beside.Remove(t.Context(), "r0"), gatekeeper.ErrConflict)
	facts, err := j.Facts(t.Context(), "r0")
	require.NoError(t, err)
	require.Len(t, facts, 1)
}

// A release that is opened while a sweep is at work keeps its file; what nobody needs goes all the same.
func TestSweepGoesOnBehindAnOpening(t *testing.T) {
	const files, newest, page, pins = 1, 1, 1, 1
	s := start(t, t.TempDir())
	j := openIn(t, s)
	populate(t, j, 1)
	var hashes []string
	for _, text := range []string{"needed", "one", "another"} {
		hash, err := j.PutFile(t.Context(), []byte(text))
		require.NoError(t, err)
		hashes = append(hashes, hash)
	}
	client := clientv3.NewCtxClient(t.Context())
	client.KV = &beforeTxn{KV: s.Client().KV, nth: files + newest + page + pins + 1, do: func() {
		opened := gatekeeper.Fact{At: time.Now(), Body: gatekeeper.Opened{Service: "shop", Version: "1", File: hashes[0]}}
		require.NoError(t, j.Commit(t.Context(), gatekeeper.Entry{Release: "new", Facts: []gatekeeper.Fact{opened}}))
	}}
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	swept, err := (&Journal{client: client, epoch: j.epoch}).Sweep(ctx)
	require.NoError(t, err)
	require.Equal(t, 2, swept)
	requireWhole(t, s)
}

// A file that went and was stored again meanwhile is somebody's who is about to open a release.
func TestSweepSparesWhatWasStoredAgain(t *testing.T) {
	const files, newest, page, pins = 1, 1, 1, 1
	s := start(t, t.TempDir())
	j := openIn(t, s)
	populate(t, j, 1)
	hash, err := j.PutFile(t.Context(), []byte("x"))
	require.NoError(t, err)
	client := clientv3.NewCtxClient(t.Context())
	client.KV = &beforeTxn{KV: s.Client().KV, nth: files + newest + page + pins + 1, do: func() {
		swept, err := j.Sweep(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, swept)
		_, err = j.PutFile(t.Context(), []byte("x"))
		require.NoError(t, err)
	}}
	swept, err := (&Journal{client: client, epoch: j.epoch}).Sweep(t.Context())
	require.NoError(t, err)
	require.Zero(t, swept)
	_, err = j.File(t.Context(), hash)
	require.NoError(t, err)
}
