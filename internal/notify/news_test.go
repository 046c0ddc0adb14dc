package notify

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

var start = time.Date(2026, 11, 1, 10, 0, 0, 0, time.UTC)

// walk tells facts one by one and gives the release after the last of them, with that fact.
func walk(t *testing.T, bodies ...gatekeeper.Body) (gatekeeper.Release, gatekeeper.Fact) {
	t.Helper()
	r, f := gatekeeper.Release{ID: "r/1"}, gatekeeper.Fact{}
	all := append([]gatekeeper.Body{
		gatekeeper.Opened{
			Service: "checkout", Environment: "production", Version: "v2", Window: gatekeeper.Duration(30 * time.Minute),
			Rungs: []gatekeeper.Rung{{Action: "flag/set"}, {Action: "haproxy/switch"}},
		},
		gatekeeper.Prepared{Rungs: []gatekeeper.Pinned{
			{Rung: 0, Target: &gatekeeper.Target{Kind: gatekeeper.Set, Says: "flag new-checkout off"}},
			{Rung: 1, Target: &gatekeeper.Target{Kind: gatekeeper.Restore, Says: "servers blue=100 green=0"}},
		}},
		gatekeeper.Deployed{How: "pipeline"},
	}, bodies...)
	for _, body := range all {
		f = gatekeeper.Fact{Seq: r.Seq + 1, At: start.Add(time.Duration(r.Seq) * time.Second), Actor: "ann", Body: body}
		var err error
		r, err = r.With(f)
		require.NoError(t, err)
	}
	return r, f
}

var (
	breach  = gatekeeper.Breach{Rule: "HighErrorRate", Says: "error ratio 5%, limit > 0.01"}
	harm    = gatekeeper.Held{Reason: gatekeeper.HoldRoute, Breaches: []gatekeeper.Breach{breach}, Says: "error ratio 5%, limit > 0.01", Until: start.Add(time.Hour)}
	decided = gatekeeper.Decided{Cause: gatekeeper.CauseBreach, Breaches: []gatekeeper.Breach{breach}}
)

func ending(o gatekeeper.Outcome) gatekeeper.Closed {
	return gatekeeper.Closed{Outcome: o, Why: "because"}
}

func TestWhatPeopleAreTold(t *testing.T) {
	tried := []gatekeeper.Body{decided, gatekeeper.GaveUp{Rung: 0, Why: "no answer"}, gatekeeper.Reached{Rung: 1}}
	after := func(more ...gatekeeper.Body) []gatekeeper.Body { return append(tried[:len(tried):len(tried)], more...) }
	for name, c := range map[string]struct {
		facts    []gatekeeper.Body
		event    Event
		severity Severity
		says     []string // in the summary, what was done and what to do
	}{
		"deployed": {nil, Deployed, Info, []string{"until 2026-11-01T10:30:02Z"}},
		"held":     {[]gatekeeper.Body{harm}, Held, Critical, []string{"error ratio 5%, limit > 0.01", "Nothing is rolled back", "gatekeeper release approve r/1"}},
		"resumed":  {[]gatekeeper.Body{harm, gatekeeper.Resumed{Why: "well again"}}, Resumed, Info, []string{"well again", "watched again"}},
		"vetoed":   {[]gatekeeper.Body{harm, gatekeeper.Vetoed{Rules: []string{"HighErrorRate"}, Why: "known"}}, Resumed, Info, []string{"HighErrorRate: vetoed by ann: known"}},
		"breached": {[]gatekeeper.Body{gatekeeper.Breached{Breaches: []gatekeeper.Breach{breach}, Why: "a dry run"}}, Breached, Critical, []string{"error ratio 5%", "Nothing was rolled back: a dry run", "gatekeeper release rollback r/1"}},
		"decided": {[]gatekeeper.Body{decided}, RollbackStarted, Warning, []string{
			"error ratio 5%, limit > 0.01", "flag/set to flag new-checkout off, else haproxy/switch to servers blue=100 green=0", "gatekeeper release wait r/1",
		}},
		"unknown": {after(gatekeeper.Recovered{Unknown: true, Says: "no data"}), RecoveryUnknown, Critical, []string{"no data", "haproxy/switch reached servers blue=100", "Look whether"}},
		"rolled back": {after(gatekeeper.Recovered{}, ending(gatekeeper.OutcomeRolledBack)), RolledBack, Warning, []string{
			"error ratio 5%", "flag/set gave up: no answer; haproxy/switch reached servers blue=100 green=0", "gatekeeper release show r/1",
		}},
		"failed":       {[]gatekeeper.Body{decided, ending(gatekeeper.OutcomeRollbackFailed)}, RollbackFailed, Critical, []string{"because", "by hand, now"}},
		"bad":          {[]gatekeeper.Body{ending(gatekeeper.OutcomeBreached)}, Breached, Critical, []string{"because", "The bad version serves"}},
		"inconclusive": {[]gatekeeper.Body{ending(gatekeeper.OutcomeInconclusive)}, Inconclusive, Warning, []string{"because", "did not tell"}},
		"passed":       {[]gatekeeper.Body{ending(gatekeeper.OutcomePassed)}, Passed, Info, []string{"because"}},
		"aborted":      {[]gatekeeper.Body{ending(gatekeeper.OutcomeAborted)}, Aborted, Info, []string{"because"}},
		"superseded":   {[]gatekeeper.Body{ending(gatekeeper.OutcomeSuperseded)}, Superseded, Info, []string{"because"}},
		"loud note":    {[]gatekeeper.Body{gatekeeper.Noted{Text: "the plan changed", Loud: true}}, Noted, Warning, []string{"the plan changed"}},
	} {
		t.Run(name, func(t *testing.T) {
			r, f := walk(t, c.facts...)
			n, ok := About(r, f)
			require.True(t, ok)
			require.Equal(t, c.event, n.Event)
			require.Equal(t, c.severity, n.Severity)
			require.False(t, n.Since.IsZero())
			all := strings.Join([]string{n.Summary, n.Done, n.Todo}, "\n")
			for _, want := range c.says {
				require.Contains(t, all, want)
			}
			require.True(t, strings.HasPrefix(n.Title(r), "checkout v2 in production "), n.Title(r))
			require.NotEqual(t, "checkout v2 in production ", n.Title(r))
			for _, stands := range Standing(r, f) {
				if stands.Event == n.Event && n.Event != Breached {
					require.Equal(t, stands, n, "what stands is told in the same words")
				}
			}
		})
	}
	for name, facts := range map[string][]gatekeeper.Body{
		"quiet note": {gatekeeper.Noted{Text: "x"}},
		"recovered":  after(gatekeeper.Recovered{}),
		"reached":    tried,
	} {
		r, f := walk(t, facts...)
		_, ok := About(r, f)
		require.False(t, ok, name)
	}
}

