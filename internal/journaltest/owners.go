package journaltest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

// concurrentOne lets writers race for the same sequence numbers: each number is won once.
func concurrentOne(t *testing.T, s Setup) {
	j := s.Journal
	commit(t, j, entry("r", 0, opened("v1")))
	const writers, rounds = 8, 10
	for round := range rounds {
		var won atomic.Int64
		var wg sync.WaitGroup
		errs := make([]error, writers)
		for w := range writers {
			wg.Go(func() {
				err := j.Commit(t.Context(), entry("r", int64(round)+1, note(fmt.Sprint(w))))
				if err == nil {
					won.Add(1)
				} else if !errors.Is(err, gatekeeper.ErrConflict) {
					errs[w] = err
				}
			})
		}
		wg.Wait()
		require.NoError(t, errors.Join(errs...))
		require.EqualValues(t, 1, won.Load())
	}
	require.Len(t, factsOf(t, j, "r"), rounds+1)
}

func concurrentMany(t *testing.T, s Setup) {
	j := s.Journal
	const writers, writes = 8, 20
	var wg sync.WaitGroup
	errs := make([]error, writers)
	for w := range writers {
		wg.Go(func() {
			for i := range writes {
				errs[w] = errors.Join(errs[w], j.Commit(t.Context(), entry(fmt.Sprintf("r%d", w), int64(i), note(fmt.Sprint(i)))))
			}
		})
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	require.Len(t, list(t, j, gatekeeper.Listing{Open: true, Limit: 100}), writers)
	for w := range writers {
		facts := factsOf(t, j, fmt.Sprintf("r%d", w))
		require.Len(t, facts, writes)
		for i, f := range facts {
			require.EqualValues(t, i+1, f.Seq)
			require.Equal(t, gatekeeper.Noted{Text: fmt.Sprint(i)}, f.Body)
		}
	}
}

func fencing(t *testing.T, s Setup) {
	old := s.Journal
	commit(t, old, entry("r", 0, opened("v1")))
	owner := s.TakeOver(t)
	require.ErrorIs(t, old.Commit(t.Context(), entry("r", 1, note("from the past"))), gatekeeper.ErrFenced)
	require.ErrorIs(t, old.Commit(t.Context(), entry("r", 7, note("late too"))), gatekeeper.ErrFenced, "fenced counts more than conflict")
	_, err := old.PutFile(t.Context(), []byte("from the past"))
	require.ErrorIs(t, err, gatekeeper.ErrFenced)
	commit(t, owner, entry("r", 1, note("from the owner")))
	require.Equal(t, numbered(opened("v1"), note("from the owner")), factsOf(t, owner, "r"))
	require.Len(t, factsOf(t, old, "r"), 2, "a deposed owner may read")
}

func survives(t *testing.T, s Setup) {
	commit(t, s.Journal, entry("a", 0, opened("v1"), note("n")), entry("b", 0, opened("v2")))
	commit(t, s.Journal, entry("a", 2, closed()))
	hash, err := s.Journal.PutFile(t.Context(), []byte("the rules"))
	require.NoError(t, err)

	j := s.Reopen(t)
	require.Equal(t, numbered(opened("v1"), note("n"), closed()), factsOf(t, j, "a"))
	require.Equal(t, []string{"b"}, list(t, j, gatekeeper.Listing{Open: true, Limit: 10}))
	require.Equal(t, []string{"b", "a"}, list(t, j, gatekeeper.Listing{Limit: 10}))
	content, err := j.File(t.Context(), hash)
	require.NoError(t, err)
	require.Equal(t, "the rules", string(content))
	commit(t, j, entry("c", 0, opened("v3")))
	require.Equal(t, []string{"c", "b", "a"}, list(t, j, gatekeeper.Listing{Limit: 10}))
	commit(t, j, entry("b", 1, note("goes on")))
}
