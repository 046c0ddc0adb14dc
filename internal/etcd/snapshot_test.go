package etcd

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/gatekeeper-engine/gatekeeper"
)

// twoReleases writes a closed release and an open one that pinned a file, and gives the file's hash.
func twoReleases(t *testing.T, j *Journal) string {
	t.Helper()
	hash, err := j.PutFile(t.Context(), []byte(strings.Repeat("service: shop\n", 100_000))) // three chunks
	require.NoError(t, err)
	opened := gatekeeper.Fact{At: time.Now(), Actor: "ci", Body: gatekeeper.Opened{Service: "shop", Environment: "prod", Version: "2", File: hash}}
	closed := gatekeeper.Fact{At: time.Now(), Body: gatekeeper.Closed{Outcome: gatekeeper.OutcomeAborted, Why: "never mind"}}
	require.NoError(t, j.Commit(t.Context(), gatekeeper.Entry{Release: "old/1", Facts: []gatekeeper.Fact{opened, noted("a")}}))
	require.NoError(t, j.Commit(t.Context(), gatekeeper.Entry{Release: "old/1", After: 2, Facts: []gatekeeper.Fact{closed}}))
	require.NoError(t, j.Commit(t.Context(), gatekeeper.Entry{Release: "new", Facts: []gatekeeper.Fact{opened}}))
	require.NoError(t, j.Commit(t.Context(), gatekeeper.Entry{Release: "new", After: 1, Facts: []gatekeeper.Fact{noted("b")}}))
	return hash
}

// save takes a snapshot into a file.
func save(t *testing.T, s *Server) string {
	t.Helper()
	in, err := s.Snapshot(t.Context())
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "snapshot")
	out, err := os.Create(path)
	require.NoError(t, err)
	_, err = io.Copy(out, in)
	require.NoError(t, errors.Join(err, in.Close(), out.Close()))
	require.NoError(t, CheckSnapshot(path))
	return path
}

// A snapshot of a store in use becomes a store with the same facts, revisions, order and files.
func TestSnapshotAndRestore(t *testing.T) {
	s := start(t, t.TempDir())
	j := openIn(t, s)
	hash := twoReleases(t, j)
	path := save(t, s)
	require.NoError(t, commit(j, t, "new", 2, "after the snapshot"))

	dir := filepath.Join(t.TempDir(), "store")
	require.NoError(t, Restore(t.Context(), path, dir, nil))
	require.NoError(t, CheckDatabase(dir))
	restored := start(t, dir)
	report, err := Verify(t.Context(), restored.Client(), nil)
	require.NoError(t, err)
	require.Equal(t, Report{Revision: report.Revision, Releases: 2, Open: 1, Facts: 5, Files: 1, Faults: []Fault{}}, report)
	again := openIn(t, restored)
	require.Greater(t, again.epoch, j.epoch)
	facts, err := again.Facts(t.Context(), "new")
	require.NoError(t, err)
	require.Len(t, facts, 2, "what was written after the snapshot is not in it")
	_, err = again.File(t.Context(), hash)
	require.NoError(t, err)
	require.NoError(t, commit(again, t, "newest", 0, "x"))
	ids, err := again.List(t.Context(), gatekeeper.Listing{Limit: 10})
	require.NoError(t, err)
	require.Equal(t, []string{"newest", "new", "old/1"}, ids, "the order goes on from the old revisions")

	err = Restore(t.Context(), path, s.dir, nil)
	require.Error(t, err, "its directory is in use")
	require.NoError(t, restored.Close())
	err = Restore(t.Context(), path, dir, nil)
	require.Equal(t, gatekeeper.CodeConflict, gatekeeper.CodeOf(err), "%v", err)
	require.Error(t, Restore(t.Context(), path+".none", t.TempDir(), nil))
}

