package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wire is a daemon without a network: each request gets the next answer.
type wire struct {
	answers []func(*http.Request) (*http.Response, error)
	seen    []*http.Request
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	w.seen = append(w.seen, r)
	n := min(len(w.seen), len(w.answers))
	return w.answers[n-1](r)
}

func status(code int, body string) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: code, Status: http.StatusText(code), Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
	}
}

func refused(*http.Request) (*http.Response, error) {
	return nil, &net.OpError{Op: "dial", Err: errors.New("connection refused")}
}

func cut(*http.Request) (*http.Response, error) {
	return nil, &net.OpError{Op: "read", Err: errors.New("connection reset")}
}

func over(t *testing.T, answers ...func(*http.Request) (*http.Response, error)) (*Client, *wire) {
	t.Helper()
	w := &wire{answers: answers}
	c, err := New("http://gatekeeper.test/prefix", "secret\n", &http.Client{Transport: w})
	require.NoError(t, err)
	return c, w
}

func TestCallsCarryTokenAndPath(t *testing.T) {
	c, w := over(t, status(200, `{"id":"a/b","state":"watching"}`))
	r, err := c.Release(t.Context(), "a/b")
	require.NoError(t, err)
	require.Equal(t, "a/b", r.ID)
	require.Equal(t, gatekeeper.Watching, r.State)
	require.Equal(t, "http://gatekeeper.test/prefix/api/v1/releases/a%2Fb", w.seen[0].URL.String())
	require.Equal(t, "Bearer secret", w.seen[0].Header.Get("Authorization"))
}

func TestFailureIsToldFromUnreachable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, w := over(t, status(422, `{"status":422,"code":"invalid","detail":"the health file has 1 problem","hint":"see the docs","errors":[{"file":"h.yml","line":3,"column":7,"message":"unknown key","hint":"did you mean expr?"}]}`))
		_, err := c.Open(t.Context(), api.OpenBody{ID: "r"})
		require.EqualError(t, err, "the health file has 1 problem\n  h.yml:3:7: unknown key\n    hint: did you mean expr?")
		require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(err))
		require.Equal(t, "see the docs", gatekeeper.HintOf(err))
		require.Len(t, w.seen, 1, "a no is not asked again")

		for name, answer := range map[string]func(*http.Request) (*http.Response, error){
			"refused": refused, "proxy": status(502, "<html>"), "not ready": status(503, `{"status":503,"code":"unavailable","detail":"no"}`), "cut": cut,
		} {
			c, w = over(t, answer)
			_, err = c.Open(t.Context(), api.OpenBody{ID: "r"})
			u, ok := errors.AsType[*Unreachable](err)
			require.True(t, ok, "%s: %v", name, err)
			require.Equal(t, "http://gatekeeper.test/prefix", u.Address)
			require.Len(t, w.seen, retries+1, name)
		}
		c, _ = over(t, status(503, `{"status":503,"code":"unavailable","detail":"the disk is full","hint":"make space"}`))
		_, err = c.Open(t.Context(), api.OpenBody{ID: "r"})
		require.EqualError(t, err, "Gatekeeper at http://gatekeeper.test/prefix can't serve now: the disk is full")
		require.Equal(t, "make space", gatekeeper.HintOf(err))

		c, _ = over(t, status(200, "<html>"))
		_, err = c.Release(t.Context(), "r")
		require.ErrorContains(t, err, "can't be read")
		c, _ = over(t, status(404, "<html>"))
		_, err = c.Release(t.Context(), "r")
		require.ErrorContains(t, err, "is that Gatekeeper?")
	})
}

// A verb that may have arrived is not sent again; one that certainly did not is.
func TestVerbsAreNotRepeatedBlindly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, w := over(t, cut)
		_, err := c.Ask(t.Context(), "r", "approve", api.ByBody{})
		require.Error(t, err)
		require.Len(t, w.seen, 1)
		c, w = over(t, refused, refused, status(200, `{"id":"r"}`))
		_, err = c.Ask(t.Context(), "r", "approve", api.ByBody{})
		require.NoError(t, err)
		require.Len(t, w.seen, 3)
	})
}

func event(t *testing.T, seq int64, b gatekeeper.Body) string {
	t.Helper()
	text, err := json.Marshal(gatekeeper.Fact{Seq: seq, Body: b})
	require.NoError(t, err)
	return fmt.Sprintf("id: %d\nevent: fact\ndata: %s\n\n", seq, text)
}

func TestFollowResumesAcrossARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, w := over(t,
			status(200, "retry: 1000\n\n"+event(t, 1, gatekeeper.Opened{})+": alive\n\n"+event(t, 2, gatekeeper.Noted{})+"id: 3\nevent: fact\ndata: {\"se"),
			refused, status(503, `{"detail":"starting"}`), refused,
			status(200, event(t, 3, gatekeeper.Noted{})+event(t, 4, gatekeeper.Closed{})),
		)
		var seqs []int64
		err := c.Follow(t.Context(), "r", 0, time.Minute, func(f gatekeeper.Fact) error {
			seqs = append(seqs, f.Seq)
			return nil
		})
		require.NoError(t, err)
		require.Equal(t, []int64{1, 2, 3, 4}, seqs)
		require.Empty(t, w.seen[0].Header.Get("Last-Event-ID"))
		require.Equal(t, "2", w.seen[4].Header.Get("Last-Event-ID"))
	})
}

func TestFollowGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ignore := func(gatekeeper.Fact) error { return nil }
		c, w := over(t, refused)
		_, ok := errors.AsType[*Unreachable](c.Follow(t.Context(), "r", 0, time.Minute, ignore))
		require.True(t, ok)
		require.Len(t, w.seen, 1, "a daemon that was never there is not waited for")

		begin := time.Now()
		c, _ = over(t, status(200, event(t, 1, gatekeeper.Opened{})), refused)
		_, ok = errors.AsType[*Unreachable](c.Follow(t.Context(), "r", 0, time.Minute, ignore))
		require.True(t, ok)
		require.InDelta(t, time.Minute.Seconds(), time.Since(begin).Seconds(), 3)

		c, _ = over(t, status(404, `{"code":"not_found","detail":"no such release"}`))
		require.EqualError(t, c.Follow(t.Context(), "r", 0, time.Minute, ignore), "no such release")

		c, _ = over(t, status(200, event(t, 1, gatekeeper.Opened{})))
		require.EqualError(t, c.Follow(t.Context(), "r", 0, time.Minute, func(gatekeeper.Fact) error { return errors.New("no terminal") }), "no terminal")

		ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
		defer stop()
		require.ErrorIs(t, c.Follow(ctx, "r", 0, time.Minute, ignore), context.DeadlineExceeded)
	})
}

// A connection on which nothing comes, not even a comment, is dead.
func TestFollowNoticesSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		hang := func(r *http.Request) (*http.Response, error) {
			body, w := io.Pipe()
			context.AfterFunc(r.Context(), func() { _ = w.CloseWithError(r.Context().Err()) })
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: body, Request: r}, nil
		}
		c, _ := over(t, hang, status(200, event(t, 1, gatekeeper.Closed{})))
		require.NoError(t, c.Follow(t.Context(), "r", 0, time.Minute, func(gatekeeper.Fact) error { return nil }))
		require.InDelta(t, (silence + pause).Seconds(), time.Since(begin).Seconds(), 1)
	})
}

func TestNewRefusesBadAddresses(t *testing.T) {
	for _, a := range []string{"", "nonsense", "ftp://x", "http://", "127.0.0.1:9095"} {
		_, err := New(a, "", http.DefaultClient)
		require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(err), a)
	}
}
