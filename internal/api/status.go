package api

import (
	"context"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatekeeper-engine/gatekeeper"
)

// Status is a release for those who poll it and can compare one word only, which is always there:
// Spinnaker's webhook stage ends with an error at a release that has no outcome yet.
type Status struct {
	Release string `json:"release" doc:"Its id."`
	Status  string `json:"status" doc:"Its outcome once it is closed; its state before."`
	Says    string `json:"says" doc:"The same for people, with the reason."`
}

func (s *server) registerStatus(api huma.API) {
	huma.Register(api, s.operation("get-status", http.MethodGet, "/releases/{id}/status", "Get how a release is, in one word", ScopeRead, http.StatusNotFound),
		func(ctx context.Context, in *idInput) (*output[Status], error) {
			if err := s.mine(ctx, in.ID); err != nil {
				return nil, err
			}
			r, err := s.Engine.Release(ctx, in.ID)
			if err != nil {
				return nil, problemOf(err)
			}
			return &output[Status]{statusOf(r)}, nil
		})
}

func statusOf(r gatekeeper.Release) Status {
	s := Status{Release: r.ID, Status: string(r.State), Says: fmt.Sprintf("%s %s in %s is %s", r.Service, r.Version, r.Environment, r.State)}
	switch {
	case r.Closed():
		s.Status = string(r.Outcome)
		s.Says = fmt.Sprintf("%s %s in %s: %s, %s", r.Service, r.Version, r.Environment, r.Outcome, r.Why)
	case r.Hold != nil:
		s.Says += ": " + r.Hold.Says
	}
	return s
}
