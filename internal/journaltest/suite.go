// Package journaltest is the conformance suite of [gatekeeper.Journal]: every implementation runs
// it, so the engine can rely on the same behaviour of each.
package journaltest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

// Setup is an empty journal with the levers that the suite needs.
type Setup struct {
	Journal  gatekeeper.Journal
	TakeOver func(t *testing.T) gatekeeper.Journal // a new owner of the same content, beside Journal
	Reopen   func(t *testing.T) gatekeeper.Journal // the content after a restart; Journal is not used any more
	Forget   func(t *testing.T)                    // makes all changes so far too old for Watch
	Damage   func(t *testing.T, hash string)       // changes the content stored under hash
	Backlog  int                                   // how many commits a reader of Watch may be behind at least
}

// Run runs the suite; setup is called once per test and cleans up after itself.
func Run(t *testing.T, setup func(t *testing.T) Setup) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Setup)
	}{
		{"CreateAppendRead", createAppendRead},
		{"EveryKindOfFact", everyKind},
		{"NotFound", notFound},
		{"CompareAndSwap", compareAndSwap},
		{"AtomicCommit", atomicCommit},
		{"RefusesWhatItCanNotHold", refuses},
		{"StrangeIds", strangeIDs},
		{"ListNewestFirst", listNewestFirst},
		{"ListPages", listPages},
		{"ListOpen", listOpen},
		{"WatchFromRevision", watchFromRevision},
		{"WatchFromNow", watchFromNow},
		{"WatchEndsWithContext", watchEnds},
		{"WatchGone", watchGone},
		{"WatchSlowReader", watchSlowReader},
		{"Files", files},
		{"FilesDamaged", filesDamaged},
		{"ConcurrentWritersOfOneRelease", concurrentOne},
		{"ConcurrentWritersOfMany", concurrentMany},
		{"Fencing", fencing},
		{"SurvivesReopen", survives},
		{"AuditAppends", auditAppends},
		{"AuditPages", auditPages},
		{"AuditRefusesWhatItCanNotHold", auditRefuses},
		{"AuditBesideReleases", auditApart},
		{"AuditConcurrentWriters", auditConcurrent},
		{"AuditSurvivesReopen", auditSurvives},
		{"ContextEnded", contextEnded},
		{"Remove", remove},
		{"RemoveRefuses", removeRefuses},
		{"RemoveAsManyAsMayBe", removeAll},
		{"RemoveWhileWatched", removeWatched},
		{"Sweep", sweep},
		{"SweepWhileReleasesAreOpened", sweepWhileOpening},
		{"RemoveAudits", removeAudits},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, setup(t)) })
	}
}

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)

func note(text string) gatekeeper.Fact {
	return gatekeeper.Fact{At: epoch, Actor: "ann", Body: gatekeeper.Noted{Text: text}}
}

func opened(version string) gatekeeper.Fact {
	return gatekeeper.Fact{At: epoch, Actor: "ci", Body: gatekeeper.Opened{Service: "shop", Environment: "prod", Version: version, Labels: map[string]string{"a": "b"}}}
}

func closed() gatekeeper.Fact {
	return gatekeeper.Fact{At: epoch, Body: gatekeeper.Closed{Outcome: gatekeeper.OutcomePassed, Why: "well"}}
}

func entry(id string, after int64, facts ...gatekeeper.Fact) gatekeeper.Entry {
	return gatekeeper.Entry{Release: id, After: after, Facts: facts}
}

func commit(t *testing.T, j gatekeeper.Journal, entries ...gatekeeper.Entry) {
	t.Helper()
	require.NoError(t, j.Commit(t.Context(), entries...))
}

func factsOf(t *testing.T, j gatekeeper.Journal, id string) []gatekeeper.Fact {
	t.Helper()
	facts, err := j.Facts(t.Context(), id)
	require.NoError(t, err)
	return facts
}

func list(t *testing.T, j gatekeeper.Journal, q gatekeeper.Listing) []string {
	t.Helper()
	ids, err := j.List(t.Context(), q)
	require.NoError(t, err)
	return ids
}

// numbered gives facts as they must be read back.
func numbered(facts ...gatekeeper.Fact) []gatekeeper.Fact {
	for i := range facts {
		facts[i].Seq = int64(i) + 1
	}
	return facts
}

func createAppendRead(t *testing.T, s Setup) {
	j := s.Journal
	local := opened("v2")
	local.At = local.At.In(time.FixedZone("east", 7200))
	commit(t, j, entry("r1", 0, local, note("one")))
	commit(t, j, entry("r1", 2, note("two")))
	wrong := note("three")
	wrong.Seq = 99 // ignored
	commit(t, j, entry("r1", 3, wrong))
	require.Equal(t, numbered(opened("v2"), note("one"), note("two"), note("three")), factsOf(t, j, "r1"))

	facts := factsOf(t, j, "r1")
	facts[0].Body.(gatekeeper.Opened).Labels["a"] = "changed by the reader"
	require.Equal(t, numbered(opened("v2")), factsOf(t, j, "r1")[:1])

	commit(t, j)
}

