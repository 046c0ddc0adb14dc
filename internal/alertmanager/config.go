// Package alertmanager tells people through the Alertmanagers they already have: what Gatekeeper
// holds, rolls back or fails to roll back becomes alerts, kept alive and resolved as Prometheus
// does it (rules/alerting.go and notifier of Prometheus).
package alertmanager

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/httpclient"
	"github.com/gatekeeper-engine/gatekeeper/internal/notify"
)

// Config names the Alertmanagers. Each gets every alert by itself: list all members of a cluster,
// as in Prometheus, and no load balancer before them. Without any, nobody is told.
type Config struct {
	Alertmanagers []httpclient.Config `yaml:"alertmanagers" json:"alertmanagers"`
	// ExternalURL is where people reach Gatekeeper; alerts link to the release there. Without it
	// they have no link.
	ExternalURL string `yaml:"external_url,omitempty" json:"external_url,omitempty"`
	// Pictures makes those that alerts link to; nil: they link to none.
	Pictures notify.Pictures `yaml:"-" json:"-"`
	// Resend is how often a standing alert is sent again. Default 1m.
	Resend model.Duration `yaml:"resend,omitempty" json:"resend,omitempty"`
	// Timeout is the deadline of one request. Default 10s.
	Timeout model.Duration `yaml:"timeout,omitempty" json:"timeout,omitempty"`
}

func (c Config) withDefaults() Config {
	if c.Resend == 0 {
		c.Resend = model.Duration(time.Minute)
	}
	if c.Timeout == 0 {
		c.Timeout = model.Duration(10 * time.Second)
	}
	c.ExternalURL = strings.TrimRight(c.ExternalURL, "/")
	return c
}

// Validate says what is wrong with the settings, without touching a file or the network.
func (c Config) Validate() error {
	c = c.withDefaults()
	if c.Resend < model.Duration(time.Second) || c.Timeout < model.Duration(time.Millisecond) {
		return invalid("the defaults are 1m and 10s", "resend %s or timeout %s is too short", c.Resend, c.Timeout)
	}
	if u, err := url.Parse(c.ExternalURL); c.ExternalURL != "" && (err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || (u.Scheme != "http" && u.Scheme != "https")) {
		return invalid("give it as https://host/prefix", "external_url is not the address of a website")
	}
	for i, one := range c.Alertmanagers {
		if err := one.Validate(); err != nil {
			return invalid(gatekeeper.HintOf(err), "alertmanager %d: %v", i+1, err)
		}
	}
	return nil
}

func invalid(hint, format string, args ...any) error {
	return gatekeeper.Errorf(gatekeeper.CodeInvalid, hint, "%s", fmt.Sprintf(format, args...))
}
