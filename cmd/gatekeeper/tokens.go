package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/api"
	"github.com/gatekeeper-engine/gatekeeper/internal/config"
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
		var secret []byte
		if secret, err = os.ReadFile(t.TokenFile); err != nil {
			return token, gatekeeper.Errorf(gatekeeper.CodeInvalid, "put the secret into a file that only the daemon can read", "token %q: %w", t.Name, err)
		}
		token, err = api.NewToken(t.Name, strings.TrimSpace(string(secret)), scopes)
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
