package api

import (
	"cmp"
	"context"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/gatekeeper-engine/gatekeeper"
)

const tokenScheme = "token"

// caller is who sent a request; the zero caller is somebody on this machine.
type caller struct {
	name     string
	means    gatekeeper.Means // by which it is known; "": local
	services gatekeeper.Globs // see [Token]
	token    *Token           // by which it was let in; nil: it may do everything
	session  string           // by which a browser shows the token; empty: it did not
}

// actor names the caller and whom it acts for: "ci (alice)".
func (c caller) actor(given string) string {
	switch {
	case c.name == "" && given == "":
		return "local"
	case c.name == "":
		return given
	case given == "" || given == c.name:
		return c.name
	}
	return c.name + " (" + given + ")"
}

// by says who asks for a change, on whose behalf and why.
func (c caller) by(given, why string) gatekeeper.By {
	return gatekeeper.By{Actor: c.actor(given), Means: cmp.Or(c.means, gatekeeper.MeansLocal), Why: why}
}

type callerKey struct{}

// Caller gives the name of who sent the request that ctx belongs to; "": somebody on this machine.
func Caller(ctx context.Context) string { return callerOf(ctx).name }

func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

// gate lets requests in.
type gate struct {
	tokens   []Token
	known    func(*http.Request) (name string, ok bool)
	sessions *Sessions
}

func newGate(tokens []Token, known func(*http.Request) (string, bool), sessions *Sessions) (gate, error) {
	var names []string
	for _, t := range tokens {
		if t.Name == "" || slices.Contains(names, t.Name) {
			return gate{}, gatekeeper.Errorf(gatekeeper.CodeInvalid, "give every token a name of its own",
				"the token name %q is empty or used twice", t.Name)
		}
		names = append(names, t.Name)
	}
	return gate{tokens: tokens, known: known, sessions: sessions}, nil
}

// admit says who sent r, or why it may not do what the scope is for. A browser's session is for
// reading: what changes something goes through the pages' forms, see [Door.Change].
func (g gate) admit(r *http.Request, scope Scope) (caller, *Problem) {
	who, p := g.identify(r, foreign(r))
	switch {
	case p != nil:
		return who, p
	case who.session != "" && !reads(r):
		return caller{}, refusal(http.StatusForbidden, "send the token, or use the page", "a session in a browser only reads here: nothing was done")
	case !who.may(scope):
		return caller{}, refusal(http.StatusForbidden, "ask the operator for the scope", "the token "+who.name+" does not have the scope "+string(scope))
	}
	return who, nil
}

// may says whether the caller may do what the scope is for.
func (c caller) may(scope Scope) bool { return c.token == nil || c.token.may(scope) }

func reads(r *http.Request) bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }

// identify says who sent r, or why it is not let in; strange tells that a page of others had it sent.
func (g gate) identify(r *http.Request, strange bool) (caller, *Problem) {
	if len(g.tokens) == 0 {
		return g.withoutToken(r, strange)
	}
	secret, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return g.bySession(r, strange)
	}
	found := g.find(secret)
	if found == nil {
		return caller{}, refusal(http.StatusUnauthorized, "ask the operator for a token of the daemon's configuration", "the token is not known")
	}
	return caller{name: found.Name, means: gatekeeper.MeansToken, services: found.Services, token: found}, nil
}

// withoutToken lets in who was authenticated before, and this machine's own programs. A browser
// shows a certificate or a password by itself, so pages of others are refused.
func (g gate) withoutToken(r *http.Request, strange bool) (caller, *Problem) {
	if g.known != nil {
		if name, ok := g.known(r); ok {
			if strange {
				return caller{}, refusal(http.StatusForbidden, "open the daemon's own address", "a web page of another origin may not ask Gatekeeper")
			}
			who := caller{name: name, means: gatekeeper.MeansCertificate}
			if _, _, basic := r.BasicAuth(); basic && (r.TLS == nil || len(r.TLS.VerifiedChains) == 0) {
				who.means = gatekeeper.MeansPassword
			}
			return who, nil
		}
	}
	return caller{}, local(r, strange)
}

// local says why a request without a token is not from this machine's own programs. A page in a
// browser here must not act for its user, so the names of loopback are required too: another Host
// is DNS rebinding, another Origin a page of somebody else's.
func local(r *http.Request, strange bool) *Problem {
	const hint = "use the daemon's loopback address, or configure tokens"
	switch {
	case !loopback(r.RemoteAddr):
		return refusal(http.StatusForbidden, "configure tokens to serve other machines", "without tokens only clients on this machine are served")
	case !loopback(r.Host):
		return refusal(http.StatusForbidden, hint, "without tokens the Host must be this machine's loopback, not "+r.Host)
	case strange:
		return refusal(http.StatusForbidden, hint, "a web page of another origin may not ask Gatekeeper")
	}
	return nil
}

// foreign says whether a page of another origin had the browser send r. What newer browsers say of that is
// enough: the Host that a proxy sends need not be the one that the page's Origin has.
func foreign(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" {
		return site != "same-origin" && site != "none"
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	u, err := url.Parse(origin)
	return err != nil || u.Host != r.Host
}

// loopback says whether an address, with or without a port, is this machine's own.
func loopback(address string) bool {
	host := address
	if h, _, err := net.SplitHostPort(address); err == nil {
		host = h
	}
	if strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.Unmap().IsLoopback()
}

func refusal(status int, hint, message string) *Problem {
	p := newProblem(status, message)
	p.Hint = hint
	return p
}

// guard lets only requests with the scope through to h.
func (g gate) guard(scope Scope, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, p := g.admit(r, scope)
		if p != nil {
			challenge(w.Header(), p)
			writeProblem(w, p)
			return
		}
		h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, who)))
	})
}

// guardOrLocal also lets this machine's own programs through, which read flags and metrics.
func (g gate) guardOrLocal(scope Scope, h http.Handler) http.Handler {
	guarded := g.guard(scope, h)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if local(r, foreign(r)) == nil {
			h.ServeHTTP(w, r)
			return
		}
		guarded.ServeHTTP(w, r)
	})
}

func challenge(h http.Header, p *Problem) {
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="gatekeeper"`)
	}
}

// secured is the security of a call that needs one of the scopes; authorize reads it from there, so
// the OpenAPI document can't say anything else than what is done.
func secured(scopes ...Scope) (enough []map[string][]string) {
	for _, scope := range scopes {
		enough = append(enough, map[string][]string{tokenScheme: {string(scope)}})
	}
	return enough
}

// authorize is huma's middleware before every call of /api/v1.
func (s *server) authorize(ctx huma.Context, next func(huma.Context)) {
	r, w := humago.Unwrap(ctx)
	who, p := caller{}, (*Problem)(nil)
	for _, enough := range ctx.Operation().Security {
		if who, p = s.gate.admit(r, Scope(enough[tokenScheme][0])); p == nil {
			break
		}
	}
	if p != nil {
		challenge(w.Header(), p)
		writeProblem(w, p)
		return
	}
	next(huma.WithValue(ctx, callerKey{}, who))
}
