package api

import (
	"net/http"
	"slices"
)

// Mux is a [http.ServeMux] that knows what it serves. Patterns are added before it serves.
type Mux struct {
	mux      *http.ServeMux
	patterns []string
}

// NewMux gives an empty mux.
func NewMux() *Mux { return &Mux{mux: http.NewServeMux()} }

// Handle has h serve a pattern.
func (m *Mux) Handle(pattern string, h http.Handler) {
	m.mux.Handle(pattern, h)
	m.patterns = append(m.patterns, pattern)
}

// HandleFunc has h serve a pattern.
func (m *Mux) HandleFunc(pattern string, h func(http.ResponseWriter, *http.Request)) {
	m.Handle(pattern, http.HandlerFunc(h))
}

// ServeHTTP serves by the pattern that fits best.
func (m *Mux) ServeHTTP(w http.ResponseWriter, r *http.Request) { m.mux.ServeHTTP(w, r) }

// Patterns gives every pattern that is served, in the order of their adding.
func (m *Mux) Patterns() []string { return slices.Clone(m.patterns) }

// Pages are served at their patterns, which stand beside those of the API: what else is asked for
// stays a problem of the API.
type Pages interface {
	http.Handler
	Patterns() []string
}
