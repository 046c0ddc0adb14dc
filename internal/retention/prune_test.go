package retention

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/explain"
	"github.com/gatekeeper-engine/gatekeeper/internal/memory"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func ago(days float64) time.Time { return now.Add(-time.Duration(days * 24 * float64(time.Hour))) }

// release writes a release that was opened and, with an outcome, closed an hour later.
func release(t *testing.T, j gatekeeper.Journal, id string, days float64, outcome gatekeeper.Outcome, o gatekeeper.Opened) {
	t.Helper()
	o.Service, o.Version, o.Environment = cmp.Or(o.Service, "shop"), cmp.Or(o.Version, "0"), "prod"
	facts := []gatekeeper.Fact{{At: ago(days), Body: o}, {At: ago(days), Body: gatekeeper.Noted{Text: "n"}}}
	if outcome != "" {
		facts = append(facts, gatekeeper.Fact{At: ago(days).Add(time.Hour), Body: gatekeeper.Closed{Outcome: outcome}})
	}
	require.NoError(t, j.Commit(t.Context(), gatekeeper.Entry{Release: id, Facts: facts}))
}

func ids(t *testing.T, j gatekeeper.Journal) []string {
	t.Helper()
	found, err := all(t.Context(), j, gatekeeper.Listing{})
	require.NoError(t, err)
	slices.Reverse(found)
	return found
}

func names(r Report) (out []string) {
	for _, one := range r.Releases {
		out = append(out, one.ID)
	}
	return out
}

func TestPrune(t *testing.T) {
	j := memory.New()
	hash, err := j.PutFile(t.Context(), []byte("of the old ones"))
	require.NoError(t, err)
	release(t, j, "gone-1", 100, gatekeeper.OutcomePassed, gatekeeper.Opened{Version: "1", File: hash})
	release(t, j, "gone-2", 99, gatekeeper.OutcomeInconclusive, gatekeeper.Opened{File: hash})
	release(t, j, "still-open", 98, "", gatekeeper.Opened{Service: "slow", RollbackOf: "referred", Supersedes: "also"})
	release(t, j, "referred", 97, gatekeeper.OutcomeAborted, gatekeeper.Opened{Service: "slow"})
	release(t, j, "also", 97, gatekeeper.OutcomeSuperseded, gatekeeper.Opened{Service: "slow"})
	release(t, j, "last-rollback", 96, gatekeeper.OutcomeRolledBack, gatekeeper.Opened{Version: "2", PreviousVersion: "1"})
	release(t, j, "last-version", 95, gatekeeper.OutcomePassed, gatekeeper.Opened{Version: "3"})
	release(t, j, "gone-3", 94, gatekeeper.OutcomeBreached, gatekeeper.Opened{Version: "4"})
	release(t, j, "other-service", 93, gatekeeper.OutcomePassed, gatekeeper.Opened{Service: "pay"})
	release(t, j, "ended-lately", 90.02, gatekeeper.OutcomeAborted, gatekeeper.Opened{})
	release(t, j, "young", 1, gatekeeper.OutcomeAborted, gatekeeper.Opened{})
	before := ids(t, j)

	r, err := Prune(t.Context(), j, ago(90), true)
	require.NoError(t, err)
	require.Equal(t, []string{"gone-1", "gone-2", "gone-3"}, names(r))
	require.Equal(t, before, ids(t, j), "a dry run removes nothing")
	require.Equal(t, 5, r.Kept)

	r, err = Prune(t.Context(), j, ago(90), false)
	require.NoError(t, err)
	require.Equal(t, []string{"gone-1", "gone-2", "gone-3"}, names(r))
	require.Equal(t, Removed{
		ID: "gone-1", Service: "shop", Environment: "prod", Version: "1", Outcome: gatekeeper.OutcomePassed,
		Last: ago(100).Add(time.Hour), Facts: 3,
	}, r.Releases[0])
	require.Equal(t, 1, r.Files)
	require.Equal(t, []string{"still-open", "referred", "also", "last-rollback", "last-version", "other-service", "ended-lately", "young"}, ids(t, j))
	r, err = Prune(t.Context(), j, ago(90), false)
	require.NoError(t, err)
	require.Empty(t, r.Releases)

	// What was kept goes when a newer release of the service says so instead.
	release(t, j, "newer", 89, gatekeeper.OutcomePassed, gatekeeper.Opened{Version: "5"})
	r, err = Prune(t.Context(), j, ago(0), false)
	require.NoError(t, err)
	require.Equal(t, []string{"last-version", "ended-lately", "young"}, names(r))
}

