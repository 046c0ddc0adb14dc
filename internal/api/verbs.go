package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/engine"
)

// ByBody says on whose behalf something is asked, and why.
type ByBody struct {
	Actor string `json:"actor,omitempty" maxLength:"100" doc:"On whose behalf."`
	Why   string `json:"why,omitempty" maxLength:"1000" doc:"The reason, for the journal."`
}

func (b ByBody) by(ctx context.Context) engine.By {
	return callerOf(ctx).by(b.Actor, b.Why)
}

// ExtendBody moves the end of a window.
type ExtendBody struct {
	ByBody
	By gatekeeper.Duration `json:"by" example:"15m" doc:"How much later the window ends."`
}

type verbInput struct {
	waiting
	ID   string `path:"id" maxLength:"100"`
	Body *ByBody
}

type extendInput struct {
	ID   string `path:"id" maxLength:"100"`
	Body ExtendBody
}

func (s *server) registerVerbs(api huma.API) {
	e := s.Engine
	for _, verb := range []struct {
		name, summary string
		scope         Scope
		ask           func(context.Context, string, engine.By) (gatekeeper.Release, error)
	}{
		{"deployed", "Say that the new version is deployed: the window begins", ScopeOpen, e.Deployed},
		{"heartbeat", "Say that the pipeline is alive", ScopeOpen, e.Heartbeat},
		{"approve", "Approve the rollback of a held release", ScopeOperate, e.Approve},
		{"veto", "Veto the rollback of a held release; its rules are muted", ScopeOperate, e.Veto},
		{"hold", "Hold a release: nothing is decided until it is resumed", ScopeOperate, e.Hold},
		{"resume", "Resume a held release", ScopeOperate, e.Resume},
		{"rollback", "Roll a release back; a closed, passed one by a new release", ScopeOperate, e.Rollback},
		{"close", "Close a release as aborted: nothing is judged or rolled back any more", ScopeOpen, e.Close},
		{"mark-irreversible", "Say that returning would do harm from here: every rollback asks a person", ScopeOpen, e.Mark},
	} {
		op := s.operation(verb.name+"-release", http.MethodPost, "/releases/{id}/"+verb.name, verb.summary, verb.scope,
			http.StatusNotFound, http.StatusConflict, http.StatusServiceUnavailable)
		huma.Register(api, op, func(ctx context.Context, in *verbInput) (*releaseOutput, error) {
			var by ByBody
			if in.Body != nil {
				by = *in.Body
			}
			if err := s.mine(ctx, in.ID); err != nil {
				return nil, err
			}
			return answer(verb.ask(ctx, in.ID, by.by(ctx)))
		})
	}
	extend := s.operation("extend-release", http.MethodPost, "/releases/{id}/extend", "Extend a release's window", ScopeOpen,
		http.StatusNotFound, http.StatusConflict, http.StatusServiceUnavailable)
	extend.Security = secured(ScopeOperate, ScopeOpen) // people and pipelines
	huma.Register(api, extend,
		func(ctx context.Context, in *extendInput) (*releaseOutput, error) {
			if err := s.mine(ctx, in.ID); err != nil {
				return nil, err
			}
			return answer(e.Extend(ctx, in.ID, time.Duration(in.Body.By), in.Body.by(ctx)))
		})
}

// patience is how long a call may take that waits for actions.
const patience = 10 * time.Minute

// waiting is embedded in the input of a call that waits for actions. The server's deadlines are
// for clients that send or read slowly; once the body is there the call has its own time, and
// without this the request would be cancelled when the deadline of its body passes.
type waiting struct{}

// Resolve is called by huma when the input has been read.
func (waiting) Resolve(ctx huma.Context) []error {
	_, w := humago.Unwrap(ctx)
	rc := http.NewResponseController(w)
	if err := errors.Join(rc.SetReadDeadline(time.Time{}), rc.SetWriteDeadline(time.Now().Add(patience))); err != nil {
		return []error{err}
	}
	return nil
}
