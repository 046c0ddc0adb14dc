package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

// filled is an engine with n audit records, a minute apart, by ann and bob in turn.
func filled(t *testing.T, n int) *scripted {
	e := newScripted()
	for i := range n {
		by := gatekeeper.By{Actor: "ci (ann)", Means: gatekeeper.MeansToken}
		if i%2 == 1 {
			by.Actor = "bob"
		}
		require.NoError(t, e.Audit(t.Context(), gatekeeper.AuditRecord{
			At: time.Unix(int64(i)*60, 0), By: by, What: gatekeeper.FlagSet, Subject: fmt.Sprint(i), Outcome: gatekeeper.Accepted,
		}))
	}
	return e
}

func (f face) audit(query url.Values) AuditList {
	f.t.Helper()
	status, body := f.do("GET", "/api/v1/audit?"+query.Encode(), "")
	require.Equal(f.t, 200, status, body)
	var page AuditList
	require.NoError(f.t, json.Unmarshal([]byte(body), &page))
	return page
}

func TestAudit(t *testing.T) {
	f := serve(t, Config{Engine: filled(t, 11)})
	walk := func(limit string, query url.Values) (subjects string) {
		query.Set("limit", limit)
		for {
			page := f.audit(query)
			for _, r := range page.Records {
				subjects += r.Subject + " "
			}
			if page.Next == 0 {
				return subjects
			}
			query.Set("after", fmt.Sprint(page.Next))
		}
	}
	at := func(minute int64) string { return time.Unix(minute*60, 0).UTC().Format(time.RFC3339) }
	for _, limit := range []string{"1", "3", "5", "200"} {
		require.Equal(t, "10 9 8 7 6 5 4 3 2 1 0 ", walk(limit, url.Values{}))
		require.Equal(t, "9 7 5 3 1 ", walk(limit, url.Values{"actor": {"bob"}}))
		require.Equal(t, "6 4 2 ", walk(limit, url.Values{"actor": {"ann"}, "since": {at(2)}, "until": {at(7)}}))
		require.Equal(t, "6 4 2 ", walk(limit, url.Values{"actor": {"ci"}, "since": {at(2)}, "until": {at(7)}}))
		require.Empty(t, walk(limit, url.Values{"actor": {"c"}}))
		require.Empty(t, walk(limit, url.Values{"since": {at(11)}}))
	}
	for _, bad := range []string{"limit=0", "limit=201", "after=0", "since=yesterday", "who=bob"} {
		require.Equal(t, 422, f.problem("GET", "/api/v1/audit?"+bad, "").Status, bad)
	}
	_, body := serve(t, Config{Engine: newScripted()}).do("GET", "/api/v1/audit", "")
	require.JSONEq(t, `{"records":[]}`, body)
}

// A record that could only be written late stands before younger ones, and hides none of them.
func TestAuditSinceLooksBehindALateRecord(t *testing.T) {
	e := filled(t, 11)
	require.NoError(t, e.Audit(t.Context(), gatekeeper.AuditRecord{
		At: time.Unix(3*60, 0), What: gatekeeper.KillSwitchOn, Subject: "late", Outcome: gatekeeper.Accepted,
	}))
	f := serve(t, Config{Engine: e})
	page := f.audit(url.Values{"since": {time.Unix(9*60, 0).UTC().Format(time.RFC3339)}})
	require.Len(t, page.Records, 2)
	require.Equal(t, "10", page.Records[0].Subject)
	require.Zero(t, page.Next)
	f = serve(t, Config{Engine: filled(t, maxLooked+10)})
	page = f.audit(url.Values{"since": {time.Unix(maxLooked*60, 0).UTC().Format(time.RFC3339)}})
	require.Len(t, page.Records, 10)
	require.Zero(t, page.Next, "a whole page is too old: what is before it is older")
}

// One call looks at so many records and no more; who asks goes on from where it ended.
func TestAuditLooksAtSoMany(t *testing.T) {
	f := serve(t, Config{Engine: filled(t, maxLooked+10)})
	page := f.audit(url.Values{"actor": {"nobody"}})
	require.Empty(t, page.Records)
	require.EqualValues(t, 11, page.Next)
	require.Equal(t, AuditList{Records: []gatekeeper.AuditRecord{}}, f.audit(url.Values{"actor": {"nobody"}, "after": {"11"}}))
}

// Who operates everything reads what was done, and nobody else.
func TestAuditNeedsOperate(t *testing.T) {
	some, err := NewToken("some", "some-secret-some-secret", []Scope{ScopeOperate})
	require.NoError(t, err)
	some.Services = gatekeeper.Globs{"shop"}
	f := serve(t, Config{Engine: filled(t, 1), Tokens: append(tokens(t), some)})
	require.Equal(t, 401, f.problem("GET", "/api/v1/audit", "").Status)
	require.Equal(t, 403, f.with("Authorization", "Bearer "+ciSecret).problem("GET", "/api/v1/audit", "").Status)
	require.Equal(t, 403, f.with("Authorization", "Bearer some-secret-some-secret").problem("GET", "/api/v1/audit", "").Status)
	require.Len(t, f.with("Authorization", "Bearer "+opsSecret).audit(nil).Records, 1)
}

// By what means somebody is known is told as it was.
func TestMeans(t *testing.T) {
	e := newScripted()
	known := func(r *http.Request) (string, bool) { return "alice", r.Header.Get("X-Test-Client") != "" }
	f := serve(t, Config{Engine: e, Known: known, Store: &stored{}})
	for _, test := range []struct {
		means gatekeeper.Means
		face  face
		actor string
	}{
		{gatekeeper.MeansLocal, f, "local"},
		{gatekeeper.MeansCertificate, f.with("X-Test-Client", "1"), "alice"},
		{gatekeeper.MeansPassword, f.with("X-Test-Client", "1").with("Authorization", "Basic YWxpY2U6eA=="), "alice"},
		{gatekeeper.MeansToken, serve(t, Config{Engine: e, Tokens: tokens(t), Store: &stored{}}).with("Authorization", "Bearer "+opsSecret), "ops"},
	} {
		status, body := test.face.do("POST", "/api/v1/store/prune", `{"older_than":"24h"}`)
		require.Equal(t, 200, status, body)
		page, err := e.Audits(t.Context(), 0, 1)
		require.NoError(t, err)
		require.Equal(t, gatekeeper.By{Actor: test.actor, Means: test.means}, page[0].By)
		require.Equal(t, gatekeeper.StorePruned, page[0].What)
	}
	status, _ := f.do("POST", "/api/v1/store/prune", `{"older_than":"24h","dry_run":true}`)
	require.Equal(t, 200, status)
	page, err := e.Audits(t.Context(), 0, 10)
	require.NoError(t, err)
	require.Len(t, page, 4, "a dry run changes nothing")
}
