// Package slack tells people in Slack: by an incoming webhook, or as a bot with a thread for each
// release. The wire formats are those of https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
// and https://docs.slack.dev/reference/methods/chat.postMessage.
package slack

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/httpclient"
	"github.com/gatekeeper-engine/gatekeeper/internal/notify"
	"github.com/gatekeeper-engine/gatekeeper/internal/secret"
)

// Config is one place in Slack: exactly one of WebhookURLFile and TokenFile is set.
type Config struct {
	// Name is shown in logs and metrics.
	Name string `yaml:"name" json:"name"`
	// WebhookURLFile holds the URL of an incoming webhook, which is a secret.
	WebhookURLFile string `yaml:"webhook_url_file,omitempty" json:"webhook_url_file,omitempty"`
	// TokenFile holds the token of a bot that is in the channel and has the scopes chat:write
	// and, for pictures, files:write.
	TokenFile string `yaml:"token_file,omitempty" json:"token_file,omitempty"`
	// Channel is the id of the bot's channel, such as C0123456789; needed with TokenFile.
	Channel string `yaml:"channel,omitempty" json:"channel,omitempty"`
	// APIURL is the base of Slack's Web API. Default https://slack.com/api.
	APIURL string `yaml:"api_url,omitempty" json:"api_url,omitempty"`
	// ProxyURL is the proxy that requests go through. Default none, whatever the environment says.
	ProxyURL string         `yaml:"proxy_url,omitempty" json:"proxy_url,omitempty"`
	TLS      httpclient.TLS `yaml:"tls,omitempty" json:"tls,omitzero"`

	notify.Filter `yaml:",inline"`
}

// Validate says what is wrong with the settings, without touching a file or the network.
func (c Config) Validate() error {
	switch {
	case c.Name == "":
		return invalid("it is shown in logs and metrics", "a Slack channel needs a name")
	case (c.WebhookURLFile == "") == (c.TokenFile == ""):
		return invalid("give an incoming webhook or a bot", "slack %q needs webhook_url_file or token_file, and not both", c.Name)
	case (c.TokenFile == "") != (c.Channel == ""):
		return invalid("an incoming webhook posts to the channel that it was made for", "slack %q: token_file and channel belong together", c.Name)
	case c.APIURL != "" && c.TokenFile == "":
		return invalid("", "slack %q: api_url is only for token_file", c.Name)
	}
	if err := c.http().Validate(); err != nil {
		says := err.Error()
		if strings.HasPrefix(says, "url ") {
			says = "api_" + says // as the key is called here
		}
		return invalid(gatekeeper.HintOf(err), "slack %q: %s", c.Name, says)
	}
	return c.Filter.Validate(notify.Events())
}

// http gives the settings of the client; the address of a webhook comes from its file.
func (c Config) http() httpclient.Config {
	base := c.APIURL
	if base == "" {
		base = "https://slack.com/api"
	}
	return httpclient.Config{URL: base, ProxyURL: c.ProxyURL, BearerTokenFile: c.TokenFile, TLS: c.TLS}
}

// webhook reads the address of the incoming webhook. Errors never show it.
func (c Config) webhook() (string, error) {
	text, err := secret.Read(c.WebhookURLFile)
	if err != nil {
		return "", err
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || (u.Scheme != "https" && u.Scheme != "http") {
		return "", invalid("copy it from the app's page, Incoming Webhooks", "slack %q: %s holds no webhook URL", c.Name, c.WebhookURLFile)
	}
	return text, nil
}

// hook says whether an address is at the host of the incoming webhook, as its file names it now.
func (c Config) hook(u *url.URL) bool {
	if c.WebhookURLFile == "" {
		return false
	}
	address, err := c.webhook()
	if err != nil {
		return false
	}
	own, err := url.Parse(address)
	return err == nil && u.Scheme == own.Scheme && u.Host == own.Host
}

// ours says whether an address that Slack gave is its own: that of the Web API's host, or below slack.com.
func (c Config) ours(u *url.URL) bool {
	base, err := url.Parse(c.http().URL)
	if err != nil || u.User != nil {
		return false
	}
	return u.Scheme == base.Scheme && u.Host == base.Host ||
		u.Scheme == "https" && (u.Hostname() == "slack.com" || strings.HasSuffix(u.Hostname(), ".slack.com"))
}

func invalid(hint, format string, args ...any) error {
	return gatekeeper.Errorf(gatekeeper.CodeInvalid, hint, "%s", fmt.Sprintf(format, args...))
}
