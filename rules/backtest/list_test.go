package backtest

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

const inCSV = `version,deployed,outcome,bad_since,labels,window,service,environment,previous_version,ended,id
1.4.2,2026-10-02T10:00:00Z,good,,team=shop;tier=1,,checkout,production,1.4.1,,
"1.4.3",2026-10-03T12:00:00+02:00,bad,2026-10-03T10:05:00Z,,45m,checkout,production,1.4.2,2026-10-03T10:20:00Z,third
`

const inJSON = `[
  {"version": "1.4.2", "deployed": "2026-10-02T10:00:00Z", "outcome": "good", "labels": {"team": "shop", "tier": "1"},
   "service": "checkout", "environment": "production", "previous_version": "1.4.1"},
  {"version": "1.4.3", "deployed": "2026-10-03T12:00:00+02:00", "outcome": "bad", "bad_since": "2026-10-03T10:05:00Z", "window": "45m",
   "service": "checkout", "environment": "production", "previous_version": "1.4.2", "ended": "2026-10-03T10:20:00Z", "id": "third"}
]`

func TestLists(t *testing.T) {
	first := time.Date(2026, 10, 2, 10, 0, 0, 0, time.UTC)
	want := []Release{
		{Service: "checkout", Environment: "production", Version: "1.4.2", PreviousVersion: "1.4.1", Deployed: first, Labels: map[string]string{"team": "shop", "tier": "1"}, Outcome: Good},
		{
			ID: "third", Service: "checkout", Environment: "production", Version: "1.4.3", PreviousVersion: "1.4.2", Deployed: first.AddDate(0, 0, 1),
			Ended: first.AddDate(0, 0, 1).Add(20 * time.Minute), Window: gatekeeper.Duration(45 * time.Minute), Outcome: Bad, BadSince: first.AddDate(0, 0, 1).Add(5 * time.Minute),
		},
	}
	for name, text := range map[string]string{"CSV": inCSV, "JSON": inJSON, "CSV of a spreadsheet": "\ufeff" + strings.ReplaceAll(inCSV, "\n", "\r\n")} {
		got, err := ParseList("list", []byte(text))
		require.NoError(t, err, name)
		require.Equal(t, want, got, name)
	}
	require.Equal(t, "1.4.2", Arrange(want)[0].ID)
	require.Equal(t, []string{"v", "v#2"}, ids(Arrange([]Release{{Version: "v"}, {Version: "v"}})))
}

func ids(list []Release) (all []string) {
	for _, r := range list {
		all = append(all, r.ID)
	}
	return all
}

func TestListsAreStrict(t *testing.T) {
	for text, want := range map[string]string{
		"":                                 "list:1:1: the list is empty",
		"version,deployd\n":                `list:1:9: a release has no "deployd"`,
		"version\nv1\n":                    "there is no column deployed",
		"version,version,deployed\n":       "list:1:9: column version stands twice",
		"version,deployed\n":               "holds no release",
		"version,deployed\nv1,yesterday\n": `list:2:4: deployed "yesterday" is no time`,
		"version,deployed\n,2026-10-02T10:00:00Z":                                   "list:2:1: a release has no version",
		"version,deployed\nv1\n":                                                    "list:2:1: wrong number of fields",
		"version,deployed,outcome\nv1,2026-10-02T10:00:00Z,fine":                    `list:2:25: the outcome can't be "fine"`,
		"version,deployed,bad_since\nv1,2026-10-02T10:00:00Z,2026-10-02T10:00:00Z":  "its outcome is not bad",
		"version,deployed,window\nv1,2026-10-02T10:00:00Z,long":                     `window "long" is no duration`,
		"version,deployed,labels\nv1,2026-10-02T10:00:00Z,a":                        `"a" is no label`,
		"version,deployed,labels\nv1,2026-10-02T10:00:00Z,a=1;a=2":                  `label "a" stands twice`,
		"version,deployed,ended\nv1,2026-10-02T10:00:00Z,2026-10-02T09:00:00Z":      "ended before it was deployed",
		"version,deployed,id\nv1,2026-10-02T10:00:00Z,x\nv2,2026-10-02T10:00:00Z,x": `list:3:1: id "x" stands twice`,
		"version,deployed\n\"v1,2026-10-02T10:00:00Z\n":                             `list:2:`,
		"version,deployed\n" + strings.Repeat("v", 300) + ",2026-10-02T10:00:00Z":   "more than 253 characters",
		"[\n  {\"version\": \"v1\", \"deployd\": \"2026-10-02T10:00:00Z\"}]":        `list:2:21: a release has no "deployd"`,
		"[{\"version\": 1}]":                           "version must be a text, not a number",
		"[{\"version\": \"v1\", \"version\": \"v1\"}]": `"version" stands twice`,
		"[{\"version\": \"v1\", \"deployed\": \"2026-10-02T10:00:00Z\", \"labels\": [1]}]": "here must be {, not [",
		"[{\"version\": \"v1\", \"deployed\": \"2026-10-02T10:00:00Z\"}] x":                "after the list's end",
		"[{\"version\": \"v1\", \"deployed\": \"2026-10-02T10:00:00Z\"}":                   "the list can't be read",
		"[{\"version\": \"v1\", \"deployed\": \"2026-10-02T10:00:00Z\"}, null]":            "here must be {, not null",
		"{\"version\": \"v1\"}": "here must be [, not {",
		"[]":                    "holds no release",
		"[{\"version\": \"v1\", \"deployed\": \"0001-01-01T00:00:00Z\"}]":                "is in the year 1",
		"version,deployed\n" + strings.Repeat("v,2026-10-02T10:00:00Z\n", maxReleases+1): "more than 5000 releases",
	} {
		_, err := ParseList("list", []byte(text))
		require.ErrorContains(t, err, want, "%.80s", text)
		require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(err))
	}
	_, err := ParseList("list", make([]byte, maxList+1))
	require.ErrorContains(t, err, "more than")
	_, err = ReadList(t.TempDir() + "/none.csv")
	require.ErrorContains(t, err, "can't be read")
}

