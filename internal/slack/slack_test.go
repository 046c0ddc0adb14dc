package slack

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/notify"
	"github.com/gatekeeper-engine/gatekeeper/internal/notifytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	token = "xoxb-s3cret-token"
	hook  = "/services/T0000/B0000/s3cret-path"
)

// vendor is Slack as its documentation describes it: incoming webhooks
// (https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks: 200 "ok", errors as
// one word), chat.postMessage (https://docs.slack.dev/reference/methods/chat.postMessage: always
// 200, "ok" and "error" in the body), rate limits (https://docs.slack.dev/apis/web-api/rate-limits:
// 429 with Retry-After) and the limits of blocks (https://docs.slack.dev/reference/block-kit/blocks).
type vendor struct {
	mu    sync.Mutex
	calls int
	got   []message
	at    []time.Time
	files files
	fail  func(call int, w http.ResponseWriter) bool // answers instead
}

func (v *vendor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.calls++
	v.at = append(v.at, time.Now())
	if v.fail != nil && v.fail(v.calls, w) {
		return
	}
	if v.uploads(w, r) {
		return
	}
	var m message
	body, err := io.ReadAll(r.Body)
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err != nil || d.Decode(&m) != nil || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") || !fits(m) {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, "invalid_payload")
		return
	}
	switch r.URL.Path {
	case hook:
		v.got = append(v.got, m)
		fmt.Fprint(w, "ok")
	case "/api/chat.postMessage":
		says := map[string]any{"ok": false}
		switch {
		case r.Header.Get("Authorization") != "Bearer "+token:
			says["error"] = "invalid_auth"
		case m.Channel != "C1":
			says["error"] = "channel_not_found"
		default:
			v.got = append(v.got, m)
			says = map[string]any{"ok": true, "channel": m.Channel, "ts": fmt.Sprintf("1503435956.%06d", len(v.got))}
		}
		_ = json.NewEncoder(w).Encode(says)
	default:
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, "no_service")
	}
}

// fits holds a message to the documented limits.
func fits(m message) bool {
	ok := m.Text != "" && len(m.Blocks) > 0 && len(m.Blocks) <= 50
	for _, b := range m.Blocks {
		switch b.Type {
		case "header":
			ok = ok && b.Text.Type == "plain_text" && utf8.RuneCountInString(b.Text.Text) <= 150
		case "section":
			ok = ok && b.Text.Type == "mrkdwn" && utf8.RuneCountInString(b.Text.Text) <= 3000
		case "context":
			ok = ok && len(b.Elements) > 0 && len(b.Elements) <= 10
		case "image":
			ok = ok && strings.HasPrefix(b.ImageURL, "https://") && len(b.ImageURL) <= 3000 && b.AltText != "" && utf8.RuneCountInString(b.AltText) <= 2000
		default:
			ok = false
		}
	}
	return ok
}

// RoundTrip serves without a network, for tests of time.
func (v *vendor) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	v.ServeHTTP(w, r)
	return w.Result(), nil
}

func (v *vendor) messages() []message {
	v.mu.Lock()
	defer v.mu.Unlock()
	return append([]message(nil), v.got...)
}

// channel is reached by an address with odd characters.
func channel(t *testing.T, log io.Writer) notify.Channel {
	t.Helper()
	c := notifytest.Channel(t, log)
	c.ExternalURL += "/?a&b"
	return c
}

// story tells a release that is held, and then closed, of a version with odd characters.
func story(t *testing.T, s *Slack, id string) {
	t.Helper()
	notifytest.Begin(t, s, id, "<!channel>&2").Tell(
		gatekeeper.Held{Reason: gatekeeper.HoldRoute, Says: "error ratio 5%, limit > 0.01 <https://evil.example|click> @here", Until: time.Now().Add(time.Hour)},
		gatekeeper.Decided{Cause: gatekeeper.CausePerson, Says: strings.Repeat("&", 4000)},
		gatekeeper.Closed{Outcome: gatekeeper.OutcomeRollbackFailed, Why: "every rung failed"},
	)
}

