package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// reload serves POST /-/reload: the configuration is read again, as a whole or not at all.
func (s *server) reload(w http.ResponseWriter, r *http.Request) {
	who, p := s.gate.admit(r, ScopeOperate)
	if p == nil {
		r = r.WithContext(context.WithValue(r.Context(), callerKey{}, who))
		p = s.reloaded(r)
	}
	if p != nil {
		challenge(w.Header(), p)
		writeProblem(w, p)
		return
	}
	document("text/plain; charset=utf-8", []byte("The configuration was reloaded.\n")).ServeHTTP(w, r)
}

func (s *server) reloaded(r *http.Request) *Problem {
	if refused, ok := errors.AsType[*Problem](everywhere(r.Context(), "the configuration")); ok {
		return refused
	}
	err := s.Reload(r.Context(), callerOf(r.Context()).by("", ""))
	if err == nil {
		return nil
	}
	p := problemOf(err)
	if len(p.Errors) > 0 {
		p.Detail = fmt.Sprintf("the configuration has %s: nothing was changed", counted(len(p.Errors), "problem"))
	}
	return p
}
