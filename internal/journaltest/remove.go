package journaltest

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

func remover(t *testing.T, j gatekeeper.Journal) gatekeeper.Remover {
	t.Helper()
	r, ok := j.(gatekeeper.Remover)
	require.True(t, ok, "the journal can't forget")
	return r
}

// pinning gives the opening of a release with the file of that content.
func pinning(t *testing.T, j gatekeeper.Journal, content string) gatekeeper.Fact {
	t.Helper()
	hash, err := j.PutFile(t.Context(), []byte(content))
	require.NoError(t, err)
	return gatekeeper.Fact{At: epoch, Actor: "ci", Body: gatekeeper.Opened{Service: "shop", File: hash}}
}

func remove(t *testing.T, s Setup) {
	j := remover(t, s.Journal)
	for i := range 7 {
		id := fmt.Sprintf("a/%d", i)
		commit(t, j, entry(id, 0, opened("v1")))
		commit(t, j, entry(id, 1, note("x")))
		commit(t, j, entry(id, 2, closed()))
	}
	commit(t, j, entry("open", 0, opened("v2")))
	commit(t, j, entry("a", 0, opened("v2"), closed())) // the others' ids begin with its own
	require.NoError(t, j.Remove(t.Context(), "a/1", "never there", "a/4", "a"))
	for _, id := range []string{"a/1", "a/4", "a"} {
		_, err := j.Facts(t.Context(), id)
		require.ErrorIs(t, err, gatekeeper.ErrNotFound, id)
		_, err = j.List(t.Context(), gatekeeper.Listing{Limit: 1, After: id})
		require.ErrorIs(t, err, gatekeeper.ErrNotFound, id)
	}
	left := []string{"open", "a/6", "a/5", "a/3", "a/2", "a/0"}
	require.Equal(t, left, list(t, j, gatekeeper.Listing{Limit: 10}))
	require.Equal(t, left[3:5], list(t, j, gatekeeper.Listing{Limit: 2, After: "a/5"}))
	require.Equal(t, []string{"open"}, list(t, j, gatekeeper.Listing{Open: true, Limit: 10}))
	require.Equal(t, numbered(opened("v1"), note("x"), closed()), factsOf(t, j, "a/0"))
	require.NoError(t, j.Remove(t.Context(), "a/1", "a/4"), "once more, as after a lost answer")
	require.NoError(t, j.Remove(t.Context()))

	commit(t, j, entry("a/1", 0, opened("v9")))
	require.Equal(t, "a/1", list(t, j, gatekeeper.Listing{Limit: 1})[0], "an id that is used again is a new release")
	require.Len(t, factsOf(t, j, "a/1"), 1)
}

func removeRefuses(t *testing.T, s Setup) {
	j := remover(t, s.Journal)
	commit(t, j, entry("closed", 0, opened("v1"), closed()))
	commit(t, j, entry("open", 0, opened("v2")))
	require.ErrorIs(t, j.Remove(t.Context(), "closed", "open"), gatekeeper.ErrConflict)
	require.Len(t, factsOf(t, j, "closed"), 2, "all or none")
	err := j.Remove(t.Context(), make([]string, gatekeeper.MaxRemoved+1)...)
	require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(err))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, j.Remove(ended, "closed"))

	owner := remover(t, s.TakeOver(t))
	require.ErrorIs(t, j.Remove(t.Context(), "closed"), gatekeeper.ErrFenced)
	hash, err := owner.PutFile(t.Context(), []byte("of nobody"))
	require.NoError(t, err)
	_, err = j.Sweep(t.Context())
	require.ErrorIs(t, err, gatekeeper.ErrFenced)
	_, err = owner.File(t.Context(), hash)
	require.NoError(t, err)
	require.NoError(t, owner.Remove(t.Context(), "closed"))
	require.Equal(t, []string{"open"}, list(t, owner, gatekeeper.Listing{Limit: 10}))
}

// removeAll removes as many releases at once as may be, of many facts each.
func removeAll(t *testing.T, s Setup) {
	j := remover(t, s.Journal)
	var ids []string
	for i := range gatekeeper.MaxRemoved {
		id := fmt.Sprintf("r%d", i)
		ids = append(ids, id)
		commit(t, j, entry(id, 0, opened("v1")))
		for n := range 10 {
			commit(t, j, entry(id, int64(n)+1, note("x")))
		}
		commit(t, j, entry(id, 11, closed()))
	}
	require.NoError(t, j.Remove(t.Context(), ids...))
	require.Empty(t, list(t, j, gatekeeper.Listing{Limit: 10}))
	r := remover(t, s.Reopen(t))
	require.Empty(t, list(t, r, gatekeeper.Listing{Limit: 10}))
	_, err := r.Facts(t.Context(), ids[3])
	require.ErrorIs(t, err, gatekeeper.ErrNotFound)
}

