package engine

import "github.com/gatekeeper-engine/gatekeeper"

// mayOpen refuses a client that may not open releases of the service.
func (e *Engine) mayOpen(req OpenRequest) error {
	if len(req.Services) > 0 && !req.Services.Match(req.Service) {
		return gatekeeper.Errorf(gatekeeper.CodeRefused, "ask the operator for a token for that service",
			"the token %s is not for service %s, so the release is not open", req.Token, req.Service)
	}
	return nil
}
