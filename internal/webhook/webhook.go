// Package webhook tells any program by a signed HTTP request: the news, the fact and the release
// as JSON. The signature is that of package signature.
package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/httpclient"
	"github.com/gatekeeper-engine/gatekeeper/internal/notify"
	"github.com/gatekeeper-engine/gatekeeper/internal/secret"
	"github.com/gatekeeper-engine/gatekeeper/internal/signature"
)

// Config is one receiver.
type Config struct {
	// Name is shown in logs and metrics.
	Name string `yaml:"name" json:"name"`
	// SecretFile holds the secret that requests are signed with; read for every request.
	SecretFile string `yaml:"secret_file" json:"secret_file"`

	httpclient.Config `yaml:",inline"`
	notify.Filter     `yaml:",inline"`
}

// Validate says what is wrong with the settings, without touching a file or the network.
func (c Config) Validate() error {
	switch {
	case c.Name == "":
		return invalid("it is shown in logs and metrics", "a webhook needs a name")
	case c.SecretFile == "":
		return invalid("make one with: openssl rand -hex 32", "webhook %q has no secret_file", c.Name)
	}
	if err := c.Config.Validate(); err != nil {
		return invalid(gatekeeper.HintOf(err), "webhook %q: %v", c.Name, err)
	}
	return c.Filter.Validate(notify.Events())
}

func invalid(hint, format string, args ...any) error {
	return gatekeeper.Errorf(gatekeeper.CodeInvalid, hint, "%s", fmt.Sprintf(format, args...))
}

// Webhook tells one receiver. Tell may be called concurrently and before, during and after Run.
type Webhook struct {
	*notify.Messages
	config  Config
	channel notify.Channel
	client  *http.Client
}

// New gives a channel, or an error that says which setting can't work. It asks nobody, but reads
// the secret once, so that a missing one is told at start.
func New(c Config, channel notify.Channel) (*Webhook, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if _, err := c.secret(); err != nil {
		return nil, err
	}
	client, err := c.New("webhook")
	if err != nil {
		return nil, err
	}
	return newWebhook(c, channel, client), nil
}

func (c Config) secret() (string, error) {
	secret, err := secret.Read(c.SecretFile)
	if err != nil {
		return "", err
	}
	return secret, signature.CheckSecret(secret)
}

func newWebhook(c Config, channel notify.Channel, client *http.Client) *Webhook {
	channel.Kind, channel.Name = "webhook", c.Name
	w := &Webhook{config: c, channel: channel, client: client}
	w.Messages = notify.NewMessages(channel, c.Filter, w.send)
	return w
}

// Run sends until ctx ends; see [notify.Queue.Run].
func (w *Webhook) Run(ctx context.Context) error {
	defer w.client.CloseIdleConnections()
	return w.Messages.Run(ctx)
}

// body is what is sent. A receiver can tell what it has by the release's id and the fact's seq.
type body struct {
	News    notify.News        `json:"news"`
	Link    string             `json:"link,omitempty"`
	Picture string             `json:"picture,omitempty"` // the URL of a PNG, for 30 days and without a token
	Fact    gatekeeper.Fact    `json:"fact"`
	Release gatekeeper.Release `json:"release"`
}

func (w *Webhook) send(ctx context.Context, log *slog.Logger, m notify.Message) error {
	out := body{News: m.News, Link: m.Link, Fact: m.Fact, Release: m.Release}
	if m.Picture != nil {
		out.Picture = m.Picture.URL
	}
	text, err := json.Marshal(out)
	if err != nil {
		return err
	}
	return notify.Post{
		URL: w.config.URL, Body: text,
		Sign: func(h http.Header) error {
			// Every try is signed anew: an old signature would be refused as a replay.
			secret, err := w.config.secret()
			if err != nil {
				return err
			}
			signature.Sign(h, secret, time.Now(), text)
			return nil
		},
	}.Send(ctx, w.client, log)
}