// faulty is a journal that can't be read, or written, in places.
type faulty struct {
	*memory.Journal
	mu      sync.Mutex
	facts   map[string]error
	batches [][]string
	fails   int // from this batch on
}

func (f *faulty) Facts(ctx context.Context, id string) ([]gatekeeper.Fact, error) {
	f.mu.Lock()
	err := f.facts[id]
	f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return f.Journal.Facts(ctx, id)
}

// heal makes everything readable.
func (f *faulty) heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.facts)
}

func (f *faulty) Remove(ctx context.Context, ids ...string) error {
	if f.fails > 0 && len(f.batches) == f.fails {
		return errors.New("the disk is full")
	}
	f.batches = append(f.batches, ids)
	return f.Journal.Remove(ctx, ids...)
}

func TestWhatCannotBeReadStays(t *testing.T) {
	j := &faulty{Journal: memory.New(), facts: map[string]error{"bad": gatekeeper.Errorf(gatekeeper.CodeInternal, "", "corrupted")}}
	release(t, j, "a", 100, gatekeeper.OutcomeAborted, gatekeeper.Opened{})
	release(t, j, "bad", 100, gatekeeper.OutcomeAborted, gatekeeper.Opened{})
	release(t, j, "b", 100, gatekeeper.OutcomeAborted, gatekeeper.Opened{})
	require.NoError(t, j.Commit(t.Context(), gatekeeper.Entry{Release: "nonsense", Facts: []gatekeeper.Fact{{At: ago(100), Body: gatekeeper.Closed{}}}}))
	release(t, j, "c", 100, gatekeeper.OutcomeAborted, gatekeeper.Opened{})
	r, err := Prune(t.Context(), j, ago(90), false)
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b", "c"}, names(r))
	require.Equal(t, []string{"bad", "nonsense"}, r.Unreadable)
	require.Equal(t, []string{"bad", "nonsense"}, ids(t, j))
}

// A store that does not answer, or an open release that can't be read, is no reason to remove more.
func TestDoubtRemovesNothing(t *testing.T) {
	for name, err := range map[string]error{
		"old":  gatekeeper.Errorf(gatekeeper.CodeUnavailable, "", "the store does not answer"),
		"open": gatekeeper.Errorf(gatekeeper.CodeInternal, "", "corrupted"),
	} {
		j := &faulty{Journal: memory.New(), facts: map[string]error{name: err}}
		release(t, j, "first", 100, gatekeeper.OutcomeAborted, gatekeeper.Opened{})
		release(t, j, "old", 100, gatekeeper.OutcomeAborted, gatekeeper.Opened{})
		release(t, j, "open", 1, "", gatekeeper.Opened{})
		_, got := Prune(t.Context(), j, ago(90), false)
		require.ErrorIs(t, got, err, name)
		require.Len(t, ids(t, j), 3, name)
	}
}

func TestBatchesAreBounded(t *testing.T) {
	j := &faulty{Journal: memory.New()}
	for i := range 45 {
		release(t, j, fmt.Sprint("small", i), 100, gatekeeper.OutcomeAborted, gatekeeper.Opened{})
	}
	for i := range 3 {
		facts := []gatekeeper.Fact{{At: ago(100), Body: gatekeeper.Opened{Service: "shop", Version: "0"}}}
		for range 800 {
			facts = append(facts, gatekeeper.Fact{At: ago(100), Body: gatekeeper.Noted{Text: "x"}})
		}
		facts = append(facts, gatekeeper.Fact{At: ago(100), Body: gatekeeper.Closed{Outcome: gatekeeper.OutcomeAborted}})
		require.NoError(t, j.Commit(t.Context(), gatekeeper.Entry{Release: fmt.Sprint("large", i), Facts: facts}))
	}
	r, err := Prune(t.Context(), j, ago(90), false)
	require.NoError(t, err)
	require.Len(t, r.Releases, 48)
	sizes := make([]int, len(j.batches))
	for i, b := range j.batches {
		sizes[i] = len(b)
	}
	require.Equal(t, []int{20, 20, 6, 1, 1}, sizes)
}

// unswept is a journal that is asked to sweep, and can't for a time.
type unswept struct {
	*memory.Journal
	err error
}

