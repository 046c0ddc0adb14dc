package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatekeeper-engine/gatekeeper/engine"
)

// Action describes a kind of rung.
type Action struct {
	Name       string    `json:"name"`
	Doc        string    `json:"doc"`
	Safety     string    `json:"safety" enum:"by_target,by_key,none" doc:"What it promises about being applied twice."`
	Settings   []Setting `json:"settings" nullable:"false" doc:"What a rung's with takes."`
	Connection string    `json:"connection,omitempty" doc:"The kind of connection it needs."`
	Connects   []Setting `json:"connects,omitempty" doc:"The settings of such a connection."`
}

// Setting describes one key of an action's or a connection's settings.
type Setting struct {
	Name     string    `json:"name"`
	Type     string    `json:"type"`
	Doc      string    `json:"doc"`
	Default  string    `json:"default,omitempty"`
	Required bool      `json:"required,omitempty"`
	Fields   []Setting `json:"fields,omitempty" doc:"Of an object, or of a list's or map's objects."`
}

// ActionList is every kind of rung there is.
type ActionList struct {
	Actions []Action `json:"actions" nullable:"false"`
}

// KillSwitchBody turns the kill switch on or off.
type KillSwitchBody struct {
	ByBody
	On bool `json:"on" doc:"On: every rollback is held until a person approves it."`
}

type killSwitchInput struct{ Body KillSwitchBody }

func (s *server) registerAdmin(api huma.API) {
	huma.Register(api, s.operation("get-kill-switch", http.MethodGet, "/kill-switch", "Get the kill switch", ScopeRead),
		func(context.Context, *struct{}) (*output[engine.KillSwitch], error) {
			return &output[engine.KillSwitch]{s.Engine.KillSwitch()}, nil
		})
	huma.Register(api, s.operation("set-kill-switch", http.MethodPut, "/kill-switch", "Turn the kill switch on or off", ScopeOperate, http.StatusServiceUnavailable),
		func(ctx context.Context, in *killSwitchInput) (*output[engine.KillSwitch], error) {
			if err := everywhere(ctx, "the kill switch"); err != nil {
				return nil, err
			}
			state, err := s.Engine.SetKillSwitch(ctx, in.Body.On, in.Body.by(ctx))
			if err != nil {
				return nil, problemOf(err)
			}
			return &output[engine.KillSwitch]{state}, nil
		})
	huma.Register(api, s.operation("list-actions", http.MethodGet, "/actions", "List the kinds of rungs and their settings", ScopeRead),
		func(context.Context, *struct{}) (*output[ActionList], error) {
			return &output[ActionList]{ActionList{Actions: s.Actions}}, nil
		})
}
