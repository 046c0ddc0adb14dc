package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/httpclient"
	"github.com/gatekeeper-engine/gatekeeper/internal/notify"
	"github.com/gatekeeper-engine/gatekeeper/internal/notifytest"
	"github.com/gatekeeper-engine/gatekeeper/internal/signature"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const shared = "s3cret-s3cret-s3cret"

// receiver checks signatures as docs/guides/notifications.md asks receivers to.
type receiver struct {
	mu     sync.Mutex
	got    []body
	header http.Header
	calls  int
	fail   func(call int) int // status instead of taking, unless 0
}

func (v *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.calls++
	v.header = r.Header.Clone()
	text, err := io.ReadAll(r.Body)
	var b body
	if err != nil || signature.Verify(r.Header, shared, time.Now(), text) != nil || json.Unmarshal(text, &b) != nil {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if v.fail != nil && v.fail(v.calls) != 0 {
		w.WriteHeader(v.fail(v.calls))
		return
	}
	v.got = append(v.got, b)
	w.WriteHeader(http.StatusNoContent)
}

var decided = gatekeeper.Decided{Cause: gatekeeper.CausePerson, Says: "by ann"}

func TestReceiverGetsReleaseAndFactSigned(t *testing.T) {
	v := &receiver{}
	srv := httptest.NewServer(v)
	defer srv.Close()
	var log bytes.Buffer
	c := Config{Name: "audit", SecretFile: notifytest.Secret(t, shared), Config: httpclient.Config{URL: srv.URL + "/in", BearerTokenFile: notifytest.Secret(t, "s3cret-bearer")}}
	w, err := New(c, notifytest.Channel(t, &log))
	require.NoError(t, err)
	told := notifytest.Begin(t, w, "r1", "v2")
	told.Tell(decided)
	told.Again()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, w.Run(ctx))
	require.Len(t, v.got, 1, "%s", &log)
	require.Equal(t, told.Fact, v.got[0].Fact)
	require.Equal(t, "r1", v.got[0].Release.ID)
	require.Equal(t, gatekeeper.Applying, v.got[0].Release.State)
	require.Equal(t, notify.RollbackStarted, v.got[0].News.Event)
	require.Equal(t, "by ann", v.got[0].News.Summary)
	require.Equal(t, "https://gatekeeper.example/releases/r1", v.got[0].Link)
	require.Equal(t, "Bearer s3cret-bearer", v.header.Get("Authorization"))
	require.NotContains(t, log.String(), "s3cret")
}

// A signature made before a long wait would be refused as a replay.
func TestEveryTryIsSignedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &receiver{fail: func(call int) int { return []int{503, 0}[min(call/12, 1)] }}
		w := newWebhook(Config{Name: "a", SecretFile: notifytest.Secret(t, shared), Config: httpclient.Config{URL: "http://audit.example"}}, notifytest.Channel(t, io.Discard), &http.Client{Transport: notifytest.Direct{Handler: v}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx) }()
		begin := time.Now()
		notifytest.Begin(t, w, "r1", "v2").Tell(decided)
		time.Sleep(12 * time.Minute)
		synctest.Wait()
		require.Equal(t, 12, v.calls)
		require.Len(t, v.got, 1)
		require.Greater(t, time.Since(begin), signature.Window)
		cancel()
		require.NoError(t, <-done)
	})
}

func TestWrongSecretIsNotTriedAgain(t *testing.T) {
	v := &receiver{}
	var log bytes.Buffer
	w := newWebhook(Config{Name: "a", SecretFile: notifytest.Secret(t, "s3cret-of-somebody-else"), Config: httpclient.Config{URL: "http://audit.example"}}, notifytest.Channel(t, &log), &http.Client{Transport: notifytest.Direct{Handler: v}})
	notifytest.Begin(t, w, "r1", "v2").Tell(decided)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, w.Run(ctx))
	require.Equal(t, 1, v.calls)
	require.Contains(t, log.String(), "it answered 401")
	require.NotContains(t, log.String(), "s3cret")
}

func TestConfigRefusesWhatCannotWork(t *testing.T) {
	ok := httpclient.Config{URL: "https://x"}
	for says, c := range map[string]Config{
		"needs a name":          {SecretFile: "f", Config: ok},
		"has no secret_file":    {Name: "a", Config: ok},
		"url is missing":        {Name: "a", SecretFile: "f"},
		"url holds credentials": {Name: "a", SecretFile: "f", Config: httpclient.Config{URL: "https://u:s3cret@x"}},
		`"gone"`:                {Name: "a", SecretFile: "f", Config: ok, Filter: notify.Filter{Events: []notify.Event{"gone"}}},
	} {
		err := c.Validate()
		require.ErrorContains(t, err, says)
		require.NotContains(t, err.Error(), "s3cret")
	}
	_, err := New(Config{Name: "a", SecretFile: notifytest.Secret(t, "s3cret"), Config: ok}, notifytest.Channel(t, io.Discard))
	require.ErrorContains(t, err, "fewer than 16")
	require.NotContains(t, err.Error(), "s3cret")
}

func TestThePictureIsNamed(t *testing.T) {
	v := &receiver{}
	w := newWebhook(Config{Name: "a", SecretFile: notifytest.Secret(t, shared), Config: httpclient.Config{URL: "http://audit.example"}}, notifytest.Channel(t, io.Discard), &http.Client{Transport: notifytest.Direct{Handler: v}})
	const shown = "https://gatekeeper.example/pictures/r1/R.png?signature=x"
	m := notify.Message{Fact: gatekeeper.Fact{Seq: 1, Body: gatekeeper.Noted{Text: "n"}}, Picture: &notify.Picture{URL: shown}}
	require.NoError(t, w.send(t.Context(), slog.New(slog.DiscardHandler), m))
	require.Equal(t, shown, v.got[0].Picture)
}
