package journaltest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

// deed is an audit record by ann.
func deed(subject string) gatekeeper.AuditRecord {
	return gatekeeper.AuditRecord{
		At: epoch, By: gatekeeper.By{Actor: "ann", Means: gatekeeper.MeansToken, Why: "because"}, What: gatekeeper.FlagSet, Subject: subject,
		Before: json.RawMessage(`{"a":1}`), After: json.RawMessage(`{"a":2}`), Outcome: gatekeeper.Accepted,
	}
}

func audit(t *testing.T, j gatekeeper.Journal, r gatekeeper.AuditRecord) gatekeeper.AuditRecord {
	t.Helper()
	r, err := j.Audit(t.Context(), r)
	require.NoError(t, err)
	return r
}

func audits(t *testing.T, j gatekeeper.Journal, before int64, limit int) []gatekeeper.AuditRecord {
	t.Helper()
	page, err := j.Audits(t.Context(), before, limit)
	require.NoError(t, err)
	return page
}

func subjects(page []gatekeeper.AuditRecord) (all []string) {
	for _, r := range page {
		all = append(all, r.Subject)
	}
	return all
}

func auditAppends(t *testing.T, s Setup) {
	j := s.Journal
	require.Empty(t, audits(t, j, 0, 10), "a store that has none yet")
	first := deed("a")
	first.Seq, first.At = 99, first.At.In(time.FixedZone("east", 7200))
	want := deed("a")
	want.Seq = 1
	require.Equal(t, want, audit(t, j, first))
	refused := gatekeeper.AuditRecord{At: epoch, What: gatekeeper.Reloaded, Subject: "b"}.Refuse(errors.New("no"))
	refused = audit(t, j, refused)
	require.EqualValues(t, 2, refused.Seq)
	got := audits(t, j, 0, 10)
	require.Equal(t, []gatekeeper.AuditRecord{refused, want}, got)
	got[1].After[0] = 'X'
	require.Equal(t, want, audits(t, j, 2, 1)[0], "a reader changed the record")
}

func auditPages(t *testing.T, s Setup) {
	var want []string
	for i := range 25 {
		audit(t, s.Journal, deed(fmt.Sprint(i)))
		want = append(want, fmt.Sprint(i))
	}
	slices.Reverse(want)
	var got []string
	before := int64(0)
	for {
		page := audits(t, s.Journal, before, 10)
		got = append(got, subjects(page)...)
		if len(page) < 10 {
			break
		}
		before = page[len(page)-1].Seq
	}
	require.Equal(t, want, got)
	require.Empty(t, audits(t, s.Journal, 1, 10))
	require.Equal(t, []string{"24"}, subjects(audits(t, s.Journal, 1000, 1)), "before one that is not there yet")
}

func auditRefuses(t *testing.T, s Setup) {
	j := s.Journal
	for name, change := range map[string]func(*gatekeeper.AuditRecord){
		"no deed":                   func(r *gatekeeper.AuditRecord) { r.What = "" },
		"no instant":                func(r *gatekeeper.AuditRecord) { r.At = time.Time{} },
		"no outcome":                func(r *gatekeeper.AuditRecord) { r.Outcome = "" },
		"accepted, with a refusal":  func(r *gatekeeper.AuditRecord) { r.Refusal = "no" },
		"refused, without a reason": func(r *gatekeeper.AuditRecord) { r.Outcome = gatekeeper.Refused },
		"a large state": func(r *gatekeeper.AuditRecord) {
			r.After = []byte(`"` + strings.Repeat("x", gatekeeper.MaxAuditState) + `"`)
		},
	} {
		r := deed("a")
		change(&r)
		_, err := j.Audit(t.Context(), r)
		require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(err), "%s: %v", name, err)
	}
	require.Empty(t, audits(t, j, 0, 10))
	for _, limit := range []int{-1, 0, gatekeeper.MaxAuditPage + 1} {
		_, err := j.Audits(t.Context(), 0, limit)
		require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(err), "limit %d", limit)
	}
	long := deed(strings.Repeat("ä", 5000) + "\xff")
	long.Why = "not UTF-8: \xff"
	kept := audit(t, j, long)
	require.Len(t, []rune(kept.Subject), 1000)
	require.True(t, strings.HasSuffix(kept.Subject, "ä…"))
	require.Equal(t, "not UTF-8: \uFFFD", kept.Why)
}

// auditApart holds releases and what is seen of them to be as if there were no audit records.
func auditApart(t *testing.T, s Setup) {
	j := s.Journal
	seq := j.Watch(t.Context(), -1)
	audit(t, j, deed("a"))
	commit(t, j, entry("r1", 0, opened("v1")))
	audit(t, j, deed("b"))
	require.Equal(t, []string{"r1"}, list(t, j, gatekeeper.Listing{Limit: 10}))
	for c, err := range seq {
		require.NoError(t, err)
		require.Equal(t, "r1", c.Release, "an audit record was told as a fact")
		break
	}
}

func auditConcurrent(t *testing.T, s Setup) {
	const writers, writes = 8, 5
	var wg sync.WaitGroup
	errs := make([]error, writers)
	for w := range writers {
		wg.Go(func() {
			for i := range writes {
				_, err := s.Journal.Audit(t.Context(), deed(fmt.Sprintf("%d.%d", w, i)))
				errs[w] = errors.Join(errs[w], err)
			}
		})
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	got := subjects(audits(t, s.Journal, 0, 200))
	require.Len(t, got, writers*writes)
	slices.Sort(got)
	require.Len(t, slices.Compact(got), writers*writes, "a record was lost")
}

func auditSurvives(t *testing.T, s Setup) {
	audit(t, s.Journal, deed("a"))
	owner := s.TakeOver(t)
	_, err := s.Journal.Audit(t.Context(), deed("from the past"))
	require.ErrorIs(t, err, gatekeeper.ErrFenced)
	audit(t, owner, deed("b"))
	require.Equal(t, []string{"b", "a"}, subjects(audits(t, s.Journal, 0, 10)), "a deposed owner may read")
	j := s.Reopen(t)
	require.EqualValues(t, 3, audit(t, j, deed("c")).Seq)
	require.Equal(t, []string{"c", "b", "a"}, subjects(audits(t, j, 0, 10)))
}
