package journaltest

import (
	"context"
	"fmt"
	"iter"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

// next takes n changes.
func next(t *testing.T, pull func() (gatekeeper.Change, error, bool), n int) []gatekeeper.Change {
	t.Helper()
	var changes []gatekeeper.Change
	for range n {
		c, err, ok := pull()
		require.True(t, ok, "the watch ended after %d of %d changes", len(changes), n)
		require.NoError(t, err)
		changes = append(changes, c)
	}
	return changes
}

func texts(changes []gatekeeper.Change) []string {
	var all []string
	for _, c := range changes {
		says := string(c.Fact.Body.Kind())
		if n, ok := c.Fact.Body.(gatekeeper.Noted); ok {
			says = n.Text
		}
		all = append(all, fmt.Sprintf("%s/%d %s", c.Release, c.Fact.Seq, says))
	}
	return all
}

func watchFromRevision(t *testing.T, s Setup) {
	j := s.Journal
	commit(t, j, entry("a", 0, opened("v1"), note("x")))
	pull, stop := iter.Pull2(j.Watch(t.Context(), 0))
	defer stop()
	first := next(t, pull, 2)
	require.Equal(t, []string{"a/1 opened", "a/2 x"}, texts(first))
	require.Equal(t, first[0].Revision, first[1].Revision, "one commit, one revision")

	commit(t, j, entry("b", 0, opened("v1")), entry("a", 2, note("y")))
	commit(t, j, entry("b", 1, note("z")))
	live := next(t, pull, 3)
	require.ElementsMatch(t, []string{"b/1 opened", "a/3 y"}, texts(live[:2]))
	require.Equal(t, "b/2 z", texts(live)[2])
	require.Greater(t, live[0].Revision, first[0].Revision)
	require.Equal(t, live[0].Revision, live[1].Revision)
	require.Greater(t, live[2].Revision, live[1].Revision)

	again, stopAgain := iter.Pull2(j.Watch(t.Context(), first[0].Revision))
	defer stopAgain()
	require.Equal(t, live, next(t, again, 3), "resumed where the first commit ended")
}

func watchFromNow(t *testing.T, s Setup) {
	j := s.Journal
	commit(t, j, entry("a", 0, opened("v1")))
	seq := j.Watch(t.Context(), -1)
	commit(t, j, entry("a", 1, note("after the call, before the loop")))
	pull, stop := iter.Pull2(seq)
	defer stop()
	require.Equal(t, []string{"a/2 after the call, before the loop"}, texts(next(t, pull, 1)))
}

func watchEnds(t *testing.T, s Setup) {
	j := s.Journal
	commit(t, j, entry("a", 0, opened("v1")))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen := 0
	for _, err := range j.Watch(ctx, 0) {
		require.NoError(t, err)
		seen++
		cancel() // and no more changes come
	}
	require.Equal(t, 1, seen)
	for _, err := range j.Watch(ctx, -1) {
		require.Fail(t, "a change after the context has ended", "%v", err)
	}
	for _, err := range j.Watch(t.Context(), 0) {
		require.NoError(t, err)
		break // a reader may leave
	}
}

func watchGone(t *testing.T, s Setup) {
	j := s.Journal
	commit(t, j, entry("a", 0, opened("v1")))
	commit(t, j, entry("a", 1, note("x")))
	s.Forget(t)
	pull, stop := iter.Pull2(j.Watch(t.Context(), 0))
	defer stop()
	_, err, ok := pull()
	require.True(t, ok)
	require.ErrorIs(t, err, gatekeeper.ErrGone)
	_, _, ok = pull()
	require.False(t, ok, "nothing follows an error")

	seq := j.Watch(t.Context(), -1)
	commit(t, j, entry("a", 2, note("y")))
	now, stopNow := iter.Pull2(seq)
	defer stopNow()
	require.Equal(t, []string{"a/3 y"}, texts(next(t, now, 1)))
}

// watchSlowReader leaves a reader behind by more than the backlog: it must get every change in
// order up to an ErrGone, and never a gap.
func watchSlowReader(t *testing.T, s Setup) {
	j := s.Journal
	commit(t, j, entry("a", 0, opened("v1")))
	pull, stop := iter.Pull2(j.Watch(t.Context(), 0))
	defer stop()
	next(t, pull, 1)
	writes := 3 * s.Backlog
	for i := range writes {
		commit(t, j, entry("a", int64(i)+1, note("x")))
	}
	want := int64(2)
	for {
		c, err, ok := pull()
		require.True(t, ok, "the watch ended without a word")
		if err != nil {
			require.ErrorIs(t, err, gatekeeper.ErrGone)
			break
		}
		require.Equal(t, want, c.Fact.Seq, "a gap")
		want++
		require.Less(t, want, int64(writes), "a reader %d commits behind was waited for", writes)
	}
	facts, err := j.Facts(t.Context(), "a")
	require.NoError(t, err, "writers do not care")
	require.Len(t, facts, writes+1)
}
