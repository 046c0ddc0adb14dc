package main

import (
	"fmt"
	"slices"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/api"
	"github.com/gatekeeper-engine/gatekeeper/internal/config"
	"github.com/gatekeeper-engine/gatekeeper/internal/secret"
)

// readToken makes a token of its entry in the configuration.
func readToken(t config.Token) (api.Token, error) {
	scopes, err := scopesOf(t.Scopes)
	if err != nil {
		return api.Token{}, gatekeeper.Errorf(gatekeeper.CodeInvalid, gatekeeper.HintOf(err), "token %q: %w", t.Name, err)
	}
	if len(t.Services) > 0 && slices.Contains(scopes, api.ScopeAlerts) {
		return api.Token{}, gatekeeper.Errorf(gatekeeper.CodeUnsupported, "give what sends alerts a token without services",
			"token %q: alerts of some services only are not supported yet", t.Name)
	}
	token := api.Token{}
	switch {
	case t.TokenFile == "" && t.TokenHash == "":
		return token, nil // told already
	case t.TokenHash != "":
		token, err = api.NewHashedToken(t.Name, t.TokenHash, scopes)
	default:
		var text string
		if text, err = secret.Read(t.TokenFile); err != nil {
			return token, gatekeeper.Errorf(gatekeeper.CodeInvalid, gatekeeper.HintOf(err), "token %q: %w", t.Name, err)
		}
		token, err = api.NewToken(t.Name, text, scopes)
	}
	token.Services = t.Services
	return token, err
}

func scopesOf(names []string) ([]api.Scope, error) {
	scopes := make([]api.Scope, len(names))
	for i, name := range names {
		scopes[i] = api.Scope(name)
		if !slices.Contains(api.Scopes(), scopes[i]) {
			return nil, gatekeeper.Errorf(gatekeeper.CodeInvalid, fmt.Sprintf("the scopes are %v", api.Scopes()), "there is no scope %q", name)
		}
	}
	return scopes, nil
}
