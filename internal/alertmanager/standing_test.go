package alertmanager

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/httpclient"
)

var breach = gatekeeper.Breach{Rule: "HighErrorRate", Says: "error ratio 5%, limit > 0.01"}

// TestWhatStands walks releases through their ways and looks at the alerts that stand at the end.
func TestWhatStands(t *testing.T) {
	decided := []gatekeeper.Body{gatekeeper.Decided{Cause: gatekeeper.CauseBreach, Breaches: []gatekeeper.Breach{breach}}}
	reached := append(decided, gatekeeper.Reached{})
	held := gatekeeper.Held{Reason: gatekeeper.HoldRoute, Breaches: []gatekeeper.Breach{breach}, Says: "held", Until: time.Now().Add(time.Hour)}
	told := gatekeeper.Breached{Breaches: []gatekeeper.Breach{breach}, Why: "the route only notifies"}
	healthy := gatekeeper.Judged{Track: gatekeeper.Track{Rule: "HighErrorRate", Verdict: gatekeeper.Healthy}}
	external := gatekeeper.Breached{Breaches: []gatekeeper.Breach{{Rule: `Slow{a="b"}`, External: true}}}
	update := func(firing bool) gatekeeper.Alerted {
		return gatekeeper.Alerted{Alert: gatekeeper.Alert{Key: `Slow{a="b"}`, Name: "Slow", Firing: firing}}
	}
	end := func(o gatekeeper.Outcome) gatekeeper.Closed { return gatekeeper.Closed{Outcome: o, Why: "because"} }
	for name, c := range map[string]struct {
		facts []gatekeeper.Body
		want  []string
	}{
		"well":               {nil, nil},
		"passed":             {[]gatekeeper.Body{end(gatekeeper.OutcomePassed)}, nil},
		"held":               {[]gatekeeper.Body{held}, []string{"GatekeeperReleaseHeld critical"}},
		"held, then vetoed":  {[]gatekeeper.Body{held, gatekeeper.Vetoed{Rules: []string{"HighErrorRate"}}}, nil},
		"held, then well":    {[]gatekeeper.Body{held, healthy, gatekeeper.Resumed{}}, nil},
		"held, superseded":   {[]gatekeeper.Body{held, end(gatekeeper.OutcomeSuperseded)}, nil},
		"told":               {[]gatekeeper.Body{told}, []string{"GatekeeperReleaseBreached critical"}},
		"told, then well":    {[]gatekeeper.Body{told, healthy}, nil},
		"told by others":     {[]gatekeeper.Body{update(true), external}, []string{"GatekeeperReleaseBreached critical"}},
		"told, and over":     {[]gatekeeper.Body{update(true), external, update(false)}, nil},
		"told, then aborted": {[]gatekeeper.Body{told, end(gatekeeper.OutcomeAborted)}, nil},
		"breached":           {[]gatekeeper.Body{told, end(gatekeeper.OutcomeBreached)}, []string{"GatekeeperReleaseBreached critical"}},
		"inconclusive":       {[]gatekeeper.Body{end(gatekeeper.OutcomeInconclusive)}, []string{"GatekeeperReleaseInconclusive warning"}},
		"decided":            {decided, []string{"GatekeeperRollbackStarted warning"}},
		"held, then decided": {append([]gatekeeper.Body{held}, decided...), []string{"GatekeeperRollbackStarted warning"}},
		"verifying":          {reached, []string{"GatekeeperRollbackStarted warning"}},
		"rolled back":        {append(reached, gatekeeper.Recovered{}, end(gatekeeper.OutcomeRolledBack)), []string{"GatekeeperRolledBack warning"}},
		"recovery unknown": {
			append(reached, gatekeeper.Recovered{Unknown: true, Says: "no data"}, end(gatekeeper.OutcomeRolledBack)),
			[]string{"GatekeeperRolledBack critical"},
		},
		"recovery unknown, a note later": {
			append(reached, gatekeeper.Recovered{Unknown: true, Says: "no data"}, gatekeeper.Noted{Text: "x"}),
			[]string{"GatekeeperRolledBack critical", "GatekeeperRollbackStarted warning"},
		},
		"failed": {append(decided, end(gatekeeper.OutcomeRollbackFailed)), []string{"GatekeeperRollbackFailed critical"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := book{alerts: map[id]*alert{}}
			j := opened(t, nil, "r1")
			for _, body := range c.facts {
				j.tell(body)
				b.update(time.Now(), j.r, gatekeeper.Fact{At: time.Now(), Body: body})
			}
			var stand []string
			for _, name := range []string{Held, RolledBack, RollbackFailed, Breached, Inconclusive, RollbackStarted} {
				for _, s := range []severity{critical, warning} {
					if a := b.alerts[id{"r1", name, s}]; a != nil && a.resolved.IsZero() {
						stand = append(stand, name+" "+string(s))
						require.NotEmpty(t, a.annotations["summary"])
						require.Contains(t, a.annotations["what_to_do"], " ")
					}
				}
			}
			require.Equal(t, c.want, stand)
		})
	}
}

func TestAlertsAreRebuiltFromTheReleaseAlone(t *testing.T) {
	j := opened(t, nil, "r1")
	j.hold()
	b := book{alerts: map[id]*alert{}}
	b.update(time.Now(), j.r, gatekeeper.Fact{At: time.Now(), Body: gatekeeper.Noted{Text: "recovered after a restart"}})
	a := b.alerts[id{"r1", Held, critical}]
	require.NotNil(t, a)
	require.Equal(t, j.r.HeldAt, a.starts)

	b = book{alerts: map[id]*alert{}}
	b.update(time.Now().Add(48*time.Hour), j.r, gatekeeper.Fact{Body: gatekeeper.Noted{}})
	require.Empty(t, b.alerts, "what has ended long ago is not dug up")
}

func TestLongTextsAreClipped(t *testing.T) {
	j := opened(t, nil, "r1")
	j.tell(gatekeeper.Held{Reason: gatekeeper.HoldPerson, Says: strings.Repeat("ü", 2000) + "\xff"})
	b := book{alerts: map[id]*alert{}}
	b.update(time.Now(), j.r, gatekeeper.Fact{})
	summary := b.alerts[id{"r1", Held, critical}].annotations["summary"]
	require.LessOrEqual(t, len(summary), maxText)
	require.True(t, strings.HasSuffix(summary, "ü…"))
}

func TestConfigRefusesWhatCannotWork(t *testing.T) {
	one := []httpclient.Config{{URL: "http://am"}}
	require.NoError(t, Config{Alertmanagers: one, ExternalURL: "https://g.example/x/"}.Validate())
	for says, c := range map[string]Config{
		"too short":             {Alertmanagers: one, Resend: 1},
		"address of a website":  {Alertmanagers: one, ExternalURL: "gatekeeper"},
		"alertmanager 1: url":   {Alertmanagers: []httpclient.Config{{}}},
		"url holds credentials": {Alertmanagers: []httpclient.Config{{URL: "http://u:s3cret@am"}}},
	} {
		err := c.Validate()
		require.ErrorContains(t, err, says)
		require.NotContains(t, err.Error(), "s3cret")
		require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(err))
	}
}