// What is read is a list that a backtest can use, and what is not has its place.
func FuzzList(f *testing.F) {
	f.Add([]byte(inCSV))
	f.Add([]byte(inJSON))
	f.Add([]byte("version,deployed\nv,2026-10-02T10:00:00Z"))
	f.Add([]byte(`[{"version":"v","deployed":"2026-10-02T10:00:00Z","labels":{"a":"b"}}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := ParseList("list", data)
		if err != nil {
			if gatekeeper.CodeOf(err) != gatekeeper.CodeInvalid || len(list) > 0 {
				t.Fatalf("%v with %d releases", err, len(list))
			}
			return
		}
		seen := map[string]bool{}
		for _, r := range Arrange(list) {
			if r.Version == "" || r.Deployed.IsZero() || r.ID == "" || seen[r.ID] || r.Outcome == "" {
				t.Fatalf("%+v", r)
			}
			seen[r.ID] = true
		}
	})
}

func TestJournaled(t *testing.T) {
	at := time.Date(2026, 10, 2, 10, 0, 0, 0, time.UTC)
	release := func(id string, outcome gatekeeper.Outcome) gatekeeper.Release {
		r := gatekeeper.Release{ID: id, State: gatekeeper.Ended, Outcome: outcome, OpenedAt: at, DeployedAt: at.Add(time.Minute), ClosedAt: at.Add(time.Hour)}
		r.Version, r.Window, r.Purpose = "v-"+id, gatekeeper.Duration(30*time.Minute), gatekeeper.PurposeDeploy
		return r
	}
	back := release("back", gatekeeper.OutcomeRolledBack)
	back.DecidedAt = at.Add(10 * time.Minute)
	back.Decision = &gatekeeper.Decided{Breaches: []gatekeeper.Breach{{Rule: "a", Since: at.Add(8 * time.Minute)}, {Rule: "b", Since: at.Add(7 * time.Minute)}}}
	open := release("open", "")
	open.State = gatekeeper.Watching
	never := release("never", gatekeeper.OutcomeInconclusive)
	never.DeployedAt = time.Time{}
	late := release("late", gatekeeper.OutcomeRolledBack)
	late.Purpose, late.RollbackOf, late.DecidedAt = gatekeeper.PurposeRollback, "regretted", at.Add(40*time.Minute)
	past := Journaled([]gatekeeper.Release{
		release("good", gatekeeper.OutcomePassed), back, open, never, late, release("regretted", gatekeeper.OutcomePassed), release("replaced", gatekeeper.OutcomeSuperseded),
	})
	require.Equal(t, []string{"good", "back", "regretted", "replaced"}, ids(past))
	require.Equal(t, []Outcome{Good, Bad, Bad, Unknown}, []Outcome{past[0].Outcome, past[1].Outcome, past[2].Outcome, past[3].Outcome})
	require.Zero(t, past[0].Ended)
	require.Equal(t, back.DecidedAt, past[1].Ended)
	require.Equal(t, at.Add(7*time.Minute), past[1].BadSince)
	require.Equal(t, late.DecidedAt, past[2].Ended)
	require.Equal(t, at.Add(time.Hour), past[3].Ended)
}

func TestGrid(t *testing.T) {
	const sec, mnt = time.Second, time.Minute
	opened := time.Date(2026, 10, 2, 10, 0, 7, 0, time.UTC)
	for name, c := range map[string]struct {
		interval time.Duration
		waits    []time.Duration
		phases   int
		window   time.Duration
		step     time.Duration
		got      int
	}{
		"a slot each":                  {15 * sec, []time.Duration{2 * mnt}, 1, 30 * mnt, 15 * sec, 1},
		"for runs out between slots":   {15 * sec, []time.Duration{100 * sec}, 1, 30 * mnt, 5 * sec, 1},
		"ten phases":                   {15 * sec, []time.Duration{2 * mnt}, 10, 30 * mnt, 1500 * time.Millisecond, 10},
		"both":                         {15 * sec, []time.Duration{100 * sec}, 10, 30 * mnt, 1250 * time.Millisecond, 10},
		"too many points for them all": {15 * sec, []time.Duration{2 * mnt}, 10, 24 * time.Hour, 15 * sec, 1},
		"for some":                     {mnt, []time.Duration{2 * mnt}, 10, 24 * time.Hour, 10 * sec, 6},
	} {
		g := gridOf(c.interval, 3*sec, c.waits, c.phases, opened, opened.Add(c.window))
		require.Equal(t, c.step, g.step, name)
		require.Equal(t, c.got, g.phases, name)
		require.False(t, g.start.After(opened), name)
		require.Less(t, opened.Sub(g.start), g.step, name)
		require.Zero(t, (g.start.UnixNano()-int64(3*sec))%int64(g.step), name)
		seen := map[time.Duration]bool{}
		for i := range g.phases {
			shift := g.shift(c.interval, i, g.phases)
			require.False(t, seen[shift], name)
			require.Less(t, shift, c.interval, name)
			require.Zero(t, shift%g.step, name)
			seen[shift] = true
		}
	}
}