func everyKind(t *testing.T, s Setup) {
	live := gatekeeper.Live{Position: gatekeeper.AtTarget, Print: "p", Says: "there"}
	bodies := []gatekeeper.Body{
		gatekeeper.Opened{Service: "shop"},
		gatekeeper.Prepared{Rungs: []gatekeeper.Pinned{{Target: &gatekeeper.Target{Kind: gatekeeper.Set, Version: 1, Data: []byte(`{"a":1}`)}}}},
		gatekeeper.Pinned{Rung: 1, Problem: "gone"},
		gatekeeper.Deployed{How: "traffic", Released: []gatekeeper.Live{live}},
		gatekeeper.Judged{Track: gatekeeper.Track{Rule: "R"}},
		gatekeeper.Alerted{Alert: gatekeeper.Alert{Key: "k", StartsAt: epoch}},
		gatekeeper.Breached{Would: true, Why: "w"},
		gatekeeper.Held{Reason: gatekeeper.HoldVeto, Until: epoch},
		gatekeeper.Resumed{Why: "w"},
		gatekeeper.Vetoed{Rules: []string{"R"}},
		gatekeeper.Decided{Cause: gatekeeper.CauseBreach, Says: "s"},
		gatekeeper.Attempting{Rung: 1, Key: "k"},
		gatekeeper.Attempted{Rung: 1, Result: gatekeeper.ResultUnknown, Error: "e"},
		gatekeeper.Observed{Rung: 1, Live: live},
		gatekeeper.GaveUp{Rung: 1, Why: "w"},
		gatekeeper.Reached{Rung: 1, Live: live, Already: true},
		gatekeeper.NotRecovered{Rung: 1},
		gatekeeper.Recovered{Says: "s"},
		gatekeeper.Extended{Until: epoch, Why: "w"},
		gatekeeper.Marked{Why: "w"},
		gatekeeper.Noted{Text: "t", Loud: true},
		gatekeeper.Released{},
		gatekeeper.Closed{Outcome: gatekeeper.OutcomeAborted},
	}
	var facts []gatekeeper.Fact
	kinds := make(map[gatekeeper.Kind]bool)
	for _, b := range bodies {
		facts = append(facts, gatekeeper.Fact{At: epoch, Body: b})
		kinds[b.Kind()] = true
	}
	for _, k := range gatekeeper.Kinds() {
		require.True(t, kinds[k], "the suite has no fact of kind %s", k)
	}
	commit(t, s.Journal, entry("r1", 0, facts...))
	got := factsOf(t, s.Journal, "r1")
	require.Len(t, got, len(facts))
	for i := range got {
		require.Equal(t, facts[i].Body.Kind(), got[i].Body.Kind())
	}
	require.Equal(t, facts[10].Body, got[10].Body)
}

func notFound(t *testing.T, s Setup) {
	_, err := s.Journal.Facts(t.Context(), "nobody")
	require.ErrorIs(t, err, gatekeeper.ErrNotFound)
	_, err = s.Journal.File(t.Context(), "0123")
	require.ErrorIs(t, err, gatekeeper.ErrNotFound)
	_, err = s.Journal.List(t.Context(), gatekeeper.Listing{Limit: 10, After: "nobody"})
	require.ErrorIs(t, err, gatekeeper.ErrNotFound)
	require.Empty(t, list(t, s.Journal, gatekeeper.Listing{Limit: 10}))
}

func compareAndSwap(t *testing.T, s Setup) {
	j := s.Journal
	require.ErrorIs(t, j.Commit(t.Context(), entry("r1", 1, note("no release yet"))), gatekeeper.ErrConflict)
	require.ErrorIs(t, j.Commit(t.Context(), entry("r1", 3, closed())), gatekeeper.ErrConflict)
	commit(t, j, entry("r1", 0, opened("v1"), note("a")))
	for _, after := range []int64{0, 1, 3} {
		require.ErrorIs(t, j.Commit(t.Context(), entry("r1", after, note("late"))), gatekeeper.ErrConflict, "after %d", after)
		require.ErrorIs(t, j.Commit(t.Context(), entry("r1", after, closed())), gatekeeper.ErrConflict, "after %d", after)
	}
	require.Len(t, factsOf(t, j, "r1"), 2)
	require.Equal(t, []string{"r1"}, list(t, j, gatekeeper.Listing{Open: true, Limit: 10}))
}

func atomicCommit(t *testing.T, s Setup) {
	j := s.Journal
	commit(t, j, entry("old", 0, opened("v1")))
	supersede := []gatekeeper.Entry{entry("new", 0, opened("v2")), entry("old", 7, closed())}
	require.ErrorIs(t, j.Commit(t.Context(), supersede...), gatekeeper.ErrConflict)
	_, err := j.Facts(t.Context(), "new")
	require.ErrorIs(t, err, gatekeeper.ErrNotFound, "half a commit was written")
	require.Equal(t, []string{"old"}, list(t, j, gatekeeper.Listing{Open: true, Limit: 10}))

	supersede[1].After = 1
	commit(t, j, supersede...)
	require.Len(t, factsOf(t, j, "new"), 1)
	require.Len(t, factsOf(t, j, "old"), 2)
	require.Equal(t, []string{"new"}, list(t, j, gatekeeper.Listing{Open: true, Limit: 10}))
	require.Equal(t, []string{"new", "old"}, list(t, j, gatekeeper.Listing{Limit: 10}))
}

func contextEnded(t *testing.T, s Setup) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.Journal.Commit(ctx, entry("r1", 0, opened("v1"))), context.Canceled)
	_, err := s.Journal.Facts(ctx, "r1")
	require.ErrorIs(t, err, context.Canceled)
	_, err = s.Journal.List(ctx, gatekeeper.Listing{Limit: 1})
	require.ErrorIs(t, err, context.Canceled)
	_, err = s.Journal.PutFile(ctx, []byte("x"))
	require.ErrorIs(t, err, context.Canceled)
	_, err = s.Journal.Audit(ctx, deed("x"))
	require.ErrorIs(t, err, context.Canceled)
	_, err = s.Journal.Audits(ctx, 0, 1)
	require.ErrorIs(t, err, context.Canceled)
}
