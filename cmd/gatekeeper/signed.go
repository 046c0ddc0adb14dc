package main

import (
	"context"
	"net/http"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/engine"
	"github.com/gatekeeper-engine/gatekeeper/internal/config"
	"github.com/gatekeeper-engine/gatekeeper/internal/secret"
	"github.com/gatekeeper-engine/gatekeeper/internal/signature"
	"github.com/gatekeeper-engine/gatekeeper/webhooks"
)

// signed gives the handlers of signed requests by their paths under /webhooks/.
func (d *daemon) signed(all []config.Webhook) (map[string]http.Handler, error) {
	handlers := map[string]http.Handler{}
	for _, sender := range all {
		secret := func() (string, error) {
			text, err := secret.Read(sender.SecretFile)
			if err != nil {
				return "", err
			}
			return text, signature.CheckSecret(text)
		}
		if _, err := secret(); err != nil {
			return nil, gatekeeper.Errorf(gatekeeper.CodeInvalid, gatekeeper.HintOf(err), "webhook %q: %w", sender.Name, err)
		}
		handlers["generic/"+sender.Name] = d.hooks.Generic(sender.Name, secret, caller{d.engine, sender}.do)
	}
	return handlers, nil
}

// caller does what one sender of signed requests asks for.
type caller struct {
	engine *engine.Engine
	sender config.Webhook
}

func (c caller) do(ctx context.Context, call webhooks.Call) (gatekeeper.Release, error) {
	by := engine.By{Actor: call.Actor, Why: call.Why}
	if call.Action == webhooks.ActionOpen {
		return c.open(ctx, call)
	}
	if err := c.mayChange(ctx, call.ID); err != nil {
		return gatekeeper.Release{}, err
	}
	switch call.Action {
	case webhooks.ActionDeployed:
		return c.engine.Deployed(ctx, call.ID, by)
	case webhooks.ActionHeartbeat:
		return c.engine.Heartbeat(ctx, call.ID, by)
	case webhooks.ActionExtend:
		return c.engine.Extend(ctx, call.ID, call.By, by)
	case webhooks.ActionMark:
		return c.engine.Mark(ctx, call.ID, by)
	case webhooks.ActionClose:
		return c.engine.Close(ctx, call.ID, by)
	default:
		return gatekeeper.Release{}, gatekeeper.Errorf(gatekeeper.CodeInvalid, "", "there is no action %q", call.Action)
	}
}

func (c caller) open(ctx context.Context, call webhooks.Call) (gatekeeper.Release, error) {
	o := call.Open
	if !c.may(o.Service) {
		return gatekeeper.Release{}, c.refused(o.Service)
	}
	return c.engine.Open(ctx, engine.OpenRequest{
		ID: call.ID, Service: o.Service, Environment: o.Environment, Version: o.Version, PreviousVersion: o.PreviousVersion,
		Labels: o.Labels, HealthFile: o.HealthFile, Plan: o.Plan, Window: time.Duration(o.Window), WatchOnly: o.WatchOnly,
		DryRun: o.DryRun, AfterDeploy: o.AfterDeploy, Deployed: o.Deployed, Heartbeat: time.Duration(o.Heartbeat), Actor: call.Actor,
		Token: c.sender.Name, Services: c.sender.Services,
	})
}

func (c caller) mayChange(ctx context.Context, id string) error {
	if len(c.sender.Services) == 0 {
		return nil
	}
	r, err := c.engine.Release(ctx, id)
	if err != nil {
		return err
	}
	if !c.may(r.Service) {
		return c.refused(r.Service)
	}
	return nil
}

func (c caller) may(service string) bool {
	return len(c.sender.Services) == 0 || c.sender.Services.Match(service)
}

func (c caller) refused(service string) error {
	return gatekeeper.Errorf(gatekeeper.CodeRefused, "ask the operator to add it to the services of the webhook",
		"the sender %q may not change releases of the service %q", c.sender.Name, service)
}