func TestIncomingWebhook(t *testing.T) {
	v := &vendor{}
	srv := httptest.NewServer(v)
	defer srv.Close()
	var log bytes.Buffer
	s, err := New(Config{Name: "releases", WebhookURLFile: notifytest.Secret(t, srv.URL+hook)}, channel(t, &log))
	require.NoError(t, err)
	stop := notifytest.Run(t, s)
	story(t, s, "r1")
	require.Eventually(t, func() bool { return len(v.messages()) == 3 }, 10*time.Second, 5*time.Millisecond, "%s", &log)
	stop()
	held := v.messages()[0]
	require.Equal(t, "🔴 shop <!channel>&2 in production is held", held.Blocks[0].Text.Text)
	require.Equal(t, "*Seen:* error ratio 5%, limit &gt; 0.01 &lt;https://evil.example|click&gt; @here", held.Blocks[1].Text.Text)
	require.True(t, held.Blocks[1].Text.Verbatim)
	require.Contains(t, held.Blocks[3].Text.Text, "gatekeeper release approve r1")
	require.Equal(t, "<https://gatekeeper.example/?a&amp;b/releases/r1|Release r1>", held.Blocks[4].Elements[0].Text)
	require.True(t, strings.HasPrefix(held.Text, "🔴 shop &lt;!channel&gt;&amp;2 in production is held: error ratio"))
	for _, m := range v.messages() {
		require.Empty(t, m.Thread)
		require.NotContains(t, m.Text, "<!")
	}
	require.NotContains(t, log.String(), "s3cret")
}

func TestBotThreads(t *testing.T) {
	v := &vendor{}
	srv := httptest.NewServer(v)
	defer srv.Close()
	var log bytes.Buffer
	s, err := New(Config{Name: "releases", TokenFile: notifytest.Secret(t, token), Channel: "C1", APIURL: srv.URL + "/api/"}, channel(t, &log))
	require.NoError(t, err)
	stop := notifytest.Run(t, s)
	story(t, s, "r1")
	story(t, s, "r2")
	require.Eventually(t, func() bool { return len(v.messages()) == 6 }, 10*time.Second, 5*time.Millisecond, "%s", &log)
	stop()
	got := v.messages()
	require.Empty(t, got[0].Thread)
	require.Equal(t, "1503435956.000001", got[1].Thread)
	require.False(t, got[1].Broadcast, "that it is being rolled back calls for nobody")
	require.Equal(t, "1503435956.000001", got[2].Thread)
	require.True(t, got[2].Broadcast)
	require.Empty(t, got[3].Thread, "another release, another thread")
	require.Equal(t, "1503435956.000004", got[4].Thread)
	require.NotContains(t, log.String(), "s3cret")
}

func TestRefusalsAreLoggedWithoutSecrets(t *testing.T) {
	v := &vendor{}
	srv := httptest.NewServer(v)
	defer srv.Close()
	for says, c := range map[string]Config{
		"no_service":        {Name: "a", WebhookURLFile: notifytest.Secret(t, srv.URL+"/services/s3cret-gone")},
		"invalid_auth":      {Name: "b", TokenFile: notifytest.Secret(t, "s3cret-other"), Channel: "C1", APIURL: srv.URL + "/api"},
		"channel_not_found": {Name: "c", TokenFile: notifytest.Secret(t, token), Channel: "C2", APIURL: srv.URL + "/api"},
		"no JSON":           {Name: "d", TokenFile: notifytest.Secret(t, token), Channel: "C2", APIURL: srv.URL + hook[:9] + "x"},
	} {
		if says == "no JSON" {
			v.fail = func(_ int, w http.ResponseWriter) bool { fmt.Fprint(w, "<html>s3cret"); return true }
		} else {
			v.fail = nil
		}
		var log bytes.Buffer
		s, err := New(c, channel(t, &log))
		require.NoError(t, err)
		before := v.calls
		story(t, s, "r1")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.NoError(t, s.Run(ctx))
		require.Contains(t, log.String(), says)
		require.NotContains(t, log.String(), "s3cret")
		require.Equal(t, 3, v.calls-before, "once each: it can't help to send it again")
	}
}