func removeWatched(t *testing.T, s Setup) {
	j := remover(t, s.Journal)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	pull, stop := iter.Pull2(j.Watch(ctx, -1))
	defer stop()
	commit(t, j, entry("a", 0, opened("v1")))
	commit(t, j, entry("a", 1, closed()))
	require.NoError(t, j.Remove(t.Context(), "a"))
	commit(t, j, entry("b", 0, note("after it")))
	require.Equal(t, []string{"a/1 opened", "a/2 closed", "b/1 after it"}, texts(next(t, pull, 3)), "a removal is no change, and ends no watch")
}

func sweep(t *testing.T, s Setup) {
	j := remover(t, s.Journal)
	shared, own, large := pinning(t, j, "shared"), pinning(t, j, "own"), pinning(t, j, string(make([]byte, gatekeeper.MaxFile)))
	commit(t, j, entry("old", 0, shared, closed()))
	commit(t, j, entry("older", 0, own, closed()))
	commit(t, j, entry("oldest", 0, large, closed()))
	for i := range 150 { // more than a page
		commit(t, j, entry(fmt.Sprint("m", i), 0, opened("v1"), closed()))
	}
	commit(t, j, entry("new", 0, shared))
	swept, err := j.Sweep(t.Context())
	require.NoError(t, err)
	require.Zero(t, swept)
	require.NoError(t, j.Remove(t.Context(), "old", "older", "oldest"))
	unused := pinning(t, j, "stored, and the release was refused")
	swept, err = j.Sweep(t.Context())
	require.NoError(t, err)
	require.Equal(t, 3, swept)
	for fact, there := range map[*gatekeeper.Fact]bool{&shared: true, &own: false, &large: false, &unused: false} {
		_, err := j.File(t.Context(), fact.Body.(gatekeeper.Opened).File)
		if there {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, gatekeeper.ErrNotFound)
		}
	}

	// What was stored before and swept meanwhile is not pinned by anybody who has not seen that.
	err = j.Commit(t.Context(), entry("late", 0, own))
	require.Equal(t, gatekeeper.CodeUnavailable, gatekeeper.CodeOf(err), "%v", err)
	require.NotErrorIs(t, err, gatekeeper.ErrConflict)
	commit(t, j, entry("late", 0, pinning(t, j, "own")))
	swept, err = j.Sweep(t.Context())
	require.NoError(t, err)
	require.Zero(t, swept)
}

// sweepWhileOpening opens releases with files that others have just stopped to need: each keeps its
// file, or is refused.
func sweepWhileOpening(t *testing.T, s Setup) {
	j := remover(t, s.Journal)
	const rounds = 60
	var wg sync.WaitGroup
	var opening error
	opened := make(chan string, rounds)
	wg.Go(func() {
		defer close(opened)
		for i := range rounds {
			id, err := openWith(t.Context(), j, i)
			if err != nil {
				opening = err
				return
			}
			opened <- id
		}
	})
	last := ""
	for id := range opened {
		require.NoError(t, j.Commit(t.Context(), entry(id, 1, closed())))
		if last != "" {
			require.NoError(t, j.Remove(t.Context(), last))
		}
		last = id
		_, err := j.Sweep(t.Context())
		require.NoError(t, err)
		_, err = j.File(t.Context(), factsOf(t, j, id)[0].Body.(gatekeeper.Opened).File)
		require.NoError(t, err, "the file of release %s", id)
	}
	wg.Wait()
	require.NoError(t, opening)
}

// openWith opens a release with one of three files, and stores it again where it was swept meanwhile.
func openWith(ctx context.Context, j gatekeeper.Journal, i int) (string, error) {
	id := fmt.Sprint("r", i)
	for {
		hash, err := j.PutFile(ctx, []byte(fmt.Sprint("file ", i%3)))
		if err != nil {
			return "", err
		}
		err = j.Commit(ctx, entry(id, 0, gatekeeper.Fact{At: epoch, Body: gatekeeper.Opened{Service: "shop", File: hash}}))
		if gatekeeper.CodeOf(err) != gatekeeper.CodeUnavailable {
			return id, err
		}
	}
}

func removeAudits(t *testing.T, s Setup) {
	j := remover(t, s.Journal)
	removed := func(want int, through int64) {
		t.Helper()
		got, err := j.RemoveAudits(t.Context(), through)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	removed(0, 10)
	for i := range 5 {
		audit(t, j, deed(fmt.Sprint(i+1)))
	}
	removed(0, 0)
	removed(2, 2)
	removed(0, 2)
	require.Equal(t, []string{"5", "4", "3"}, subjects(audits(t, j, 0, 10)))
	require.Equal(t, []string{"3"}, subjects(audits(t, j, 4, 10)))
	require.Empty(t, audits(t, j, 3, 10), "fewer than asked for are the last ones")
	removed(3, 99)
	require.Empty(t, audits(t, j, 0, 10))
	require.EqualValues(t, 6, audit(t, j, deed("6")).Seq, "positions are never given twice")
	require.Equal(t, []string{"6"}, subjects(audits(t, j, 0, 10)))
	owner := remover(t, s.TakeOver(t))
	_, err := j.RemoveAudits(t.Context(), 6)
	require.ErrorIs(t, err, gatekeeper.ErrFenced)
	require.Len(t, audits(t, owner, 0, 10), 1)
}