// Every flipped bit of a snapshot is found, and so is an end that is missing.
func TestDamagedSnapshot(t *testing.T) {
	s := start(t, t.TempDir())
	twoReleases(t, openIn(t, s))
	path := save(t, s)
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	into := t.TempDir()
	refused := func(data []byte) {
		t.Helper()
		require.NoError(t, os.WriteFile(path, data, 0o600))
		err := Restore(t.Context(), path, into, nil)
		require.ErrorContains(t, err, "is damaged")
		require.False(t, Exists(into))
	}
	for at := 0; at < len(whole); at += len(whole)/7 + 13 {
		data := append([]byte(nil), whole...)
		data[at] ^= 1 << (at % 8)
		refused(data)
	}
	refused(whole[:len(whole)-1])
	refused(whole[:len(whole)-sha256.Size])
	refused(whole[:len(whole)/2])
	refused(nil)

	// A database that was damaged before its checksum was made can't be told by it.
	data := append([]byte(nil), whole[:len(whole)-sha256.Size]...)
	for i := 0; i < len(data); i += sector {
		data[i] ^= 0xff
	}
	sum := sha256.Sum256(data)
	require.NoError(t, os.WriteFile(path, append(data, sum[:]...), 0o600))
	err = Restore(t.Context(), path, into, nil)
	require.ErrorContains(t, err, "already when it was taken")
	require.False(t, Exists(into))
	left, err := os.ReadDir(into)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestDamagedDatabaseIsFoundWithoutStarting(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	twoReleases(t, openIn(t, s))
	require.ErrorContains(t, CheckDatabase(dir), "in use")
	require.NoError(t, s.Close())
	require.NoError(t, CheckDatabase(dir))
	path := filepath.Join(dir, "etcd/member/snap/db")
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	for name, damage := range map[string]func([]byte) []byte{
		"pages": func(b []byte) []byte { return flip(b, 4096) },
		"cut":   func(b []byte) []byte { return b[:5*4096] },
		"empty": func([]byte) []byte { return nil },
	} {
		require.NoError(t, os.WriteFile(path, damage(append([]byte(nil), whole...)), 0o600))
		err := CheckDatabase(dir)
		require.Equal(t, gatekeeper.CodeInternal, gatekeeper.CodeOf(err), "%s: %v", name, err)
		t.Log(err)
	}
}

// flip changes the kind of every page but the first two, which say where the rest is.
func flip(data []byte, size int) []byte {
	for i := 2 * size; i < len(data); i += size {
		data[i+8] ^= 0xff
	}
	return data
}

// A bit that is flipped in any value of the store is found, with its key.
func TestVerifyFindsEveryFlippedBit(t *testing.T) {
	s := start(t, t.TempDir())
	j := openIn(t, s)
	hash := twoReleases(t, j)
	c := s.Client()
	all, err := c.Get(t.Context(), root, clientv3.WithPrefix())
	require.NoError(t, err)
	flipped := 0
	for _, kv := range all.Kvs {
		if string(kv.Key) == ownerKey || len(kv.Value) == 0 { // listings have no values
			continue
		}
		for _, at := range []int{0, len(kv.Value) / 2, len(kv.Value) - 1} {
			value := append([]byte(nil), kv.Value...)
			value[at] ^= 1
			_, err := c.Put(t.Context(), string(kv.Key), string(value))
			require.NoError(t, err)
			report, err := Verify(t.Context(), c, nil)
			require.NoError(t, err)
			require.NotEmpty(t, report.Faults, "%s, byte %d", kv.Key, at)
			flipped++
		}
		_, err := c.Put(t.Context(), string(kv.Key), string(kv.Value))
		require.NoError(t, err)
	}
	require.Greater(t, flipped, 30)
	report, err := Verify(t.Context(), c, nil)
	require.NoError(t, err)
	require.Empty(t, report.Faults)

	for _, kv := range all.Kvs { // and every key that is lost
		if string(kv.Key) == ownerKey || string(kv.Key) == newestKey { // older stores have no newest
			continue
		}
		_, err := c.Delete(t.Context(), string(kv.Key))
		require.NoError(t, err)
		report, err := Verify(t.Context(), c, nil)
		require.NoError(t, err)
		require.NotEmpty(t, report.Faults, "%s is lost", kv.Key)
		_, err = c.Put(t.Context(), string(kv.Key), string(kv.Value))
		require.NoError(t, err)
	}
	require.NotEmpty(t, hash)
}

func TestVerifyFindsWhatDoesNotFit(t *testing.T) {
	s := start(t, t.TempDir())
	j := openIn(t, s)
	twoReleases(t, j)
	c := s.Client()
	for name, test := range map[string]struct{ key, value, says string }{
		"an unknown key":          {root + "dreams/1", "x", "nobody knows"},
		"facts that can't follow": {factsKey("old/1", 4), seal(factsKey("old/1", 4), []byte(`[{"seq":4,"at":"2026-01-01T00:00:00Z","kind":"noted","body":{"text":"late"}}]`)), "can't be replayed"},
		"a closed release listed": {openRoot + "1/" + "old%2F1", "", "is closed, and listed as open"},
		"a release without facts": {lastKey("ghost"), sealNumber(lastKey("ghost"), 1), "has no facts"},
		"another package's value": {root + "flags/a", "broken", "not a flag"},
	} {
		_, err := c.Put(t.Context(), test.key, test.value)
		require.NoError(t, err)
		report, err := Verify(t.Context(), c, map[string]Check{root + "flags/": func(key string, value []byte, _ int64) error {
			return fmt.Errorf("%s is not a flag: %s", key, value)
		}})
		require.NoError(t, err)
		require.Len(t, report.Faults, 1, "%s: %v", name, report.Faults)
		require.Contains(t, report.Faults[0].Says, test.says, name)
		_, err = c.Delete(t.Context(), test.key)
		require.NoError(t, err)
	}
}
