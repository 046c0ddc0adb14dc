package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/etcd"
)

// releasesOf writes closed releases of those ages into a store, the last one open.
func releasesOf(t *testing.T, s store, days ...int) {
	t.Helper()
	j, err := s.OpenJournal(t.Context())
	require.NoError(t, err)
	for i, d := range days {
		hash, err := j.PutFile(t.Context(), []byte(fmt.Sprint("file ", i)))
		require.NoError(t, err)
		at := time.Now().Add(-time.Duration(d) * 24 * time.Hour)
		facts := []gatekeeper.Fact{
			{At: at, Body: gatekeeper.Opened{Service: "shop", Environment: "prod", Version: fmt.Sprint(i), File: hash}},
			{At: at, Body: gatekeeper.Closed{Outcome: gatekeeper.OutcomeAborted, Why: "never mind"}},
		}
		require.NoError(t, j.Commit(t.Context(), gatekeeper.Entry{Release: fmt.Sprint("r", i), Facts: facts}))
	}
}

func inDir(t *testing.T, dataDir string, days ...int) {
	t.Helper()
	s, err := etcd.Start(t.Context(), etcd.Options{Dir: storeDir(dataDir)})
	require.NoError(t, err)
	releasesOf(t, s, days...)
	require.NoError(t, s.Close())
}

// A stopped daemon's store, then the running daemon's.
func TestStorePrune(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	inDir(t, data, 300, 200, 100, 10)
	args := []string{"store", "prune", "--data-dir", data, "--older-than"}
	told := gk(t, 0, append(args, "250d", "--dry-run", "-o", "wide")...)
	require.Regexp(t, `(?m)^r0 +shop +prod +0 +aborted `, told)
	require.Contains(t, told, "would remove 1 release with 2 facts")
	require.NotContains(t, told, "MiB")
	require.Contains(t, gk(t, 0, "store", "verify", "--data-dir", data), "4 releases")
	told = gk(t, 0, append(args, "250d")...)
	require.Contains(t, told, "removed 1 release with 2 facts")
	require.Contains(t, told, "1 pinned file that no other release needs")
	require.Contains(t, told, "the store's file has")
	require.Contains(t, gk(t, 0, "store", "verify", "--data-dir", data), "3 releases (0 open), 6 facts, 3 pinned files")

	stop, said := begin(t, dir, "")
	require.Contains(t, both(t, 1, append(args, "250d")...), "in use by another Gatekeeper")
	var report pruned
	require.NoError(t, json.Unmarshal([]byte(gk(t, 0, "store", "prune", "--older-than", "150d", "-o", "json")), &report))
	require.Len(t, report.Releases, 1)
	require.Equal(t, "r1", report.Releases[0].ID)
	require.False(t, report.DryRun)
	require.Contains(t, both(t, 1, "release", "show", "r1"), "store's retention")
	res, err := http.Get(os.Getenv("GATEKEEPER_URL") + "/releases/r1")
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.StatusNotFound, res.StatusCode, "its page")
	require.Contains(t, gk(t, 0, "release", "show", "r2"), "never mind")
	require.Contains(t, gk(t, 0, "store", "verify"), "everything is as it was written")
	require.Equal(t, 0, stop(), "%s", said)
	require.Contains(t, said.String(), "what is old was removed from the store")

	for _, wrong := range [][]string{{"--older-than", "23h"}, {"--older-than", "soon"}, {}, {"--older-than", "2d", "--data-dir", data, "--config", "x"}} {
		both(t, 2, append([]string{"store", "prune"}, wrong...)...)
	}
	both(t, 2, "store", "prune", "--older-than", "2d", "--data-dir", filepath.Join(dir, "none"))
}

// One release that can't be read keeps its file, whichever that is, and nothing else.
func TestStorePruneOfADamagedStore(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	s, err := etcd.Start(t.Context(), etcd.Options{Dir: storeDir(data)})
	require.NoError(t, err)
	releasesOf(t, s, 300, 200, 100, 10)
	_, err = s.Client().Put(t.Context(), "/gatekeeper/v1/facts/r1/0000000000000000001", "damaged")
	require.NoError(t, err)
	_, err = s.Client().Put(t.Context(), "/gone", strings.Repeat("x", 1<<20))
	require.NoError(t, err)
	_, err = s.Client().Delete(t.Context(), "/gone")
	require.NoError(t, err)
	require.NoError(t, s.Close())
	t.Setenv("GATEKEEPER_ACTOR", "")
	told := both(t, 1, "store", "prune", "--data-dir", data, "--older-than", "90d")
	require.Contains(t, told, "2 releases had been removed")
	require.Contains(t, told, "r1")
	s, err = etcd.Start(t.Context(), etcd.Options{Dir: storeDir(data)})
	require.NoError(t, err)
	defer s.Close()
	require.Less(t, s.Space().Size, int64(1<<20), "made smaller all the same")
	j, err := s.OpenJournal(t.Context())
	require.NoError(t, err)
	page, err := j.Audits(t.Context(), 0, 1)
	require.NoError(t, err)
	require.Equal(t, gatekeeper.By{Actor: "local", Means: gatekeeper.MeansLocal}, page[0].By)
}

func TestStorePruneNeedsOperate(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ci"), []byte("ci-secret-ci-secret"), 0o600))
	begin(t, dir, "tokens:\n  - {name: ci, scopes: [open, read], token_file: ci}\n")
	require.Contains(t, both(t, 1, "store", "prune", "--older-than", "2d", "--token-file", filepath.Join(dir, "ci")), "does not have the scope operate")
}

func TestStoreRetentionOfTheConfiguration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"":                              defaultRetention,
		"store: {}":                     defaultRetention,
		"store: {retention: 0}":         0,
		"store: {retention: 180d}":      180 * 24 * time.Hour,
		"store: {retention: \"2160h\"}": 90 * 24 * time.Hour,
		"store: {retention: 30d, endpoints: [\"http://127.0.0.1:1\"]}": 30 * 24 * time.Hour,
	} {
		path := filepath.Join(t.TempDir(), "gatekeeper.yml")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		s, err := configured(path)
		require.NoError(t, err, text)
		require.Equal(t, want, s.retention, text)
		require.Equal(t, want == 30*24*time.Hour, s.external != nil, text)
	}
	for text, says := range map[string]string{
		"store: {retention: 1h}":         "at an age of 1h",
		"store: {retention: often}":      "often",
		"store: {prefix: /a}":            "no endpoints",
		"store: {retentions: 1d}":        `unknown key "retentions"; did you mean "retention"?`,
		"store: {retention: 1d, tls: 3}": "tls",
	} {
		path := filepath.Join(t.TempDir(), "gatekeeper.yml")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		_, err := configured(path)
		require.ErrorContains(t, err, says, text)
	}
}
