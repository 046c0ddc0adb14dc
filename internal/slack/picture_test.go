package slack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/notify"
	"github.com/gatekeeper-engine/gatekeeper/internal/notifytest"
)

// files are the pictures that were uploaded, as Slack documents it
// (https://docs.slack.dev/messaging/working-with-files#upload): a place is asked for by a form, the bytes are
// posted there without the token, and the upload is completed into a channel and a thread.
type files struct {
	place   string   // where pictures are to be posted; "": here
	asked   []string // length and alternative text
	bytes   []string
	shared  []string // file, channel and thread
	missing bool     // the bot has no scope files:write
}

// uploads answers what is about files.
func (v *vendor) uploads(w http.ResponseWriter, r *http.Request) bool {
	says := map[string]any{"ok": true}
	authorized := r.Header.Get("Authorization") == "Bearer "+token
	switch r.URL.Path {
	case "/api/files.getUploadURLExternal":
		switch {
		case !authorized || r.FormValue("filename") == "":
			says = map[string]any{"ok": false, "error": "invalid_arguments"}
		case v.files.missing:
			says = map[string]any{"ok": false, "error": "missing_scope"}
		default:
			v.files.asked = append(v.files.asked, r.FormValue("length")+" "+r.FormValue("alt_txt"))
			says["file_id"], says["upload_url"] = "F1", v.files.place
			if v.files.place == "" {
				says["upload_url"] = "http://" + r.Host + "/upload/v1/ABC"
			}
		}
	case "/upload/v1/ABC":
		data, _ := io.ReadAll(r.Body)
		v.files.bytes = append(v.files.bytes, fmt.Sprintf("%s %s %q", r.Header.Get("Content-Type"), data, r.Header.Get("Authorization")))
		fmt.Fprint(w, "OK - 3")
		return true
	case "/api/files.completeUploadExternal":
		var in struct {
			Files     []struct{ ID, Title string }
			ChannelID string `json:"channel_id"`
			Thread    string `json:"thread_ts"`
		}
		if json.NewDecoder(r.Body).Decode(&in) != nil || !authorized || len(in.Files) != 1 {
			says = map[string]any{"ok": false, "error": "invalid_arguments"}
			break
		}
		v.files.shared = append(v.files.shared, in.Files[0].ID+" "+in.Files[0].Title+" "+in.ChannelID+" "+in.Thread)
	default:
		return false
	}
	_ = json.NewEncoder(w).Encode(says)
	return true
}

// album draws no real pictures.
type album struct {
	address string
	err     error
}

func (a album) Address(notify.Moment, time.Time) string { return a.address }

func (a album) Draw(_ context.Context, of notify.Moment) ([]byte, error) {
	return []byte(of.Rule), a.err
}

// tellHeld tells of a release that is held for a rule, and gives what was logged.
func tellHeld(t *testing.T, v *vendor, c Config, pictures notify.Pictures) string {
	t.Helper()
	srv := httptest.NewServer(v)
	defer srv.Close()
	if c.WebhookURLFile != "" {
		c.WebhookURLFile = notifytest.Secret(t, srv.URL+hook)
	} else {
		c.APIURL = srv.URL + "/api"
	}
	var log bytes.Buffer
	with := channel(t, &log)
	with.Pictures = pictures
	s, err := New(c, with)
	require.NoError(t, err)
	r, f := gatekeeper.Release{ID: "r1"}, gatekeeper.Fact{}
	for _, body := range []gatekeeper.Body{
		gatekeeper.Opened{Service: "shop", Environment: "production", Version: "2"},
		gatekeeper.Prepared{},
		gatekeeper.Deployed{},
		gatekeeper.Held{Reason: gatekeeper.HoldRoute, Breaches: []gatekeeper.Breach{{Rule: "HighErrorRate"}}, Says: "bad"},
	} {
		f = gatekeeper.Fact{Seq: r.Seq + 1, At: time.Now(), Body: body}
		r, err = r.With(f)
		require.NoError(t, err)
	}
	s.Tell(r, f)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	require.NoError(t, s.Run(ctx))
	return log.String()
}

const shown = "https://gatekeeper.example/pictures/r1/HighErrorRate.png?signature=x"

func TestWebhookShowsThePicture(t *testing.T) {
	v := &vendor{}
	tellHeld(t, v, Config{Name: "a", WebhookURLFile: "x"}, album{address: shown})
	require.Len(t, v.got, 1)
	image := v.got[0].Blocks[len(v.got[0].Blocks)-2]
	require.Equal(t, block{Type: "image", ImageURL: shown, AltText: "HighErrorRate of shop 2 against its limit"}, image)

	v = &vendor{}
	tellHeld(t, v, Config{Name: "a", WebhookURLFile: "x"}, album{address: "http://127.0.0.1:9095/pictures/r1/HighErrorRate.png"})
	require.Len(t, v.got, 1)
	for _, b := range v.got[0].Blocks {
		require.NotEqual(t, "image", b.Type, "Slack can't fetch it from this machine")
	}
}

// Slack refuses a message whose picture it can't fetch.
func TestMessageComesWithoutARefusedPicture(t *testing.T) {
	v := &vendor{fail: func(call int, w http.ResponseWriter) bool {
		if call == 1 {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, "invalid_blocks")
		}
		return call == 1
	}}
	log := tellHeld(t, v, Config{Name: "a", WebhookURLFile: "x"}, album{address: shown})
	require.Len(t, v.got, 1)
	require.Contains(t, log, "without its picture")
	require.NotContains(t, log, "signature", "the address is a permission")
}

func TestBotUploadsThePicture(t *testing.T) {
	v := &vendor{}
	bot := Config{Name: "a", TokenFile: notifytest.Secret(t, token), Channel: "C1"}
	log := tellHeld(t, v, bot, album{})
	require.Len(t, v.got, 1, log)
	require.Equal(t, []string{"13 HighErrorRate of shop 2 against its limit"}, v.files.asked, log)
	require.Equal(t, []string{`image/png HighErrorRate ""`}, v.files.bytes, "the token stays with the Web API")
	require.Equal(t, []string{"F1 HighErrorRate C1 1503435956.000001"}, v.files.shared, "in the release's thread")

	for name, c := range map[string]struct {
		files    files
		pictures album
	}{
		"no scope":        {files{missing: true}, album{}},
		"not drawn":       {files{}, album{err: errors.New("no")}},
		"a foreign place": {files{place: "https://evil.example/upload"}, album{}},
		"no slack.com":    {files{place: "https://evilslack.com/upload"}, album{}},
	} {
		v := &vendor{files: c.files}
		log := tellHeld(t, v, bot, c.pictures)
		require.Len(t, v.got, 1, name)
		require.Contains(t, log, "without its picture", name)
		require.Empty(t, v.files.shared, name)
	}
}
