package actions

import (
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/gatekeeper-engine/gatekeeper"
)

// later are the actions that a later version brings.
var later = []string{"argocd/sync", "helm/rollback", "nginx/upstream"}

// Registry is the explicit list of actions this program has. It doesn't change, so any number of
// goroutines may use it.
type Registry struct{ specs map[string]Spec }

// NewRegistry makes a registry. A name given twice, or a spec with a defect, is an error.
func NewRegistry(specs ...Spec) (*Registry, error) {
	r := &Registry{specs: make(map[string]Spec, len(specs))}
	for _, s := range specs {
		if s.defect != nil {
			return nil, s.defect
		}
		if s.open == nil {
			return nil, gatekeeper.Errorf(gatekeeper.CodeInternal, "", "action %q was not made by Define", s.Name)
		}
		if _, ok := r.specs[s.Name]; ok {
			return nil, gatekeeper.Errorf(gatekeeper.CodeInternal, "", "action %q is registered twice", s.Name)
		}
		r.specs[s.Name] = s
	}
	return r, nil
}

// Specs gives every action's description, sorted by name.
func (r *Registry) Specs() []Spec {
	return slices.SortedFunc(maps.Values(r.specs), func(a, b Spec) int { return strings.Compare(a.Name, b.Name) })
}

// Names gives every action's name, sorted.
func (r *Registry) Names() []string { return slices.Sorted(maps.Keys(r.specs)) }

// Open binds an action to its settings, its connection and its release, and gives its retry
// safety. What is wrong with the settings is a [Problems] in the error's chain.
func (r *Registry) Open(name string, with json.RawMessage, b Binding) (Action, gatekeeper.RetrySafety, error) {
	s, err := r.Find(name)
	if err != nil {
		return nil, "", err
	}
	if err := s.binds(b); err != nil {
		return nil, "", err
	}
	a, err := s.open(with, b)
	if err != nil {
		if _, ok := errors.AsType[*gatekeeper.Error](err); ok {
			return nil, "", err
		}
		return nil, "", gatekeeper.Errorf(gatekeeper.CodeInvalid,
			"correct the rung's `with`; `gatekeeper actions` lists the settings", "action %s: %w", name, err)
	}
	if safer, ok := a.(Safer); ok {
		return a, safer.Safety(), nil
	}
	return a, s.Safety, nil
}

// Check says whether an action can be bound like that, its settings aside.
func (r *Registry) Check(name string, b Binding) error {
	s, err := r.Find(name)
	if err != nil {
		return err
	}
	return s.binds(b)
}

// CheckConnection says what is wrong with an operator's connection: its kind, and its settings.
func (r *Registry) CheckConnection(c Connection) error {
	var kinds []string
	for _, s := range r.Specs() {
		if s.Connection == "" {
			continue
		}
		if s.Connection == c.Kind {
			return c.Decode(reflect.New(s.connector).Interface())
		}
		kinds = append(kinds, s.Connection)
	}
	return gatekeeper.Errorf(gatekeeper.CodeInvalid, "correct the connection in the daemon's configuration",
		"connection %q: no action uses kind %q%s", c.Name, c.Kind, Suggest(c.Kind, kinds))
}

// Find gives an action by its name; the error says what there is instead.
func (r *Registry) Find(name string) (Spec, error) {
	if s, ok := r.specs[name]; ok {
		return s, nil
	}
	if slices.Contains(later, name) {
		return Spec{}, gatekeeper.Errorf(gatekeeper.CodeUnsupported,
			"use one of "+strings.Join(r.Names(), ", "), "action %s is not supported yet", name)
	}
	return Spec{}, gatekeeper.Errorf(gatekeeper.CodeInvalid, "`gatekeeper actions` lists what there is",
		"there is no action %q%s", name, Suggest(name, r.Names()))
}

// binds says whether the action can be bound like that.
func (s Spec) binds(b Binding) error {
	c := b.Connection
	switch {
	case s.Connection != "" && c.Name == "":
		return gatekeeper.Errorf(gatekeeper.CodeInvalid, "name a connection of the daemon's configuration",
			"action %s needs a connection of kind %s", s.Name, s.Connection)
	case s.Connection == "" && c.Name != "":
		return gatekeeper.Errorf(gatekeeper.CodeInvalid, "leave the rung's connection out",
			"action %s takes no connection, but %q is named", s.Name, c.Name)
	case s.Connection != c.Kind:
		return gatekeeper.Errorf(gatekeeper.CodeInvalid, "name a connection of kind "+s.Connection,
			"action %s needs a connection of kind %s, but %q is of kind %s", s.Name, s.Connection, c.Name, c.Kind)
	case b.ReturnTo == "previous" && s.Previous:
	case b.ReturnTo == "previous":
		return gatekeeper.Errorf(gatekeeper.CodeUnsupported,
			"leave return_to out: the state found at open, or what `with` names, is returned to",
			"action %s: return_to: previous is not supported: its system keeps no history that could be used yet", s.Name)
	case b.ReturnTo != "":
		return gatekeeper.Errorf(gatekeeper.CodeInvalid, "leave return_to out",
			"action %s: return_to %q is unknown", s.Name, b.ReturnTo)
	}
	return nil
}
