package config

import (
	"regexp"

	"github.com/gatekeeper-engine/gatekeeper"
)

// Notifications are the channels beside Alertmanagers by which people are told.
type Notifications struct {
	Slack     []Section `yaml:"slack"`
	PagerDuty []Section `yaml:"pagerduty"`
	Webhooks  []Section `yaml:"webhooks"`
}

// Webhook is a sender of signed requests that open releases and tell what became of them.
type Webhook struct {
	Name       string           `yaml:"name"`        // the actor in the journal, and the end of the path
	SecretFile string           `yaml:"secret_file"` // holds what requests are signed with
	Services   gatekeeper.Globs `yaml:"services"`    // empty: every service

	At Section `yaml:"-"`
}

var pathName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)

func (c *Config) checkWebhooks() {
	seen := map[string]bool{}
	for _, w := range c.Webhooks {
		switch {
		case !pathName.MatchString(w.Name):
			w.At.Child("name").Wrong("letters, digits, - and _: it is part of the path /webhooks/generic/NAME", "the name %q of a webhook can't be used", w.Name)
		case seen[w.Name]:
			w.At.Child("name").Wrong("", "the webhook name %q is used twice", w.Name)
		}
		seen[w.Name] = true
		if w.SecretFile == "" {
			w.At.Wrong("put the secret into a file that only the daemon can read, and name it", "webhook %q has no secret_file", w.Name)
		}
		w.At.Child("services").Check(w.Services.Err())
	}
}
