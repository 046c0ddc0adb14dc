// Package api is Gatekeeper's HTTP face: JSON calls under /api/v1 described by OpenAPI 3.1,
// server-sent events of what happens, and the places where other handlers are mounted. Errors are
// problem+json (RFC 9457) with a code for machines and a hint for people.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/gatekeeper-engine/gatekeeper/engine"
)

// Limits on what a client may send.
const (
	MaxBody   = 2 << 20  // bytes of a request's body
	MaxHeader = 64 << 10 // bytes of a request's header
	maxActor  = 100      // characters of a client-given actor
	maxWhy    = 1000     // characters of a client-given reason
)

// Config is what the API serves and to whom. Engine is needed.
type Config struct {
	Engine  Engine
	Flags   Flags    // nil: there is no flag store
	Store   Store    // nil: no snapshots of it, no pruning
	Actions []Action // what GET /actions lists
	Version string   // of the program
	Tokens  []Token  // none: only loopback clients are served

	// Known names a client that was authenticated before its request came here, by its certificate or
	// by basic auth. Without tokens such clients may do everything; nil: there are none.
	Known func(*http.Request) (name string, ok bool)

	// Reload reads the configuration again; an error has changed nothing. nil: it is not served.
	Reload func(ctx context.Context, by engine.By) error

	Alerts   http.Handler            // /api/v2/alerts, scope alerts; may be nil
	Webhooks map[string]http.Handler // by the name under /webhooks/, scope alerts
	Signed   map[string]http.Handler // the same, but their requests carry signatures and no token
	OFREP    http.Handler            // /ofrep/, scope read; may be nil
	Metrics  http.Handler            // /metrics, scope read; may be nil

	// Pages gives the pages for people, which are served at / and below; they let in whom the door
	// lets in. nil: there are none.
	Pages    func(Door) Pages
	Sessions *Sessions // of the pages, kept over reloads; nil: new ones

	Streams context.Context // its end ends the streams, so that a shutdown need not wait for their readers; nil: never
	Log     *slog.Logger
}

// server holds what the calls share.
type server struct {
	Config
	gate        gate
	streams     chan struct{} // one for every open stream
	bodyTimeout time.Duration // how long a body may take to arrive
}

// New gives the handler of every path that Gatekeeper serves. It starts nothing.
func New(cfg Config) (http.Handler, error) { return build(cfg, 20*time.Second) }

func build(cfg Config, bodyTimeout time.Duration) (http.Handler, error) {
	if cfg.Engine == nil {
		return nil, errors.New("api: needs an engine")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Streams == nil {
		cfg.Streams = context.Background()
	}
	if cfg.Sessions == nil {
		cfg.Sessions = NewSessions()
	}
	gate, err := newGate(cfg.Tokens, cfg.Known, cfg.Sessions)
	if err != nil {
		return nil, err
	}
	s := &server{Config: cfg, gate: gate, streams: make(chan struct{}, maxStreams), bodyTimeout: bodyTimeout}
	mux := NewMux()
	spec := s.register(mux)
	if err := s.mount(mux, spec); err != nil {
		return nil, err
	}
	return explained{mux}, nil
}

// Server gives an HTTP server with the limits and timeouts that the handler of [New] is made for.
func Server(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      30 * time.Second, // calls that wait longer move it on
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    MaxHeader,
	}
}

// register puts every call of /api/v1 on the mux and gives the OpenAPI document.
func (s *server) register(mux *Mux) *huma.OpenAPI {
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	describeFacts(registry)
	api := humago.New(mux, huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title:       "Gatekeeper",
				Version:     s.Version,
				Description: "Watches metrics while you release, and takes the release back when they go bad.",
				License:     &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"},
			},
			Components: &huma.Components{
				Schemas: registry,
				SecuritySchemes: map[string]*huma.SecurityScheme{
					tokenScheme: {Type: "http", Scheme: "bearer", Description: "A token of the daemon's configuration, with its scopes. Without configured tokens only clients of the same machine are served, and need none."},
				},
			},
		},
		Formats: map[string]huma.Format{
			"application/json": strictJSON,
			"json":             strictJSON, // how huma looks application/problem+json up
		},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
	})
	api.UseMiddleware(s.authorize)
	s.registerReleases(api)
	s.registerStatus(api)
	s.registerVerbs(api)
	s.registerEvents(api)
	s.registerAdmin(api)
	s.registerFlags(api)
	s.registerStore(api)
	s.registerAudit(api)
	return api.OpenAPI()
}