func TestRateLimitsAndPassingErrorsAreWaitedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &vendor{fail: func(call int, w http.ResponseWriter) bool {
			switch call {
			case 1:
				w.Header().Set("Retry-After", "30")
				w.WriteHeader(http.StatusTooManyRequests)
				fmt.Fprint(w, `{"ok":false,"error":"ratelimited"}`)
			case 2:
				fmt.Fprint(w, `{"ok":false,"error":"internal_error"}`)
			default:
				return false
			}
			return true
		}}
		var log bytes.Buffer
		s := newSlack(Config{Name: "a", TokenFile: "unused", Channel: "C1"}, channel(t, &log), &http.Client{Transport: v}, &http.Client{})
		stop := notifytest.Run(t, s)
		begin := time.Now()
		story(t, s, "r1")
		require.Equal(t, begin, time.Now(), "telling takes no time")
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Len(t, v.got, 3)
		require.Equal(t, 30*time.Second, v.at[1].Sub(v.at[0]))
		require.Equal(t, 2*time.Second, v.at[2].Sub(v.at[1]))
		require.Equal(t, v.at[2], v.at[4], "then all that waited")
		stop()
	})
}

func TestThreadsAreBounded(t *testing.T) {
	s := newSlack(Config{Name: "a"}, channel(t, io.Discard), &http.Client{}, &http.Client{})
	for i := range maxThreads + 5 {
		s.remember(fmt.Sprint(i), "1")
	}
	require.Len(t, s.threads, maxThreads)
	require.Len(t, s.order, maxThreads)
	require.NotContains(t, s.threads, "4")
}

func TestConfigRefusesWhatCannotWork(t *testing.T) {
	for says, c := range map[string]Config{
		"needs a name":            {WebhookURLFile: "f"},
		"webhook_url_file or":     {Name: "a"},
		"and not both":            {Name: "a", WebhookURLFile: "f", TokenFile: "t", Channel: "c"},
		"belong together":         {Name: "a", TokenFile: "t"},
		"channel belong together": {Name: "a", WebhookURLFile: "f", Channel: "c"},
		"only for token_file":     {Name: "a", WebhookURLFile: "f", APIURL: "https://slack.com/api"},
		"api_url":                 {Name: "a", TokenFile: "f", Channel: "c", APIURL: "slack.com"},
		`"gone"`:                  {Name: "a", WebhookURLFile: "f", Filter: notify.Filter{Events: []notify.Event{"gone"}}},
	} {
		err := c.Validate()
		require.ErrorContains(t, err, says)
		require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(err))
	}
	for _, text := range []string{"xoxb-s3cret", "ftp://s3cret", "https://u:s3cret@hooks.slack.com/x", "://s3cret"} {
		_, err := New(Config{Name: "a", WebhookURLFile: notifytest.Secret(t, text)}, channel(t, io.Discard))
		require.ErrorContains(t, err, "holds no webhook URL")
		require.NotContains(t, err.Error(), "s3cret")
	}
	_, err := New(Config{Name: "a", TokenFile: "/none", Channel: "c"}, channel(t, io.Discard))
	require.ErrorContains(t, err, "/none")
}

func FuzzEscape(f *testing.F) {
	f.Add("a <b> & c", 20)
	f.Add("\xff&&&&&&", 9)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		if limit < 3 || limit > 1<<16 {
			return
		}
		out := escape(s, limit)
		require.LessOrEqual(t, len(out), limit)
		require.True(t, utf8.ValidString(out))
		plain := strings.NewReplacer("&amp;", "", "&lt;", "", "&gt;", "").Replace(out)
		require.False(t, strings.ContainsAny(plain, "&<>"))
	})
}
