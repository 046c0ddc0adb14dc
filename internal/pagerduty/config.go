// Package pagerduty pages people through PagerDuty's Events API v2: one alert per release, which
// triggers when somebody must act and resolves when nobody must any more. The wire format is that
// of https://developer.pagerduty.com/docs/send-alert-event.
package pagerduty

import (
	"fmt"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/httpclient"
	"github.com/gatekeeper-engine/gatekeeper/internal/notify"
)

// Config is one integration of the type "Events API v2".
type Config struct {
	// Name is shown in logs and metrics.
	Name string `yaml:"name" json:"name"`
	// RoutingKeyFile holds the integration key.
	RoutingKeyFile string `yaml:"routing_key_file" json:"routing_key_file"`
	// URL is the base of the Events API. Default https://events.pagerduty.com; for accounts in
	// Europe https://events.eu.pagerduty.com.
	URL string `yaml:"url,omitempty" json:"url,omitempty"`
	// ProxyURL is the proxy that requests go through. Default none, whatever the environment says.
	ProxyURL string         `yaml:"proxy_url,omitempty" json:"proxy_url,omitempty"`
	TLS      httpclient.TLS `yaml:"tls,omitempty" json:"tls,omitzero"`

	notify.Filter `yaml:",inline"`
}

// Validate says what is wrong with the settings, without touching a file or the network.
func (c Config) Validate() error {
	switch {
	case c.Name == "":
		return invalid("it is shown in logs and metrics", "a PagerDuty integration needs a name")
	case c.RoutingKeyFile == "":
		return invalid("put the integration key into a file that only the daemon can read, and name it", "pagerduty %q has no routing_key_file", c.Name)
	}
	if err := c.http().Validate(); err != nil {
		return invalid(gatekeeper.HintOf(err), "pagerduty %q: %v", c.Name, err)
	}
	return c.Filter.Validate(notify.Urgent())
}

func (c Config) http() httpclient.Config {
	base := c.URL
	if base == "" {
		base = "https://events.pagerduty.com"
	}
	return httpclient.Config{URL: base, ProxyURL: c.ProxyURL, TLS: c.TLS}
}

func invalid(hint, format string, args ...any) error {
	return gatekeeper.Errorf(gatekeeper.CodeInvalid, hint, "%s", fmt.Sprintf(format, args...))
}
