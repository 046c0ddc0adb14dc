package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/retention"
)

// stored is a store whose snapshots end with an error, or can't begin.
type stored struct {
	text   string
	breaks error
	err    error
	closed bool
	before time.Time // of the last pruning
}

func (s *stored) Prune(_ context.Context, before time.Time, dryRun bool) (retention.Report, error) {
	s.before = before
	return retention.Report{Before: before, DryRun: dryRun, Releases: []retention.Removed{{ID: "old"}}}, s.err
}

func (s *stored) Snapshot(context.Context) (io.ReadCloser, error) {
	if s.err != nil {
		return nil, s.err
	}
	return s, nil
}

func (s *stored) Read(p []byte) (int, error) {
	n := copy(p, s.text)
	s.text = s.text[n:]
	if s.text == "" && n == 0 {
		return 0, s.breaks
	}
	return n, nil
}

func (s *stored) Close() error {
	s.closed = true
	return nil
}

func TestSnapshotOfTheStore(t *testing.T) {
	long := strings.Repeat("0123456789", 100_000)
	store := &stored{text: long, breaks: io.EOF}
	f := serve(t, Config{Engine: newScripted(), Store: store})
	status, body := f.do("GET", "/api/v1/store/snapshot", "")
	require.Equal(t, 200, status)
	require.Equal(t, long, body)
	require.True(t, store.closed)

	*store = stored{err: gatekeeper.Errorf(gatekeeper.CodeRefused, "use etcdctl", "it is another's")}
	p := f.problem("GET", "/api/v1/store/snapshot", "")
	require.Equal(t, "use etcdctl", p.Hint)
	require.Equal(t, 403, p.Status)
}

// Half a snapshot must not look like a whole one.
func TestSnapshotThatBreaksOff(t *testing.T) {
	store := &stored{text: "half of it", breaks: errors.New("the disk failed")}
	f := serve(t, Config{Engine: newScripted(), Store: store})
	res, err := http.Get(f.url + "/api/v1/store/snapshot")
	if err == nil {
		defer res.Body.Close()
		_, err = io.ReadAll(res.Body)
	}
	require.Error(t, err)
}

func TestPruneTheStore(t *testing.T) {
	store := &stored{}
	f := serve(t, Config{Engine: newScripted(), Store: store})
	began := time.Now()
	status, body := f.do("POST", "/api/v1/store/prune", `{"older_than": "48h", "dry_run": true}`)
	require.Equal(t, 200, status, body)
	require.Contains(t, body, `"dry_run":true`)
	require.Contains(t, body, `"id":"old"`)
	require.False(t, store.before.Before(began.Add(-48*time.Hour)))
	require.False(t, store.before.After(time.Now().Add(-48*time.Hour)))

	*store = stored{}
	for _, body := range []string{`{"older_than": "23h"}`, `{"older_than": "-1h"}`, `{}`} {
		require.Equal(t, 422, f.problem("POST", "/api/v1/store/prune", body).Status, body)
	}
	require.Zero(t, store.before, "nothing was pruned")
	some, err := NewToken("some", "some-secret-some-secret", []Scope{ScopeOperate})
	require.NoError(t, err)
	some.Services = gatekeeper.Globs{"shop"}
	confined := serve(t, Config{Engine: newScripted(), Store: store, Tokens: append(tokens(t), some)})
	for secret, says := range map[string]string{ciSecret: "scope operate", "some-secret-some-secret": "concerns all of them"} {
		p := confined.with("Authorization", "Bearer "+secret).problem("POST", "/api/v1/store/prune", `{"older_than": "48h"}`)
		require.Equal(t, 403, p.Status)
		require.Contains(t, p.Detail, says)
	}
	require.Zero(t, store.before, "nothing was pruned")
	store.err = gatekeeper.Errorf(gatekeeper.CodeUnavailable, "make room", "the disk is full")
	require.Equal(t, 503, f.problem("POST", "/api/v1/store/prune", `{"older_than": "48h"}`).Status)
}