func TestEveryEventHasAState(t *testing.T) {
	for _, e := range Events() {
		require.NotEmpty(t, states[e], e)
	}
	require.Len(t, states, len(Events()))
	require.Subset(t, Events(), usual())
	require.Subset(t, usual(), Urgent())
}

func TestFilter(t *testing.T) {
	r := gatekeeper.Release{Opened: gatekeeper.Opened{Service: "shop-web"}}
	require.True(t, Filter{}.Wants(r, News{Event: Held}))
	require.False(t, Filter{}.Wants(r, News{Event: Passed}), "a good release is quiet")
	f := Filter{Services: gatekeeper.Globs{"pay", "shop-*"}, Events: []Event{Passed}}
	require.NoError(t, f.Validate(Events()))
	require.True(t, f.Wants(r, News{Event: Passed}))
	require.False(t, f.Wants(r, News{Event: Held}))
	r.Service = "search"
	require.False(t, f.Wants(r, News{Event: Passed}))
	require.ErrorContains(t, Filter{Services: gatekeeper.Globs{"["}}.Validate(Events()), `"["`)
	err := Filter{Events: []Event{Passed}}.Validate(Urgent())
	require.ErrorContains(t, err, `"passed"`)
	require.Contains(t, gatekeeper.HintOf(err), "held breached")
}

func TestAFactIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMessages(channel(t, discard()), Filter{}, nil)
		r, f := walk(t, harm)
		m.Tell(r, f)
		m.Tell(r, f)
		// As the engine tells it again when it takes the release up.
		m.Tell(r, gatekeeper.Fact{Seq: f.Seq + 3, At: f.At, Body: f.Body})
		require.Len(t, m.waiting, 1)
		one := m.waiting[0].message
		require.Equal(t, "https://gatekeeper.example/releases/r%2F1", one.Link)
		require.Equal(t, Held, one.News.Event)
		f.At = f.At.Add(time.Minute)
		m.Tell(r, f)
		require.Len(t, m.waiting, 2, "held again, later")
		r, f = walk(t, ending(gatekeeper.OutcomePassed))
		m.Tell(r, f)
		require.Len(t, m.waiting, 2)
	})
}

func TestToldForgetsTheOldest(t *testing.T) {
	var told Told
	r := gatekeeper.Release{ID: "r"}
	for i := range maxTold + 1 {
		require.True(t, told.First(r, gatekeeper.Fact{At: start.Add(time.Duration(i))}, News{}))
	}
	require.Len(t, told.known, maxTold)
	require.False(t, told.First(r, gatekeeper.Fact{At: start.Add(maxTold)}, News{}))
	require.True(t, told.First(r, gatekeeper.Fact{At: start}, News{}))
}

func TestClip(t *testing.T) {
	require.Equal(t, "short", Clip("short", 5))
	require.Equal(t, "üü…", Clip(strings.Repeat("ü", 50), 8))
	require.Equal(t, "a\uFFFD", Clip("a\xff", 10))
}
