package rules

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

// A rule that was pending at a restart is full at its instant, also where the journal is from before
// tracks told of their rule's `for`.
func TestWatchGoesOnFromAnOlderJournal(t *testing.T) {
	r := bound(t, Bundle{File: "groups: [{name: g, interval: 15s, rules: [{alert: A, expr: 'rate(req[1m]) > 0', for: 50s}]}]"}).Rules[0]
	since := minute(5)
	known := gatekeeper.Track{
		Rule: "A", Verdict: gatekeeper.Unhealthy, LastSlot: since.Add(15 * time.Second),
		Active: []gatekeeper.Active{{Identity: "a", ActiveAt: since}},
	}
	w := NewWatch(r, 0, known, gatekeeper.Reading{})
	require.False(t, w.Full())
	for now := since.Add(30 * time.Second); ; now = now.Add(5 * time.Second) {
		q, due := w.Ask(now)
		if !due {
			continue
		}
		w.Take(q, []gatekeeper.Reading{{At: q.At, Verdict: gatekeeper.Unhealthy, Active: []string{"a"}}})
		require.Equal(t, now.Equal(since.Add(50*time.Second)), q.Extra)
		if w.Full() {
			require.Equal(t, since.Add(50*time.Second), now)
			break
		}
	}
}
