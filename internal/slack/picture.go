package slack

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/gatekeeper-engine/gatekeeper/internal/notify"
)

// pictureFor is how long a picture may take: the messages behind it wait.
const pictureFor = 20 * time.Second

// show uploads a message's picture into its thread, so that it is seen where Gatekeeper can't be
// reached. The message is there already: a picture that can't be shown is only missing
// (https://docs.slack.dev/messaging/working-with-files#upload).
func (s *Slack) show(ctx context.Context, log *slog.Logger, p *notify.Picture, thread string) {
	ctx, stop := context.WithTimeout(ctx, pictureFor)
	defer stop()
	if err := s.upload(ctx, log, p, thread); err != nil {
		log.Warn("a message was sent without its picture", "err", err)
	}
}

func (s *Slack) upload(ctx context.Context, log *slog.Logger, p *notify.Picture, thread string) error {
	png, err := p.PNG(ctx)
	if err != nil {
		return err
	}
	form := url.Values{"filename": {"rule.png"}, "length": {strconv.Itoa(len(png))}, "alt_txt": {notify.Clip(p.Says, 1000)}}
	place, err := s.call(ctx, log, "files.getUploadURLExternal", "application/x-www-form-urlencoded", []byte(form.Encode()))
	if err != nil {
		return err
	}
	if to, err := url.Parse(place.UploadURL); err != nil || !s.config.ours(to) {
		return errors.New("Slack names an address for the picture that is not its own")
	}
	err = notify.Post{URL: place.UploadURL, Header: http.Header{"Content-Type": {"image/png"}}, Body: png}.Send(ctx, s.uploads, log)
	if err != nil {
		return err
	}
	type file struct {
		ID    string `json:"id"`
		Title string `json:"title"`
	}
	body, err := json.Marshal(struct {
		Files   []file `json:"files"`
		Channel string `json:"channel_id"`
		Thread  string `json:"thread_ts,omitempty"`
	}{[]file{{place.FileID, notify.Clip(p.Rule, 200)}}, s.config.Channel, thread})
	if err != nil {
		return err
	}
	_, err = s.call(ctx, log, "files.completeUploadExternal", "", body)
	return err
}
