package notify

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

type album struct{}

func (album) Address(of Moment, at time.Time) string {
	return "https://gatekeeper.example/" + of.Rule + "?" + at.Format(time.RFC3339)
}

func (album) Draw(_ context.Context, of Moment) ([]byte, error) { return []byte(of.Rule), nil }

// The picture shows the rule that is the cause, as it was when the news came.
func TestPictureShowsTheCause(t *testing.T) {
	external := gatekeeper.Breach{Rule: "Down{}", External: true}
	blind := gatekeeper.Held{Reason: gatekeeper.HoldBlind, Blind: []string{"Slow"}, Says: "no data"}
	for name, c := range map[string]struct {
		facts []gatekeeper.Body
		rule  string
	}{
		"nothing is wrong": {nil, ""},
		"held":             {[]gatekeeper.Body{harm}, "HighErrorRate"},
		"blind":            {[]gatekeeper.Body{blind}, "Slow"},
		"decided":          {[]gatekeeper.Body{decided}, "HighErrorRate"},
		"a person":         {[]gatekeeper.Body{gatekeeper.Decided{Cause: gatekeeper.CausePerson}}, ""},
		"breached":         {[]gatekeeper.Body{gatekeeper.Breached{Breaches: []gatekeeper.Breach{external, breach}}}, "HighErrorRate"},
		"told by others":   {[]gatekeeper.Body{gatekeeper.Breached{Breaches: []gatekeeper.Breach{external}}}, ""},
		"over":             {[]gatekeeper.Body{decided, ending(gatekeeper.OutcomeRolledBack)}, "HighErrorRate"},
	} {
		r, f := walk(t, c.facts...)
		p := Channel{Pictures: album{}}.Picture(r, f)
		if c.rule == "" {
			require.Nil(t, p, name)
			continue
		}
		require.Equal(t, Moment{Release: "r/1", Seq: f.Seq, Rule: c.rule}, p.Moment, name)
		require.Equal(t, "https://gatekeeper.example/"+c.rule+"?"+f.At.Format(time.RFC3339), p.URL, name)
		png, err := p.PNG(t.Context())
		require.NoError(t, err)
		require.Equal(t, c.rule, string(png))
		require.Nil(t, Channel{}.Picture(r, f), "nobody makes pictures")
	}
}

func TestPublic(t *testing.T) {
	for address, public := range map[string]bool{
		"": false, "http://localhost:9095/p": false, "http://127.0.0.1/p": false, "http://[::1]:9095/p": false, "https://gatekeeper.example/p": true, "http://10.0.0.7/p": true,
	} {
		require.Equal(t, public, (&Picture{URL: address}).Public(), address)
	}
}