// mount puts everything that is not a call of /api/v1 on the mux.
func (s *server) mount(mux *Mux, spec *huma.OpenAPI) error {
	asJSON, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	asYAML, err := spec.YAML()
	if err != nil {
		return err
	}
	mux.Handle("GET /openapi.json", document("application/openapi+json", asJSON))
	mux.Handle("GET /openapi.yaml", document("application/openapi+yaml", asYAML))
	mux.Handle("GET /-/healthy", document("text/plain; charset=utf-8", []byte("Gatekeeper is alive.\n")))
	mux.HandleFunc("GET /-/ready", s.ready)
	if s.Reload != nil {
		mux.HandleFunc("POST /-/reload", s.reload)
	}
	if s.Alerts != nil {
		mux.Handle("/api/v2/alerts", s.gate.guard(ScopeAlerts, arriving(s.bodyTimeout, s.Alerts)))
	}
	for name, h := range s.Webhooks {
		mux.Handle("/webhooks/"+name, s.gate.guard(ScopeAlerts, arriving(s.bodyTimeout, h)))
	}
	for name, h := range s.Signed {
		mux.Handle("/webhooks/"+name, arriving(s.bodyTimeout, h))
	}
	if s.OFREP != nil {
		mux.Handle("/ofrep/", s.gate.guardOrLocal(ScopeRead, arriving(s.bodyTimeout, s.OFREP)))
	}
	if s.Metrics != nil {
		mux.Handle("GET /metrics", s.gate.guardOrLocal(ScopeRead, s.Metrics))
	}
	mux.Handle("GET /prometheus/api/v1/rules", s.promRead(promRules))
	mux.Handle("GET /prometheus/api/v1/alerts", s.promRead(promAlerts))
	if s.Pages != nil {
		served := s.Pages(Door{s.gate})
		pages := arriving(s.bodyTimeout, served)
		for _, at := range served.Patterns() {
			mux.Handle(at, pages)
		}
	}
	return nil
}

// explained is a mux for bodies of at most [MaxBody], whose own errors, for paths and methods that
// are not served, are problems.
type explained struct{ *Mux }

// ServeHTTP serves what the mux has a pattern for.
func (e explained) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h, pattern := e.mux.Handler(r)
	if pattern != "" {
		http.MaxBytesHandler(e.Mux, MaxBody).ServeHTTP(w, r)
		return
	}
	refused := verdict{header: w.Header()}
	h.ServeHTTP(&refused, r)
	message := "there is nothing at " + r.URL.Path
	if refused.status == http.StatusMethodNotAllowed {
		message = r.Method + " is not for " + r.URL.Path + ": it takes " + w.Header().Get("Allow")
	}
	p := newProblem(refused.status, message)
	p.Hint = "see /openapi.json"
	writeProblem(w, p)
}

// verdict keeps the status and the header of an answer and drops its body.
type verdict struct {
	header http.Header
	status int
}

// Header gives the header of the real answer.
func (v *verdict) Header() http.Header { return v.header }

// Write drops the body.
func (v *verdict) Write(b []byte) (int, error) { return len(b), nil }

// WriteHeader keeps the status.
func (v *verdict) WriteHeader(status int) { v.status = status }

func (s *server) ready(w http.ResponseWriter, _ *http.Request) {
	if err := s.Engine.Ready(); err != nil {
		writeProblem(w, problemOf(err))
		return
	}
	document("text/plain; charset=utf-8", []byte("Gatekeeper is ready.\n")).ServeHTTP(w, nil)
}

// document serves bytes that do not change.
func document(contentType string, body []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write(body) // the client has gone: nobody is left to tell
	})
}

// init makes huma's own errors, such as those of its validation, look like all others, and keys
// that differ from the documented ones by their case unknown. Huma keeps both in variables of its
// package, so they can't be given per API.
func init() {
	huma.ValidateStrictCasing = true
	huma.NewError = func(status int, message string, causes ...error) huma.StatusError {
		return refused(status, message, causes...)
	}
}