func (u *unswept) Sweep(ctx context.Context) (int, error) {
	if u.err != nil {
		return 0, u.err
	}
	return u.Journal.Sweep(ctx)
}

// Files that a pruning left behind, having been killed before it swept, go with the next one. Where
// it is not known which release needs which file, none goes, and all else does.
func TestWhatWasNotSweptIsSweptLater(t *testing.T) {
	corrupted := gatekeeper.Errorf(gatekeeper.CodeInternal, "", "corrupted")
	j := &unswept{Journal: memory.New(), err: corrupted}
	hash, err := j.PutFile(t.Context(), []byte("old"))
	require.NoError(t, err)
	release(t, j, "a", 100, gatekeeper.OutcomeAborted, gatekeeper.Opened{File: hash})
	deeds(t, j, gatekeeper.FlagSet, 100)
	r, err := Prune(t.Context(), j, ago(90), false)
	require.ErrorIs(t, err, corrupted)
	require.Equal(t, []string{"a"}, names(r))
	require.Equal(t, 1, r.Audits)
	j.err = nil
	r, err = Prune(t.Context(), j, ago(90), false)
	require.NoError(t, err)
	require.Empty(t, r.Releases)
	require.Equal(t, 1, r.Files)
	j.err = fmt.Errorf("sweeping: %w", gatekeeper.ErrFenced)
	deeds(t, j, gatekeeper.FlagSet, 100)
	r, err = Prune(t.Context(), j, ago(90), false)
	require.ErrorIs(t, err, gatekeeper.ErrFenced)
	require.Zero(t, r.Audits, "it is another's")
}

// racing is a journal that somebody else prunes between two pages of a listing.
type racing struct {
	*memory.Journal
	removed bool
}

func (r *racing) List(ctx context.Context, q gatekeeper.Listing) ([]string, error) {
	if q.After != "" && !r.removed {
		r.removed = true
		if err := r.Remove(ctx, q.After); err != nil {
			return nil, err
		}
	}
	return r.Journal.List(ctx, q)
}

func TestTwoPruneAtOnce(t *testing.T) {
	j := &racing{Journal: memory.New()}
	for i := range 1010 {
		release(t, j, fmt.Sprint("r", i), 100, gatekeeper.OutcomeAborted, gatekeeper.Opened{})
	}
	r, err := Prune(t.Context(), j, ago(90), false)
	require.NoError(t, err)
	require.True(t, j.removed)
	require.Len(t, r.Releases, 1009)
	require.Empty(t, ids(t, j))
}

func TestAnErrorTellsWhatWasRemoved(t *testing.T) {
	j := &faulty{Journal: memory.New(), fails: 2}
	for i := range 100 {
		release(t, j, fmt.Sprint("r", i), 100, gatekeeper.OutcomeAborted, gatekeeper.Opened{})
	}
	r, err := Prune(t.Context(), j, ago(90), false)
	require.ErrorContains(t, err, "the disk is full")
	require.Len(t, r.Releases, 40)
	require.Len(t, ids(t, j), 60)
}

var instant = regexp.MustCompile(`"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"`)

// moved gives facts at other times: days later, so that slots stay slots.
func moved(t *testing.T, facts []gatekeeper.Fact, days int) []gatekeeper.Fact {
	t.Helper()
	text, err := json.Marshal(facts)
	require.NoError(t, err)
	text = instant.ReplaceAllFunc(text, func(b []byte) []byte {
		var at time.Time
		require.NoError(t, json.Unmarshal(b, &at))
		if at.IsZero() {
			return b
		}
		out, err := json.Marshal(at.AddDate(0, 0, days))
		require.NoError(t, err)
		return out
	})
	var out []gatekeeper.Fact
	require.NoError(t, json.Unmarshal(text, &out))
	return out
}

// recorded is a release that the engine's tests ran.
type recorded struct {
	Bundle rules.Bundle      `json:"bundle"`
	Facts  []gatekeeper.Fact `json:"facts"`
}

func recordings(t *testing.T) []recorded {
	t.Helper()
	paths, err := filepath.Glob("../explain/testdata/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	found := make([]recorded, len(paths))
	for i, path := range paths {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(text, &found[i]))
	}
	return found
}

