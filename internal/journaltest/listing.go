package journaltest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

func listNewestFirst(t *testing.T, s Setup) {
	for _, id := range []string{"m", "z", "a"} { // not in the order of their names
		commit(t, s.Journal, entry(id, 0, opened("v1")))
	}
	commit(t, s.Journal, entry("m", 1, note("later facts do not make a release newer")))
	commit(t, s.Journal, entry("y", 0, opened("v1")), entry("b", 0, opened("v1")))
	require.Equal(t, []string{"b", "y", "a", "z", "m"}, list(t, s.Journal, gatekeeper.Listing{Limit: 1000}))
	require.Equal(t, []string{"b", "y"}, list(t, s.Journal, gatekeeper.Listing{Limit: 2}))
}

func listPages(t *testing.T, s Setup) {
	var want []string
	for i := range 25 {
		id := fmt.Sprintf("r%d", i)
		commit(t, s.Journal, entry(id, 0, opened("v1")))
		want = append(want, id)
	}
	slices.Reverse(want)
	var got []string
	after := ""
	for {
		page := list(t, s.Journal, gatekeeper.Listing{Limit: 10, After: after})
		got = append(got, page...)
		if len(page) < 10 {
			break
		}
		after = page[len(page)-1]
	}
	require.Equal(t, want, got)
}

func listOpen(t *testing.T, s Setup) {
	j := s.Journal
	for i := range 6 {
		commit(t, j, entry(fmt.Sprintf("r%d", i), 0, opened("v1")))
	}
	commit(t, j, entry("r2", 1, note("n"), closed()))
	commit(t, j, entry("r5", 1, closed()))
	commit(t, j, entry("at once", 0, opened("v1"), closed()))
	require.Equal(t, []string{"r4", "r3", "r1", "r0"}, list(t, j, gatekeeper.Listing{Open: true, Limit: 10}))
	require.Equal(t, []string{"r1"}, list(t, j, gatekeeper.Listing{Open: true, Limit: 1, After: "r2"}), "after a closed one")
	require.Len(t, list(t, j, gatekeeper.Listing{Limit: 10}), 7)
}
