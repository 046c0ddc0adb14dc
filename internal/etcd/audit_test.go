package etcd

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/gatekeeper-engine/gatekeeper"
)

func deed(subject string) gatekeeper.AuditRecord {
	return gatekeeper.AuditRecord{At: time.Now(), By: gatekeeper.By{Actor: "ann"}, What: gatekeeper.FlagSet, Subject: subject, Outcome: gatekeeper.Accepted}
}

// A record and its change are one transaction: both, or neither where a condition does not hold.
func TestAuditChange(t *testing.T) {
	s := start(t, t.TempDir())
	j := openIn(t, s)
	const key = root + "flags/a"
	at := func(revision int64) []clientv3.Cmp {
		return []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(key), "=", revision)}
	}
	change := func(value string, revision int64) *clientv3.TxnResponse {
		resp, err := j.AuditChange(t.Context(), deed(value), at(revision), []clientv3.Op{clientv3.OpPut(key, value)}, []clientv3.Op{clientv3.OpGet(key)})
		require.NoError(t, err)
		return resp
	}
	first := change("one", 0)
	require.True(t, first.Succeeded)
	again := change("two", 0)
	require.False(t, again.Succeeded)
	require.Equal(t, "one", string(again.Responses[0].GetResponseRange().Kvs[0].Value))
	require.True(t, change("three", first.Header.Revision).Succeeded)
	page, err := j.Audits(t.Context(), 0, 10)
	require.NoError(t, err)
	require.Equal(t, []string{"three", "one"}, []string{page[0].Subject, page[1].Subject})

	next := openIn(t, s)
	_, err = j.AuditChange(t.Context(), deed("late"), nil, []clientv3.Op{clientv3.OpDelete(key)}, nil)
	require.ErrorIs(t, err, gatekeeper.ErrFenced)
	_, err = next.Audit(t.Context(), deed("four"))
	require.NoError(t, err)
	got, err := s.Client().Get(t.Context(), key)
	require.NoError(t, err)
	require.Equal(t, "three", string(got.Kvs[0].Value))
}

// No record can be changed or taken out without being noticed, but for the oldest, which go with age.
func TestVerifyChecksAuditRecords(t *testing.T) {
	s := start(t, t.TempDir())
	j, c := openIn(t, s), s.Client()
	for i := range 3 {
		_, err := j.Audit(t.Context(), deed(fmt.Sprint(i)))
		require.NoError(t, err)
	}
	verify := func() Report {
		report, err := Verify(t.Context(), c, nil)
		require.NoError(t, err)
		return report
	}
	require.Equal(t, 3, verify().Audits)
	require.Empty(t, verify().Faults)
	for _, key := range []string{auditKey(1), auditKey(2), auditKey(3), auditedKey} {
		resp, err := c.Get(t.Context(), key)
		require.NoError(t, err)
		was := resp.Kvs[0].Value
		put := func(value []byte) {
			_, err := c.Put(t.Context(), key, string(value))
			require.NoError(t, err)
		}
		for at := range was {
			value := append([]byte(nil), was...)
			value[at] ^= 1
			put(value)
			require.NotEmpty(t, verify().Faults, "%s, byte %d", key, at)
		}
		_, err = j.Audits(t.Context(), 0, 10)
		require.Equal(t, gatekeeper.CodeInternal, gatekeeper.CodeOf(err))
		put(was)

		_, err = c.Delete(t.Context(), key)
		require.NoError(t, err)
		if key == auditKey(1) {
			require.Empty(t, verify().Faults, "the oldest may be removed")
			page, err := j.Audits(t.Context(), 0, 10)
			require.NoError(t, err)
			require.Len(t, page, 2)
		} else {
			require.NotEmpty(t, verify().Faults, "%s is lost", key)
		}
		if key == auditKey(2) {
			_, err = j.Audits(t.Context(), 0, 10)
			require.ErrorContains(t, err, "is not there, but older ones are")
		}
		put(was)
	}
	require.Empty(t, verify().Faults)
	_, err := c.Put(t.Context(), auditRoot+"x", "y")
	require.NoError(t, err)
	require.NotEmpty(t, verify().Faults)
}