// Releases that really ran, at random times, many of them still open: after pruning at random ages
// what is left is as it was, and replays to what was done.
func TestWhatIsLeftReplaysIdentically(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	templates := recordings(t)
	for range 6 {
		w := world{t: t, j: memory.New(), of: map[string]recorded{}}
		start := templates[0].Facts[0].At
		day := 0
		for i := range 60 {
			day += random.IntN(4)
			w.add(fmt.Sprint("r", i), templates[random.IntN(len(templates))], day, random)
		}
		for range 3 {
			w.prune(start.AddDate(0, 0, random.IntN(day+2)))
		}
		for _, id := range ids(t, w.j) {
			w.same(id)
		}
	}
}

type world struct {
	t  *testing.T
	j  *memory.Journal
	of map[string]recorded
}

// add writes a release some days after it really was, of one of three services; every fourth is open.
func (w world) add(id string, of recorded, day int, random *rand.Rand) {
	facts := moved(w.t, of.Facts, day)
	if random.IntN(4) == 0 {
		facts = facts[:1+random.IntN(len(facts)-1)]
	}
	hash, err := w.j.PutFile(w.t.Context(), of.Bundle.Encode())
	require.NoError(w.t, err)
	opened := facts[0].Body.(gatekeeper.Opened)
	opened.File, opened.Environment = hash, fmt.Sprint("e", random.IntN(3))
	if known := ids(w.t, w.j); len(known) > 0 && random.IntN(3) == 0 {
		opened.RollbackOf = known[random.IntN(len(known))]
	}
	facts[0].Body = opened
	require.NoError(w.t, w.j.Commit(w.t.Context(), gatekeeper.Entry{Release: id, Facts: facts}))
	w.of[id] = recorded{of.Bundle, facts}
}

func (w world) prune(before time.Time) {
	known, live := ids(w.t, w.j), w.live()
	open, err := all(w.t.Context(), w.j, gatekeeper.Listing{Open: true})
	require.NoError(w.t, err)
	r, err := Prune(w.t.Context(), w.j, before, false)
	require.NoError(w.t, err)
	left := ids(w.t, w.j)
	require.Equal(w.t, len(known), len(left)+len(r.Releases))
	require.Equal(w.t, live, w.live(), "the engine learns the same")
	for _, one := range r.Releases {
		facts := w.of[one.ID].Facts
		require.Equal(w.t, gatekeeper.KindClosed, facts[len(facts)-1].Body.Kind())
		require.True(w.t, facts[len(facts)-1].At.Before(before))
	}
	for _, id := range open {
		require.Contains(w.t, left, id)
		if of := w.of[id].Facts[0].Body.(gatekeeper.Opened).RollbackOf; slices.Contains(known, of) {
			require.Contains(w.t, left, of)
		}
	}
}

// live gives what engine/history.go reads: for each environment the version and the last rollback.
func (w world) live() map[string]string {
	out := map[string]string{}
	for _, id := range ids(w.t, w.j) {
		_, r, err := read(w.t.Context(), w.j, id)
		require.NoError(w.t, err)
		switch r.Outcome {
		case gatekeeper.OutcomePassed:
			out["version of "+r.Environment] = r.Version
		case gatekeeper.OutcomeRolledBack:
			out["rollback of "+r.Environment] = r.ClosedAt.String()
			if r.PreviousVersion != "" {
				out["version of "+r.Environment] = r.PreviousVersion
			}
		default: // the others say nothing of what is live
		}
	}
	return out
}

func text(t *testing.T, facts []gatekeeper.Fact) string {
	t.Helper()
	for i := range facts {
		facts[i].Seq = int64(i) + 1
	}
	data, err := json.Marshal(facts)
	require.NoError(t, err)
	return string(data)
}

func (w world) same(id string) {
	was := w.of[id]
	facts, err := w.j.Facts(w.t.Context(), id)
	require.NoError(w.t, err)
	content, err := w.j.File(w.t.Context(), facts[0].Body.(gatekeeper.Opened).File)
	require.NoError(w.t, err)
	bundle, err := rules.DecodeBundle(content)
	require.NoError(w.t, err)
	file, err := rules.Load(bundle)
	require.NoError(w.t, err)
	got, err := explain.Replay(facts, file)
	require.NoError(w.t, err)
	want, err := explain.Replay(was.Facts, file)
	require.NoError(w.t, err)
	require.Equal(w.t, want, got)
	require.Equal(w.t, text(w.t, was.Facts), text(w.t, facts))
}
