package main

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/alertmanager"
	"github.com/gatekeeper-engine/gatekeeper/internal/config"
	"github.com/gatekeeper-engine/gatekeeper/internal/notify"
	"github.com/gatekeeper-engine/gatekeeper/internal/pagerduty"
	"github.com/gatekeeper-engine/gatekeeper/internal/slack"
	"github.com/gatekeeper-engine/gatekeeper/internal/webhook"
)

// people is everybody who is told, each by a queue of their own: none waits for another.
type people struct {
	alertmanagers *alertmanager.Sender
	others        notify.Group
	channel       notify.Channel
}

// Tell takes a fact and the release after it.
func (p *people) Tell(r gatekeeper.Release, f gatekeeper.Fact) {
	p.alertmanagers.Tell(r, f)
	p.others.Tell(r, f)
}

// Run sends until ctx ends.
func (p *people) Run(ctx context.Context) error {
	var all errgroup.Group
	all.Go(func() error { return p.alertmanagers.Run(ctx) })
	all.Go(func() error { return p.others.Run(ctx) })
	return all.Wait()
}

// channels are the configured ways to tell people.
type channels struct {
	alertmanagers alertmanager.Config
	slack         []slack.Config
	pagerduty     []pagerduty.Config
	webhooks      []webhook.Config
}

// decode reads the channels beside the Alertmanagers.
func (c *channels) decode(n config.Notifications) {
	c.slack = named(n.Slack, func(c slack.Config) string { return c.Name })
	c.pagerduty = named(n.PagerDuty, func(c pagerduty.Config) string { return c.Name })
	c.webhooks = named(n.Webhooks, func(c webhook.Config) string { return c.Name })
}

// named decodes the channels of a kind, whose names tell them apart in logs and metrics.
func named[C any](sections []config.Section, name func(C) string) []C {
	all, seen := make([]C, len(sections)), map[string]bool{}
	for i, section := range sections {
		section.Decode(&all[i])
		if is := name(all[i]); is != "" && seen[is] {
			section.Child("name").Wrong("", "the name %q is used twice", is)
		} else {
			seen[is] = true
		}
	}
	return all
}

// open makes the channels. It asks nobody, but reads the files that they need.
func (c channels) open(pictures notify.Pictures, log *slog.Logger, reg prometheus.Registerer) (*people, error) {
	counters, err := notify.NewCounters(reg)
	if err != nil {
		return nil, err
	}
	p := &people{channel: notify.Channel{ExternalURL: c.alertmanagers.ExternalURL, Pictures: pictures, Counters: counters, Log: log}}
	c.alertmanagers.Pictures = pictures
	if p.alertmanagers, err = alertmanager.New(c.alertmanagers, log, reg); err != nil {
		return nil, err
	}
	use, err := p.prepare(c)
	if err != nil {
		return nil, err
	}
	use()
	return p, nil
}

// prepare makes the channels that are new; use has people told by these channels from then on. One
// whose settings did not change goes on with what it knows, one that is left out sends what waits.
func (p *people) prepare(c channels) (use func(), err error) {
	useAlertmanagers, err := p.alertmanagers.Prepare(c.alertmanagers.Alertmanagers)
	if err != nil {
		return nil, err
	}
	wanted := makers(nil, c.slack, p.channel, slack.New)
	wanted = makers(wanted, c.pagerduty, p.channel, pagerduty.New)
	wanted = makers(wanted, c.webhooks, p.channel, webhook.New)
	next, err := p.others.Plan(wanted)
	if err != nil {
		return nil, err
	}
	return func() {
		useAlertmanagers()
		p.others.Replace(next)
	}, nil
}

// makers adds the channels of a kind to those that are wanted.
func makers[C any, T notify.Teller](wanted []notify.Wanted, all []C, channel notify.Channel, make func(C, notify.Channel) (T, error)) []notify.Wanted {
	for _, one := range all {
		wanted = append(wanted, notify.Wanted{Settings: one, Make: func() (notify.Teller, error) { return make(one, channel) }})
	}
	return wanted
}
