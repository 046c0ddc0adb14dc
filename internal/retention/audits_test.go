package retention

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/memory"
)

// deeds writes an audit record for each age in days.
func deeds(t *testing.T, j gatekeeper.Journal, what gatekeeper.Deed, days ...float64) {
	t.Helper()
	for _, d := range days {
		_, err := j.Audit(t.Context(), gatekeeper.AuditRecord{At: ago(d), What: what, Subject: "s", Outcome: gatekeeper.Accepted})
		require.NoError(t, err)
	}
}

// left gives the positions of the audit records, newest first.
func left(t *testing.T, j gatekeeper.Journal) (seqs []int64) {
	t.Helper()
	page, err := j.Audits(t.Context(), 0, gatekeeper.MaxAuditPage)
	require.NoError(t, err)
	for _, r := range page {
		seqs = append(seqs, r.Seq)
	}
	return seqs
}

func TestAuditRecordsGoByAge(t *testing.T) {
	j := memory.New()
	prune := func(days float64, want int) {
		t.Helper()
		r, err := Prune(t.Context(), j, ago(days), false)
		require.NoError(t, err)
		require.Equal(t, want, r.Audits)
	}
	prune(1, 0)
	deeds(t, j, gatekeeper.FlagSet, 100, 99, 98, 50, 40, 30)
	r, err := Prune(t.Context(), j, ago(90), true)
	require.NoError(t, err)
	require.Zero(t, r.Audits)
	require.Len(t, left(t, j), 6)
	prune(90, 3)
	require.Equal(t, []int64{6, 5, 4}, left(t, j))
	prune(90, 0)
	prune(45, 1)
	prune(1, 2)
	require.Empty(t, left(t, j))
	deeds(t, j, gatekeeper.FlagSet, 0)
	prune(1, 0)
	require.Equal(t, []int64{7}, left(t, j))
}

func TestTheTurnByWhichTheKillSwitchIsOnStays(t *testing.T) {
	j := memory.New()
	deeds(t, j, gatekeeper.KillSwitchOn, 100)
	deeds(t, j, gatekeeper.KillSwitchOff, 99)
	deeds(t, j, gatekeeper.KillSwitchOn, 98)
	deeds(t, j, gatekeeper.FlagSet, 97)
	_, err := Prune(t.Context(), j, ago(90), false)
	require.NoError(t, err)
	require.Equal(t, []int64{4, 3}, left(t, j))
	deeds(t, j, gatekeeper.KillSwitchOff, 1)
	_, err = Prune(t.Context(), j, ago(90), false)
	require.NoError(t, err)
	require.Equal(t, []int64{5}, left(t, j))
}

// Two turned the switch at once: the record of turning it off was written, but the switch stayed on.
func TestTheLatestTurnCountsNotTheLastWritten(t *testing.T) {
	j := memory.New()
	deeds(t, j, gatekeeper.KillSwitchOn, 98)
	deeds(t, j, gatekeeper.KillSwitchOff, 99)
	_, err := Prune(t.Context(), j, ago(90), false)
	require.NoError(t, err)
	require.Equal(t, []int64{2, 1}, left(t, j))
}

func TestALateTurnAtAPagesBorder(t *testing.T) {
	j := memory.New()
	deeds(t, j, gatekeeper.KillSwitchOff, 98)
	deeds(t, j, gatekeeper.KillSwitchOn, 99)
	deeds(t, j, gatekeeper.FlagSet, slices.Repeat([]float64{97}, gatekeeper.MaxAuditPage-1)...)
	_, err := Prune(t.Context(), j, ago(90), false)
	require.NoError(t, err)
	require.Empty(t, left(t, j))
}

// unread is a journal whose audit records can't be read after the first call.
type unread struct {
	*memory.Journal
	calls *int
}

func (u unread) Audits(ctx context.Context, before int64, limit int) ([]gatekeeper.AuditRecord, error) {
	if *u.calls++; *u.calls > 2 {
		return nil, errors.New("the store does not answer")
	}
	return u.Journal.Audits(ctx, before, limit)
}

func TestDoubtRemovesNoAuditRecords(t *testing.T) {
	j := memory.New()
	deeds(t, j, gatekeeper.FlagSet, 100, 99, 98, 97)
	_, err := Prune(t.Context(), unread{j, new(int)}, time.Now(), false)
	require.ErrorContains(t, err, "does not answer")
	require.Len(t, left(t, j), 4)
}
