package slack

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"strings"

	"github.com/gatekeeper-engine/gatekeeper/internal/notify"
	"github.com/gatekeeper-engine/gatekeeper/internal/secret"
)

const maxThreads = 1024 // releases whose thread is remembered

// Slack tells one channel. Tell may be called concurrently and before, during and after Run.
type Slack struct {
	*notify.Messages
	config  Config
	channel notify.Channel
	client  *http.Client
	uploads *http.Client // as client, but it shows nobody the token

	// Only Run uses these: the first message of each release, and the order in which they came.
	threads map[string]string
	order   []string
}

// New gives a channel, or an error that says which setting can't work. It asks nobody, but reads
// the files with secrets once, so that a missing one is told at start.
func New(c Config, channel notify.Channel) (*Slack, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.WebhookURLFile != "" {
		if _, err := c.webhook(); err != nil {
			return nil, err
		}
	} else if _, err := secret.Read(c.TokenFile); err != nil {
		return nil, err
	}
	client, err := c.http().New("slack", c.hook)
	if err != nil {
		return nil, err
	}
	plain := c.http()
	plain.BearerTokenFile = ""
	uploads, err := plain.New("slack", c.ours)
	if err != nil {
		return nil, err
	}
	return newSlack(c, channel, client, uploads), nil
}

func newSlack(c Config, channel notify.Channel, client, uploads *http.Client) *Slack {
	channel.Kind, channel.Name = "slack", c.Name
	s := &Slack{config: c, channel: channel, client: client, uploads: uploads, threads: map[string]string{}}
	s.Messages = notify.NewMessages(channel, c.Filter, s.send)
	return s
}

// Run sends until ctx ends; see [notify.Queue.Run].
func (s *Slack) Run(ctx context.Context) error {
	defer s.client.CloseIdleConnections()
	defer s.uploads.CloseIdleConnections()
	return s.Messages.Run(ctx)
}

func (s *Slack) send(ctx context.Context, log *slog.Logger, m notify.Message) error {
	if s.config.TokenFile != "" {
		return s.sendAsBot(ctx, log, m)
	}
	// Read anew for every message: the file may have been changed.
	address, err := s.config.webhook()
	if err != nil {
		return err
	}
	post := func(out message) error {
		body, err := json.Marshal(out)
		if err != nil {
			return err
		}
		return notify.Post{URL: address, Body: body, Judge: judgeWebhook}.Send(ctx, s.client, log)
	}
	out := render(m)
	if m.Picture != nil && m.Picture.Public() {
		err := post(out.withPicture(m.Picture))
		if err == nil || ctx.Err() != nil {
			return err
		}
		log.Warn("a message is sent again without its picture: Slack fetches it at external_url, and refused the message", "err", err)
	}
	return post(out)
}

// sendAsBot posts the first message of a release to the channel and all others into its thread,
// where urgent ones are shown in the channel as well. Threads are kept in memory: after a restart
// a release gets a new one.
func (s *Slack) sendAsBot(ctx context.Context, log *slog.Logger, m notify.Message) error {
	out := render(m)
	out.Channel = s.config.Channel
	out.Thread = s.threads[m.Release.ID]
	out.Broadcast = out.Thread != "" && m.News.Severity == notify.Critical
	body, err := json.Marshal(out)
	if err != nil {
		return err
	}
	posted, err := s.call(ctx, log, "chat.postMessage", "", body)
	if err != nil {
		return err
	}
	if out.Thread == "" && posted.TS != "" {
		s.remember(m.Release.ID, posted.TS)
		out.Thread = posted.TS
	}
	if m.Picture != nil {
		s.show(ctx, log, m.Picture, out.Thread)
	}
	return nil
}

// call asks a method of the Web API; without a content type body is JSON.
func (s *Slack) call(ctx context.Context, log *slog.Logger, method, contentType string, body []byte) (answer, error) {
	var said answer
	header := http.Header{}
	if contentType != "" {
		header.Set("Content-Type", contentType)
	}
	err := notify.Post{
		URL: strings.TrimRight(s.config.http().URL, "/") + "/" + method, Header: header, Body: body,
		Judge: func(a notify.Answer) (again bool, err error) {
			said, again, err = judgeAPI(a)
			return again, err
		},
	}.Send(ctx, s.client, log)
	return said, err
}

func (s *Slack) remember(release, ts string) {
	s.threads[release] = ts
	if s.order = append(s.order, release); len(s.order) > maxThreads {
		delete(s.threads, s.order[0])
		s.order = s.order[1:]
	}
}

// answer is what the Web API answers, with status 200 also where it refuses.
type answer struct {
	OK    bool   `json:"ok"`
	TS    string `json:"ts"`
	Error string `json:"error"`

	UploadURL string `json:"upload_url"` // of files.getUploadURLExternal
	FileID    string `json:"file_id"`
}

// passing are errors of the Web API that end by themselves
// (https://docs.slack.dev/reference/methods/chat.postMessage#errors).
var passing = map[string]bool{
	"ratelimited": true, "rate_limited": true, "internal_error": true, "fatal_error": true,
	"service_unavailable": true, "request_timeout": true, "team_added_to_org": true,
}

var word = regexp.MustCompile(`^[a-z][a-z_]{0,63}$`)

func judgeAPI(a notify.Answer) (posted answer, again bool, err error) {
	if again, err = a.Taken(); err != nil {
		return posted, again, err
	}
	if err := json.Unmarshal(a.Body, &posted); err != nil {
		return posted, false, fmt.Errorf("it answered %d and no JSON: is api_url Slack's?", a.Status)
	}
	if posted.OK {
		return posted, false, nil
	}
	return posted, passing[posted.Error], refused(posted.Error)
}

// judgeWebhook reads the answers of incoming webhooks: "ok", or an error as one word with 4xx.
func judgeWebhook(a notify.Answer) (again bool, err error) {
	if again, err = a.Taken(); err == nil || again {
		return again, err
	}
	return false, fmt.Errorf("%w: %w", err, refused(strings.TrimSpace(string(a.Body))))
}

// refused names Slack's error; anything but one word of theirs is not shown.
func refused(says string) error {
	if !word.MatchString(says) {
		says = "an unknown error"
	}
	return fmt.Errorf("the message was refused: %s", says)
}
