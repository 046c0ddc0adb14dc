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

// teller tells people of facts: Tell returns at once, Run sends until ctx ends.
type teller interface {
	Tell(r gatekeeper.Release, f gatekeeper.Fact)
	Run(ctx context.Context) error
}

// people is everybody who is told, each by a queue of their own: none waits for another.
type people []teller

// Tell takes a fact and the release after it.
func (p people) Tell(r gatekeeper.Release, f gatekeeper.Fact) {
	for _, one := range p {
		one.Tell(r, f)
	}
}

// Run sends until ctx ends.
func (p people) Run(ctx context.Context) error {
	var all errgroup.Group
	for _, one := range p {
		all.Go(func() error { return one.Run(ctx) })
	}
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
func (c channels) open(log *slog.Logger, reg prometheus.Registerer) (people, error) {
	counters, err := notify.NewCounters(reg)
	if err != nil {
		return nil, err
	}
	first, err := alertmanager.New(c.alertmanagers, log, reg)
	if err != nil {
		return nil, err
	}
	all := people{first}
	channel := notify.Channel{ExternalURL: c.alertmanagers.ExternalURL, Counters: counters, Log: log}
	for _, one := range c.slack {
		t, err := slack.New(one, channel)
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	for _, one := range c.pagerduty {
		t, err := pagerduty.New(one, channel)
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	for _, one := range c.webhooks {
		t, err := webhook.New(one, channel)
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, nil
}
