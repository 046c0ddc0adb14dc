package engine

import (
	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
)

// mayOpen refuses a client that may not open releases of the service.
func (e *Engine) mayOpen(req OpenRequest) error {
	if len(req.Services) > 0 && !req.Services.Match(req.Service) {
		return gatekeeper.Errorf(gatekeeper.CodeRefused, "ask the operator for a token for that service",
			"the token %s is not for service %s, so the release is not open", req.Token, req.Service)
	}
	policy := e.terms.Load().Policy
	if policy == nil {
		return nil
	}
	return policy.MayOpen(req.Token, req.Service)
}

// mayUse refuses a rung that the operator does not allow to releases of the service.
func (e *Engine) mayUse(service string, rung gatekeeper.Rung, action actions.Action) error {
	policy := e.terms.Load().Policy
	if policy == nil {
		return nil
	}
	var names []string
	if named, ok := action.(actions.Named); ok {
		names = named.Names()
	}
	return policy.MayUse(service, rung, names)
}
