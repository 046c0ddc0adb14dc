package flags

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
)

func audits(t *testing.T, p place) []gatekeeper.AuditRecord {
	t.Helper()
	page, err := p.Audits(t.Context(), 0, gatekeeper.MaxAuditPage)
	require.NoError(t, err)
	return page
}

// A change and its record are one: who, what was there before and what is there now.
func TestChangesAreRecorded(t *testing.T) {
	srv := server(t)
	s := open(t, srv)
	first := put(t, s, Flag{Key: "f"})
	second := first
	second.Enabled = true
	second = put(t, s, second)
	_, err := s.Put(t.Context(), first, alice)
	requireCode(t, gatekeeper.CodeConflict, err)
	_, err = s.Put(t.Context(), Flag{Key: "g", Percentage: 200}, alice)
	requireCode(t, gatekeeper.CodeInvalid, err)
	requireCode(t, gatekeeper.CodeNotFound, s.Delete(t.Context(), "none", 5, alice))
	require.NoError(t, s.Delete(t.Context(), "f", second.Version, alice))

	all := audits(t, srv)
	require.Len(t, all, 6)
	type change struct {
		what    gatekeeper.Deed
		subject string
		outcome string
	}
	for i, want := range []change{
		{gatekeeper.FlagDeleted, "f", gatekeeper.Accepted},
		{gatekeeper.FlagDeleted, "none", gatekeeper.Refused},
		{gatekeeper.FlagSet, "g", gatekeeper.Refused},
		{gatekeeper.FlagSet, "f", gatekeeper.Refused},
		{gatekeeper.FlagSet, "f", gatekeeper.Accepted},
		{gatekeeper.FlagSet, "f", gatekeeper.Accepted},
	} {
		require.Equal(t, want, change{all[i].What, all[i].Subject, all[i].Outcome}, "%d", i)
		require.Equal(t, alice, all[i].By)
	}
	var before, after Flag
	require.NoError(t, json.Unmarshal(all[4].Before, &before))
	require.NoError(t, json.Unmarshal(all[4].After, &after))
	require.Equal(t, first, before)
	require.True(t, after.Enabled)
	require.Empty(t, all[5].Before)
	require.Empty(t, all[0].After)
	require.Contains(t, all[3].Refusal, "changed meanwhile")

	large := Flag{Key: "large", Allow: make([]string, 1000)}
	for i := range large.Allow {
		large.Allow[i] = "somebody-with-a-long-name"
	}
	put(t, s, large)
	require.Regexp(t, `^\{"bytes":28\d\d\d,"sha256":"[0-9a-f]{64}"\}$`, string(audits(t, srv)[0].After))
}

// What a rollback does to a flag is recorded as its, though the release's journal says more.
func TestARollbackIsRecorded(t *testing.T) {
	srv := server(t)
	s := open(t, srv)
	put(t, s, Flag{Key: "f", Enabled: true, Percentage: 100})
	state, err := s.Serving().Read(t.Context(), "f")
	require.NoError(t, err)
	state.Enabled = false
	_, err = s.Serving().Write(t.Context(), "f", state)
	require.NoError(t, err)
	require.Equal(t, gatekeeper.By{Means: gatekeeper.MeansRollback}, audits(t, srv)[0].By)
}

// Whoever lost the journal, or can't write to it, changes no flag.
func TestNoChangeWithoutItsRecord(t *testing.T) {
	srv := server(t)
	s := open(t, srv)
	f := put(t, s, Flag{Key: "f"})
	f.Enabled = true
	s.journal = full{srv.Journal}
	_, err := s.Put(t.Context(), f, alice)
	requireCode(t, gatekeeper.CodeUnavailable, err)
	require.ErrorContains(t, err, "the record of who changes it can't be stored")
	requireCode(t, gatekeeper.CodeUnavailable, s.Delete(t.Context(), "f", f.Version, alice))

	s.journal = srv.Journal
	_, err = srv.OpenJournal(t.Context())
	require.NoError(t, err)
	_, err = s.Put(t.Context(), f, alice)
	require.ErrorIs(t, err, gatekeeper.ErrFenced)
	state, err := s.Serving().Read(t.Context(), "f")
	require.NoError(t, err)
	_, err = s.Serving().Write(t.Context(), "f", state)
	require.ErrorIs(t, err, actions.ErrNoEffect)
	got, err := s.Get(t.Context(), "f")
	require.NoError(t, err)
	require.False(t, got.Enabled)
	require.Len(t, audits(t, srv), 1)
}

// full is a journal that takes no records.
type full struct{ Journal }

func (full) AuditChange(context.Context, gatekeeper.AuditRecord, []clientv3.Cmp, []clientv3.Op, []clientv3.Op) (*clientv3.TxnResponse, error) {
	return nil, gatekeeper.Errorf(gatekeeper.CodeUnavailable, "make room", "the disk is full")
}
