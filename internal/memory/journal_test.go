package memory

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/journaltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestJournal(t *testing.T) {
	journaltest.Run(t, func(*testing.T) journaltest.Setup {
		j := New()
		return journaltest.Setup{
			Journal:  j,
			TakeOver: func(*testing.T) gatekeeper.Journal { return j.Reopen() },
			Reopen:   func(*testing.T) gatekeeper.Journal { return j.Reopen() },
			Forget: func(*testing.T) {
				j.mu.Lock()
				defer j.mu.Unlock()
				j.forget(len(j.log))
			},
			Damage: func(_ *testing.T, hash string) {
				j.mu.Lock()
				defer j.mu.Unlock()
				j.files[hash][0] ^= 1
			},
			Backlog: History,
		}
	})
}

func TestJournalInBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := New()
		seq := j.Watch(t.Context(), -1)
		go func() {
			time.Sleep(time.Hour)
			fact := gatekeeper.Fact{At: time.Now(), Body: gatekeeper.Noted{Text: "an hour later"}}
			_ = j.Commit(t.Context(), gatekeeper.Entry{Release: "r", Facts: []gatekeeper.Fact{fact}})
		}()
		start := time.Now()
		for c, err := range seq {
			require.NoError(t, err)
			require.Equal(t, start.Add(time.Hour).UTC(), c.Fact.At)
			break
		}
		require.Equal(t, time.Hour, time.Since(start), "waiting for a change let the bubble's time pass")
	})
}

func TestRevisionIsNeverSplitByForgetting(t *testing.T) {
	j := New()
	facts := make([]gatekeeper.Fact, 300)
	for i := range facts {
		facts[i].Body = gatekeeper.Noted{Text: "x"}
	}
	for i := range 60 {
		require.NoError(t, j.Commit(t.Context(), gatekeeper.Entry{Release: "r", After: int64(i * 300), Facts: facts}))
		j.mu.Lock()
		if len(j.log) > 0 {
			require.Greater(t, j.log[0].revision, j.forgot)
		}
		j.mu.Unlock()
	}
	require.Positive(t, j.forgot)
}
