package journaltest

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

func refuses(t *testing.T, s Setup) {
	j := s.Journal
	big := note(strings.Repeat("x", gatekeeper.MaxFact-1000))
	tooBig := note(strings.Repeat("x", gatekeeper.MaxFact))
	var many []gatekeeper.Entry
	for i := range 21 {
		many = append(many, entry(fmt.Sprintf("m%d", i), 0, opened("v1")))
	}
	for name, entries := range map[string][]gatekeeper.Entry{
		"no id":             {entry("", 0, note("x"))},
		"no facts":          {entry("r1", 0)},
		"negative after":    {entry("r1", -1, note("x"))},
		"no body":           {entry("r1", 0, gatekeeper.Fact{At: epoch})},
		"one release twice": {entry("r1", 0, note("x")), entry("r1", 1, note("y"))},
		"large fact":        {entry("r1", 0, opened("v1"), tooBig)},
		"large commit":      {entry("r1", 0, big, big, big, big, big)},
		"many releases":     many,
	} {
		err := j.Commit(t.Context(), entries...)
		require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(err), "%s: %v", name, err)
	}
	require.Empty(t, list(t, j, gatekeeper.Listing{Limit: 10}))
	commit(t, j, entry("r1", 0, big, big, big))
	commit(t, j, entry("r1", 3, big, big, big))
	require.Len(t, factsOf(t, j, "r1"), 6)
	commit(t, j, many[:20]...)
	for _, limit := range []int{-1, 0, 1001} {
		_, err := j.List(t.Context(), gatekeeper.Listing{Limit: limit})
		require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(err), "limit %d", limit)
	}
	_, err := j.PutFile(t.Context(), make([]byte, gatekeeper.MaxFile+1))
	require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(err))
}

func strangeIDs(t *testing.T, s Setup) {
	ids := []string{"a", "a/b", "a/b/c", "a%2Fb", "..", "ä ö", "a\x00b", "/", "a/"}
	for _, id := range ids {
		commit(t, s.Journal, entry(id, 0, opened(id), note("n")))
	}
	for i, id := range ids {
		require.Equal(t, numbered(opened(id), note("n")), factsOf(t, s.Journal, id), "%q", id)
		require.Equal(t, ids[i], list(t, s.Journal, gatekeeper.Listing{Limit: 100})[len(ids)-1-i])
	}
}

func files(t *testing.T, s Setup) {
	j := s.Journal
	hash, err := j.PutFile(t.Context(), []byte("abc"))
	require.NoError(t, err)
	require.Equal(t, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", hash, "FIPS 180-2, B.1")
	again, err := j.PutFile(t.Context(), []byte("abc"))
	require.NoError(t, err)
	require.Equal(t, hash, again)
	got, err := j.File(t.Context(), hash)
	require.NoError(t, err)
	require.Equal(t, "abc", string(got))
	got[0] = 'X'
	got, err = j.File(t.Context(), hash)
	require.NoError(t, err)
	require.Equal(t, "abc", string(got), "a reader changed the file")

	for _, size := range []int{0, 1, 512 << 10, 512<<10 + 1, gatekeeper.MaxFile} {
		content := bytes.Repeat([]byte{byte(size), 1, 0}, size/3+1)[:size]
		hash, err := j.PutFile(t.Context(), content)
		require.NoError(t, err)
		got, err := j.File(t.Context(), hash)
		require.NoError(t, err)
		require.True(t, bytes.Equal(content, got), "%d bytes", size)
	}
}

func filesDamaged(t *testing.T, s Setup) {
	hash, err := s.Journal.PutFile(t.Context(), []byte("the rules"))
	require.NoError(t, err)
	s.Damage(t, hash)
	got, err := s.Journal.File(t.Context(), hash)
	require.Error(t, err)
	require.NotErrorIs(t, err, gatekeeper.ErrNotFound)
	require.Empty(t, got)
}
