package api

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

// events reads a stream's next events as "id name".
type events struct {
	t *testing.T
	s *bufio.Scanner
}

func follow(f face, path string) events {
	f.t.Helper()
	res := f.send("GET", path, "")
	require.Equal(f.t, http.StatusOK, res.StatusCode)
	require.Equal(f.t, "text/event-stream", res.Header.Get("Content-Type"))
	return events{f.t, bufio.NewScanner(res.Body)}
}

// next gives the next event's id and name, "" at the end of the stream.
func (e events) next() string {
	e.t.Helper()
	var id, name string
	for e.s.Scan() {
		key, value, _ := strings.Cut(e.s.Text(), ": ")
		switch key {
		case "id":
			id = value
		case "event":
			name = value
		case "data":
			require.NotEmpty(e.t, value)
		case "":
			if name != "" {
				return id + " " + name
			}
		}
	}
	require.NoError(e.t, e.s.Err())
	return ""
}

func TestFollowRelease(t *testing.T) {
	e := newScripted()
	f := serve(t, Config{Engine: e})
	e.add(t, "r", 0, gatekeeper.Opened{Service: "s", Version: "1"}, gatekeeper.Prepared{})
	live := follow(f, "/api/v1/releases/r/events")
	require.Equal(t, "1 fact", live.next())
	require.Equal(t, "2 fact", live.next())
	e.add(t, "other", 0, gatekeeper.Opened{Service: "s", Version: "1"})
	e.add(t, "r", 2, gatekeeper.Deployed{How: "pipeline"}, gatekeeper.Noted{Text: "two lines\ndo not break an event"})
	require.Equal(t, "3 fact", live.next())
	require.Equal(t, "4 fact", live.next())
	resumed := follow(f.with("Last-Event-ID", "3"), "/api/v1/releases/r/events")
	e.add(t, "r", 4, gatekeeper.Closed{Outcome: gatekeeper.OutcomePassed})
	require.Equal(t, "5 fact", live.next())
	require.Equal(t, "", live.next(), "the stream ends after the closed fact")
	require.Equal(t, "4 fact", resumed.next())
	require.Equal(t, "5 fact", resumed.next())
	require.Equal(t, "", resumed.next())

	require.Equal(t, 404, f.problem("GET", "/api/v1/releases/x/events", "").Status)
	require.Equal(t, 422, f.with("Last-Event-ID", "x").problem("GET", "/api/v1/releases/r/events", "").Status)
}

func TestFollowAll(t *testing.T) {
	e := newScripted()
	f := serve(t, Config{Engine: e})
	e.add(t, "a", 0, gatekeeper.Opened{Service: "s", Version: "1"})
	all := follow(f, "/api/v1/events?after=0")
	require.Equal(t, "1 change", all.next())
	e.add(t, "b", 0, gatekeeper.Opened{Service: "s", Version: "1"}, gatekeeper.Noted{Text: "same revision"})
	require.Equal(t, "2 change", all.next())
	require.Equal(t, "2 change", all.next())
	resumed := follow(f.with("Last-Event-ID", "2"), "/api/v1/events")
	require.Equal(t, "2 change", resumed.next(), "the last revision's changes come again")
	require.Equal(t, "2 change", resumed.next())

	e.watchErr = fmt.Errorf("revision 7: %w", gatekeeper.ErrGone)
	require.Equal(t, http.StatusGone, f.problem("GET", "/api/v1/events?after=7", "").Status)
}

func TestStreamsEndWithTheServer(t *testing.T) {
	e := newScripted()
	ctx, stop := context.WithCancel(t.Context())
	h, err := New(Config{Engine: e, Streams: ctx})
	require.NoError(t, err)
	f := serveHandler(t, h)
	e.add(t, "r", 0, gatekeeper.Opened{Service: "s", Version: "1"})
	one, all := follow(f, "/api/v1/releases/r/events"), follow(f, "/api/v1/events?after=0")
	require.Equal(t, "1 fact", one.next())
	require.Equal(t, "1 change", all.next())
	stop()
	require.Equal(t, "", one.next())
	require.Equal(t, "", all.next())
}

func TestStreamsAreLimited(t *testing.T) {
	s := &server{streams: make(chan struct{}, 1)}
	release, err := s.take()
	require.NoError(t, err)
	_, err = s.take()
	require.ErrorContains(t, err, "open already")
	release()
	_, err = s.take()
	require.NoError(t, err)
}

// A token for some services follows everything that happens to these, and nothing else.
func TestFollowAllForServices(t *testing.T) {
	e := newScripted()
	all := tokens(t)
	all[0].Services = gatekeeper.Globs{"shop-*"}
	f := serve(t, Config{Engine: e, Tokens: all})
	e.add(t, "mine", 0, gatekeeper.Opened{Service: "shop-eu", Version: "1"})
	e.add(t, "theirs", 0, gatekeeper.Opened{Service: "billing", Version: "1"})
	res := f.with("Authorization", "Bearer "+ciSecret).send("GET", "/api/v1/events", "")
	lines := bufio.NewScanner(res.Body)
	e.add(t, "theirs", 1, gatekeeper.Prepared{})
	e.add(t, "theirs2", 0, gatekeeper.Opened{Service: "billing", Version: "1"})
	e.add(t, "mine", 1, gatekeeper.Prepared{})
	for lines.Scan() {
		require.NotContains(t, lines.Text(), "theirs")
		if strings.Contains(lines.Text(), `"release":"mine"`) {
			return
		}
	}
	t.Fatal("the stream ended")
}

// A stream that tells of the past passes over a release that was removed meanwhile, and goes on.
func TestFollowAllOverARemovedRelease(t *testing.T) {
	e := newScripted()
	all := tokens(t)
	all[0].Services = gatekeeper.Globs{"shop-*"}
	f := serve(t, Config{Engine: e, Tokens: all})
	e.add(t, "old", 0, gatekeeper.Opened{Service: "shop-eu", Version: "1"})
	e.add(t, "old", 1, gatekeeper.Closed{Outcome: gatekeeper.OutcomeAborted})
	e.add(t, "new", 0, gatekeeper.Opened{Service: "shop-eu", Version: "2"})
	require.NoError(t, e.Remove(t.Context(), "old"))
	res := f.with("Authorization", "Bearer "+ciSecret).send("GET", "/api/v1/events?after=1", "")
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		if strings.Contains(lines.Text(), `"release":"new"`) {
			return
		}
	}
	t.Fatal("the stream ended")
}
