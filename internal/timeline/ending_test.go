package timeline

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

// When a pending rule will be acted on is told where that is known, and of no rule that is not acted on.
func TestStillPending(t *testing.T) {
	zero := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	pending := func(wait time.Duration) gatekeeper.Track {
		return gatekeeper.Track{For: gatekeeper.Duration(wait), Active: []gatekeeper.Active{{Identity: "a", ActiveAt: zero.Add(time.Minute)}}}
	}
	line := &Timeline{zero: zero, release: gatekeeper.Release{
		Tracks: map[string]gatekeeper.Track{
			"bad": pending(2 * time.Minute), "muted": pending(2 * time.Minute), "older": pending(0), "so before": pending(2 * time.Minute),
		},
		Muted: map[string]string{"muted": "known"}, Preexisting: map[string]bool{"so before": true},
	}}
	require.Equal(t, "; pending: bad since 1:00 (acted on at 3:00 if it stays so), muted since 1:00, older since 1:00, so before since 1:00", line.stillPending())
}
