package web

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

// When a bad rule will be acted on is told where its `for` is known; a track of an older journal has none.
func TestStandTellsWhenOnlyWhereItIsKnown(t *testing.T) {
	since := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	watching := func(wait time.Duration) standing {
		return stand(gatekeeper.Release{
			State: gatekeeper.Watching, WindowEnd: since.Add(time.Hour),
			Tracks: map[string]gatekeeper.Track{"R": {
				Rule: "R", For: gatekeeper.Duration(wait), Verdict: gatekeeper.Unhealthy,
				Active: []gatekeeper.Active{{Identity: "a", ActiveAt: since, Unanswered: gatekeeper.Duration(time.Second)}},
			}},
		})
	}
	s := watching(time.Minute)
	require.Equal(t, "If it stays so, it is acted on", s.Next)
	require.Equal(t, since.Add(61*time.Second), s.Until)
	require.Equal(t, "1m", s.Rules[0].For)

	s = watching(0)
	require.Equal(t, "The window ends", s.Next)
	require.Equal(t, since.Add(time.Hour), s.Until)
	require.Equal(t, since, s.Rules[0].Since)
	require.Zero(t, s.Rules[0].Due)
}
