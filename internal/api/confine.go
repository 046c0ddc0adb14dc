package api

import (
	"context"
	"net/http"

	"github.com/gatekeeper-engine/gatekeeper"
)

// A token with services is for releases of these only. Opening is refused by the engine, which
// knows the service when it has read the health file; every other call on a release here.

// sees says whether the caller may know of a service's releases.
func (c caller) sees(service string) bool {
	return len(c.services) == 0 || c.services.Match(service)
}

// mine refuses a caller for whose services the release is not.
func (s *server) mine(ctx context.Context, id string) error {
	who := callerOf(ctx)
	if len(who.services) == 0 {
		return nil
	}
	r, err := s.Engine.Release(ctx, id)
	if err != nil {
		return problemOf(err)
	}
	if !who.sees(r.Service) {
		return refusal(http.StatusForbidden, "ask the operator for a token for that service",
			"the token "+who.name+" is not for service "+r.Service+": nothing was done")
	}
	return nil
}

// everywhere refuses a caller that is confined to services something that concerns all of them.
func everywhere(ctx context.Context, what string) error {
	if who := callerOf(ctx); len(who.services) > 0 {
		return refusal(http.StatusForbidden, "ask the operator for a token without services",
			"the token "+who.name+" is for some services only, and "+what+" concerns all of them: nothing was done")
	}
	return nil
}

// visible leaves out what the caller may not know of.
func visible(ctx context.Context, all []gatekeeper.Release) []gatekeeper.Release {
	who, out := callerOf(ctx), []gatekeeper.Release{}
	for _, r := range all {
		if who.sees(r.Service) {
			out = append(out, r)
		}
	}
	return out
}

// services remembers whose releases a stream tells of.
type services map[string]string

// of gives the service of a change's release.
func (all services) of(c gatekeeper.Change, read func(id string) (gatekeeper.Release, error)) (string, error) {
	if opened, ok := c.Fact.Body.(gatekeeper.Opened); ok {
		all[c.Release] = opened.Service
	} else if _, known := all[c.Release]; !known {
		r, err := read(c.Release)
		if err != nil {
			return "", err
		}
		all[c.Release] = r.Service
	}
	service := all[c.Release]
	if c.Fact.Body.Kind() == gatekeeper.KindClosed {
		delete(all, c.Release)
	}
	return service, nil
}
