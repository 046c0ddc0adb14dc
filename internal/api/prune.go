package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/retention"
)

// PruneBody says what is removed from the store.
type PruneBody struct {
	ByBody
	OlderThan gatekeeper.Duration `json:"older_than" example:"4320h" doc:"Releases that are over and whose last fact is older, at least 24h. What the engine reads back stays."`
	DryRun    bool                `json:"dry_run,omitempty" doc:"Only tell what would be removed."`
}

type pruneInput struct {
	waiting
	Body PruneBody
}

func (s *server) registerPrune(api huma.API) {
	op := s.operation("prune-store", http.MethodPost, "/store/prune", "Remove old releases from the store", ScopeOperate, http.StatusServiceUnavailable)
	op.Description = "Removes releases that are over, whole, the oldest first. When the call ends early, what it removed so far is removed. The room is filled by new releases; the file itself gets smaller when the daemon starts."
	huma.Register(api, op, func(ctx context.Context, in *pruneInput) (*output[retention.Report], error) {
		if err := everywhere(ctx, "pruning the store"); err != nil {
			return nil, err
		}
		age := time.Duration(in.Body.OlderThan)
		if err := retention.Check(age); err != nil {
			return nil, problemOf(err)
		}
		s.Log.Warn("the store is pruned at somebody's request", "actor", callerOf(ctx).actor(in.Body.Actor), "older_than", age, "dry_run", in.Body.DryRun)
		before := time.Now().Add(-age)
		prune := func() (retention.Report, error) { return s.Store.Prune(ctx, before, in.Body.DryRun) }
		var report retention.Report
		var err error
		if in.Body.DryRun {
			report, err = prune()
		} else {
			report, err = retention.Requested(ctx, s.Engine.Audit, in.Body.by(ctx), before, prune)
		}
		if err != nil {
			return nil, problemOf(err)
		}
		return &output[retention.Report]{report}, nil
	})
}
