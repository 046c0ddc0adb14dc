package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatekeeper-engine/gatekeeper"
)

// Flag is the definition of a feature flag of the built-in store. While it is enabled, targeting
// keys of the allow-list, and the percentage of all others, get the variant On; the rest Off.
type Flag struct {
	Key         string         `json:"key"`
	Description string         `json:"description,omitempty"`
	Variants    map[string]any `json:"variants"`
	Enabled     bool           `json:"enabled"`
	On          string         `json:"on"`
	Off         string         `json:"off"`
	Percentage  float64        `json:"percentage"`
	Allow       []string       `json:"allow,omitempty"`
	Version     int64          `json:"version"`
}

// Flags is what the API needs of the flag store. Errors carry their code. Put stores a flag if its
// version is still f.Version, 0 creating it; Delete likewise. Both record who asked for it.
type Flags interface {
	List() []Flag
	Get(ctx context.Context, key string) (Flag, error)
	Put(ctx context.Context, f Flag, by gatekeeper.By) (Flag, error)
	Delete(ctx context.Context, key string, version int64, by gatekeeper.By) error
}

// FlagBody is a flag's definition as it is given.
type FlagBody struct {
	ByBody
	Description string         `json:"description,omitempty" maxLength:"4096"`
	Variants    map[string]any `json:"variants,omitempty" doc:"Value by name, all boolean or all string. Default: on is true, off is false."`
	Enabled     bool           `json:"enabled" doc:"Not enabled: everybody gets the variant off."`
	On          string         `json:"on,omitempty" doc:"The variant of those who get it. Default: on."`
	Off         string         `json:"off,omitempty" doc:"The variant of everybody else. Default: off."`
	Percentage  *float64       `json:"percentage,omitempty" minimum:"0" maximum:"100" doc:"Of targeting keys that get the variant on. Default: 100."`
	Allow       []string       `json:"allow,omitempty" maxItems:"1000" doc:"Targeting keys that get the variant on whatever the percentage."`
	Version     int64          `json:"version,omitempty" doc:"The version that is replaced; 0 creates the flag. 409 when somebody else was first."`
}

// FlagList is every flag, sorted by key.
type FlagList struct {
	Flags []Flag `json:"flags" nullable:"false"`
}

type flagInput struct {
	Key string `path:"key" maxLength:"128"`
}

type putFlagInput struct {
	Key  string `path:"key" maxLength:"128"`
	Body FlagBody
}

type deleteFlagInput struct {
	Key     string `path:"key" maxLength:"128"`
	Version int64  `query:"version" required:"true" doc:"The version that is deleted; 409 when it was changed meanwhile."`
	Actor   string `query:"actor" maxLength:"100" doc:"On whose behalf."`
	Why     string `query:"why" maxLength:"1000" doc:"The reason, for the journal."`
}

func (s *server) registerFlags(api huma.API) {
	if s.Flags == nil {
		return
	}
	huma.Register(api, s.operation("list-flags", http.MethodGet, "/flags", "List the flags of the built-in store", ScopeRead),
		func(context.Context, *struct{}) (*output[FlagList], error) {
			all := s.Flags.List()
			if all == nil {
				all = []Flag{}
			}
			return &output[FlagList]{FlagList{Flags: all}}, nil
		})
	huma.Register(api, s.operation("get-flag", http.MethodGet, "/flags/{key}", "Get a flag", ScopeRead, http.StatusNotFound, http.StatusServiceUnavailable),
		func(ctx context.Context, in *flagInput) (*output[Flag], error) {
			return flagAnswer(s.Flags.Get(ctx, in.Key))
		})
	huma.Register(api, s.operation("put-flag", http.MethodPut, "/flags/{key}", "Create or replace a flag", ScopeOperate, http.StatusConflict, http.StatusServiceUnavailable),
		func(ctx context.Context, in *putFlagInput) (*output[Flag], error) {
			if err := everywhere(ctx, "a flag"); err != nil {
				return nil, err
			}
			b := in.Body
			f := Flag{
				Key: in.Key, Description: b.Description, Variants: b.Variants, Enabled: b.Enabled, On: b.On, Off: b.Off,
				Percentage: 100, Allow: b.Allow, Version: b.Version,
			}
			if b.Percentage != nil {
				f.Percentage = *b.Percentage
			}
			stored, err := s.Flags.Put(ctx, f, b.by(ctx))
			if err == nil {
				s.Log.Warn("flag changed", "flag", stored.Key, "version", stored.Version, "enabled", stored.Enabled, "actor", callerOf(ctx).actor(b.Actor))
			}
			return flagAnswer(stored, err)
		})
	huma.Register(api, s.operation("delete-flag", http.MethodDelete, "/flags/{key}", "Delete a flag", ScopeOperate,
		http.StatusNotFound, http.StatusConflict, http.StatusServiceUnavailable),
		func(ctx context.Context, in *deleteFlagInput) (*struct{}, error) {
			if err := everywhere(ctx, "a flag"); err != nil {
				return nil, err
			}
			if err := s.Flags.Delete(ctx, in.Key, in.Version, callerOf(ctx).by(in.Actor, in.Why)); err != nil {
				return nil, problemOf(err)
			}
			s.Log.Warn("flag deleted", "flag", in.Key, "version", in.Version, "actor", callerOf(ctx).actor(in.Actor))
			return nil, nil
		})
}

func flagAnswer(f Flag, err error) (*output[Flag], error) {
	if err != nil {
		return nil, problemOf(err)
	}
	return &output[Flag]{f}, nil
}
