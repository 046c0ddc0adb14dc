package api

import (
	"cmp"
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/engine"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// OpenBody asks for a release to be opened. What is left out is the health file's or the
// operator's default.
type OpenBody struct {
	ID              string              `json:"id,omitempty" maxLength:"100" doc:"The client's id for it, also as the header Idempotency-Key: the same request again gives the same release."`
	Service         string              `json:"service,omitempty" maxLength:"200" doc:"May be left out when the health file names it."`
	Environment     string              `json:"environment,omitempty" maxLength:"200" doc:"Default: default."`
	Version         string              `json:"version" minLength:"1" maxLength:"200" doc:"The version that is released."`
	PreviousVersion string              `json:"previous_version,omitempty" maxLength:"200" doc:"Default: the version of the newest passed release."`
	Labels          map[string]string   `json:"labels,omitempty" maxProperties:"64" doc:"Values of ${labels.x} in the health file."`
	Bundle          *rules.Bundle       `json:"bundle,omitempty" doc:"The health file with its rule files; or"`
	HealthFile      string              `json:"health_file,omitempty" maxLength:"300" doc:"the name of one in the operator's directory."`
	Plan            string              `json:"plan,omitempty" maxLength:"200" doc:"A rollback plan of the operator's, for a health file that has none."`
	Window          gatekeeper.Duration `json:"window,omitempty" example:"30m" doc:"Overrides the health file's."`
	WatchOnly       bool                `json:"watch_only,omitempty" doc:"Judge and tell, never roll back."`
	DryRun          bool                `json:"dry_run,omitempty" doc:"Record what would have been done."`
	AfterDeploy     bool                `json:"after_deploy,omitempty" doc:"The new version is there already."`
	Deployed        bool                `json:"deployed,omitempty" doc:"Start the window at once."`
	Heartbeat       gatekeeper.Duration `json:"heartbeat,omitempty" example:"2m" doc:"The pipeline promises a sign of life at least so often, from 1s to 24h, until it has said deployed and while it waits; when none comes people are told."`
	TraceParent     string              `json:"trace_parent,omitempty" maxLength:"100" doc:"The span that the release belongs to in a trace, also as the header traceparent (W3C Trace Context)."`
	Actor           string              `json:"actor,omitempty" maxLength:"100" doc:"On whose behalf."`
}

type openInput struct {
	waiting
	Key  string `header:"Idempotency-Key" maxLength:"100" doc:"The same as the body's id."`
	Span string `header:"traceparent" doc:"The same as the body's trace_parent, which goes first."`
	Body OpenBody
}

// ReleaseList is a page of releases, newest first.
type ReleaseList struct {
	Releases []gatekeeper.Release `json:"releases" nullable:"false" doc:"Of the services that the token is for: a page can hold fewer than asked for."`
	Next     string               `json:"next,omitempty" doc:"Give it as after to get the next page; left out on the last one."`
}

// FactList is everything that happened to a release, in order.
type FactList struct {
	Facts []gatekeeper.Fact `json:"facts" nullable:"false"`
}

type idInput struct {
	ID string `path:"id" maxLength:"100"`
}

type listInput struct {
	Open  bool   `query:"open" doc:"Only those that are not closed."`
	Limit int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
	After string `query:"after" maxLength:"100" doc:"The id after which to go on, towards older releases."`
}

type releaseOutput struct{ Body gatekeeper.Release }

type openOutput struct {
	Location string `header:"Location"`
	Body     gatekeeper.Release
}

type output[T any] struct{ Body T }

const base = "/api/v1"

// operation describes a call; statuses are those of its errors besides the usual ones.
func (s *server) operation(id, method, path, summary string, scope Scope, statuses ...int) huma.Operation {
	return huma.Operation{
		OperationID: id, Method: method, Path: base + path, Summary: summary, Security: secured(scope),
		Errors:          append([]int{http.StatusUnauthorized, http.StatusForbidden}, statuses...),
		MaxBodyBytes:    MaxBody,
		BodyReadTimeout: s.bodyTimeout,
	}
}

func (s *server) registerReleases(api huma.API) {
	open := s.operation("open-release", http.MethodPost, "/releases", "Open a release", ScopeOpen,
		http.StatusConflict, http.StatusNotImplemented, http.StatusServiceUnavailable)
	open.Description = "Answers when every rung of the rollback plan has been prepared, so that the pipeline deploys after it. The same version again gives the open release."
	open.DefaultStatus = http.StatusCreated
	huma.Register(api, open, s.open)

	huma.Register(api, s.operation("list-releases", http.MethodGet, "/releases", "List releases, newest first", ScopeRead), s.list)
	huma.Register(api, s.operation("get-release", http.MethodGet, "/releases/{id}", "Get a release", ScopeRead, http.StatusNotFound),
		func(ctx context.Context, in *idInput) (*releaseOutput, error) {
			if err := s.mine(ctx, in.ID); err != nil {
				return nil, err
			}
			return answer(s.Engine.Release(ctx, in.ID))
		})
	huma.Register(api, s.operation("get-facts", http.MethodGet, "/releases/{id}/facts", "Get everything that happened to a release", ScopeRead, http.StatusNotFound),
		func(ctx context.Context, in *idInput) (*output[FactList], error) {
			if err := s.mine(ctx, in.ID); err != nil {
				return nil, err
			}
			facts, err := s.Engine.Facts(ctx, in.ID)
			if err != nil {
				return nil, problemOf(err)
			}
			return &output[FactList]{FactList{Facts: facts}}, nil
		})
	huma.Register(api, s.operation("get-file", http.MethodGet, "/releases/{id}/file", "Get the health file that a release pinned", ScopeRead, http.StatusNotFound), s.file)
}

// file gives the health file with its rule files, as they were when the release was opened.
func (s *server) file(ctx context.Context, in *idInput) (*output[rules.Bundle], error) {
	if err := s.mine(ctx, in.ID); err != nil {
		return nil, err
	}
	r, err := s.Engine.Release(ctx, in.ID)
	if err != nil {
		return nil, problemOf(err)
	}
	content, err := s.Engine.File(ctx, r.File)
	if err != nil {
		return nil, problemOf(err)
	}
	bundle, err := rules.DecodeBundle(content)
	if err != nil {
		return nil, problemOf(err)
	}
	return &output[rules.Bundle]{bundle}, nil
}

func (s *server) open(ctx context.Context, in *openInput) (*openOutput, error) {
	b := in.Body
	if b.ID == "" {
		b.ID = in.Key
	}
	if in.Key != "" && in.Key != b.ID {
		return nil, newProblem(http.StatusUnprocessableEntity, "the header Idempotency-Key and the body's id differ: nothing was opened")
	}
	who := callerOf(ctx)
	r, err := s.Engine.Open(ctx, engine.OpenRequest{
		ID: b.ID, Service: b.Service, Environment: b.Environment, Version: b.Version, PreviousVersion: b.PreviousVersion,
		Labels: b.Labels, Bundle: b.Bundle, HealthFile: b.HealthFile, Plan: b.Plan, Window: time.Duration(b.Window),
		WatchOnly: b.WatchOnly, DryRun: b.DryRun, AfterDeploy: b.AfterDeploy, Deployed: b.Deployed, Heartbeat: time.Duration(b.Heartbeat),
		Actor: who.actor(b.Actor), Token: who.name, Services: who.services, TraceParent: cmp.Or(b.TraceParent, in.Span),
	})
	if err != nil {
		return nil, problemOf(err)
	}
	return &openOutput{Location: base + "/releases/" + r.ID, Body: r}, nil
}

func (s *server) list(ctx context.Context, in *listInput) (*output[ReleaseList], error) {
	found, err := s.Engine.List(ctx, gatekeeper.Listing{Open: in.Open, Limit: in.Limit, After: in.After})
	if err != nil {
		return nil, problemOf(err)
	}
	page := ReleaseList{Releases: visible(ctx, found)}
	if len(found) == in.Limit {
		page.Next = found[len(found)-1].ID
	}
	return &output[ReleaseList]{page}, nil
}

func answer(r gatekeeper.Release, err error) (*releaseOutput, error) {
	if err != nil {
		return nil, problemOf(err)
	}
	return &releaseOutput{Body: r}, nil
}
