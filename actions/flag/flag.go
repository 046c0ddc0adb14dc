// Package flag takes a release back by a feature flag: it turns the flag off, or gives it another
// variant or percentage. The flags are in whatever store implements [Store].
package flag

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
)

// State is what a flag serves, and the version of its definition.
type State struct {
	Version    int64    `json:"-"`
	Enabled    bool     `json:"enabled"`
	Variant    string   `json:"variant"` // of those for whom the flag is on
	Off        string   `json:"off"`     // the variant of everybody else
	Percentage float64  `json:"percentage"`
	Allow      []string `json:"allow,omitempty"`
	Variants   []string `json:"-"` // the names there are, sorted
}

// Store is a store of flags. Its methods may be called concurrently and honour ctx. An error of
// Write that wraps [actions.ErrNoEffect] certainly changed nothing.
type Store interface {
	// Read gives a flag as it is now; [gatekeeper.CodeNotFound] if there is none.
	Read(ctx context.Context, key string) (State, error)
	// Write changes what the flag serves if its version still is s.Version, else nothing with an
	// error of [gatekeeper.CodeConflict]. It gives the new version.
	Write(ctx context.Context, key string, s State) (int64, error)
}

// Settings are what a rung's `with` takes.
type Settings struct {
	Flag       string   `json:"flag" required:"true" doc:"The flag's key."`
	Enabled    *bool    `json:"enabled" doc:"Turn the flag on or off."`
	Variant    *string  `json:"variant" doc:"The variant for those for whom the flag is on. Turns the flag on unless enabled is false."`
	Percentage *float64 `json:"percentage" doc:"The percentage of targeting keys for whom the flag is on, from 0 to 100."`
	Restore    bool     `json:"restore" doc:"Return to what the flag served when the release was opened, instead of a named value."`
}

// Validate asks for one kind of target.
func (s Settings) Validate() error {
	named := s.Enabled != nil || s.Variant != nil || s.Percentage != nil
	switch {
	case s.Flag == "":
		return actions.Problem{Path: []string{"flag"}, Says: "is empty"}
	case s.Restore && named:
		return actions.Problem{Path: []string{"restore"}, Says: "restore returns to what the flag served; leave enabled, variant and percentage out"}
	case !s.Restore && !named:
		return actions.Problem{Says: "name what to set: enabled, variant or percentage, or restore: true"}
	case s.Percentage != nil && !(*s.Percentage >= 0 && *s.Percentage <= 100):
		return actions.Problem{Path: []string{"percentage"}, Says: "want 0 to 100"}
	}
	return nil
}

// Set makes the action flag/set on a store. Its connection is of the kind "flags" and has no
// settings: the store is the daemon's own.
func Set(store Store) actions.Spec {
	return actions.Define("flag/set", "Sets what a feature flag of the built-in store serves: off, a variant, a percentage, or what it served when the release was opened. It changes the flag only at the version it has just read.",
		gatekeeper.ByTarget, func(s Settings, b actions.Binding) (actions.Action, error) {
			if b.ReturnTo != "" {
				return nil, gatekeeper.Errorf(gatekeeper.CodeUnsupported, "Use with: {restore: true}, or name the value.",
					"flag/set can't return_to %q: flags keep no history", b.ReturnTo)
			}
			return &action{store, s}, nil
		}).WithConnection("flags", struct{}{})
}

type action struct {
	store Store
	with  Settings
}

// goal is a target's data: the flag, and of what it serves the parts that matter.
type goal struct {
	Flag       string    `json:"flag"`
	Enabled    *bool     `json:"enabled,omitempty"`
	Variant    *string   `json:"variant,omitempty"`
	Off        *string   `json:"off,omitempty"`
	Percentage *float64  `json:"percentage,omitempty"`
	Allow      *[]string `json:"allow,omitempty"`
}

// Names gives the flag's key.
func (a *action) Names() []string { return []string{a.with.Flag} }

// Prepare pins the target.
func (a *action) Prepare(ctx context.Context) (gatekeeper.Target, error) {
	s, err := a.store.Read(ctx, a.with.Flag)
	if err != nil {
		return gatekeeper.Target{}, err
	}
	g, kind := goal{Flag: a.with.Flag, Enabled: a.with.Enabled, Variant: a.with.Variant, Percentage: a.with.Percentage}, gatekeeper.Set
	if a.with.Restore {
		allow := append([]string{}, s.Allow...)
		g = goal{a.with.Flag, &s.Enabled, &s.Variant, &s.Off, &s.Percentage, &allow}
		kind = gatekeeper.Restore
	}
	if g.Variant != nil && g.Enabled == nil {
		on := true
		g.Enabled = &on
	}
	if err := g.possible(s); err != nil {
		return gatekeeper.Target{}, err
	}
	data, err := json.Marshal(g)
	if err != nil {
		return gatekeeper.Target{}, err
	}
	return gatekeeper.Target{Kind: kind, Version: 1, Data: data, Says: "flag " + g.Flag + ": " + g.says()}, nil
}

// possible says whether the flag has the variants that the goal names.
func (g goal) possible(s State) error {
	for _, v := range []*string{g.Variant, g.Off} {
		if v != nil && !slices.Contains(s.Variants, *v) {
			return gatekeeper.Errorf(gatekeeper.CodeInvalid, "Name one of the flag's variants.",
				"flag %q has no variant %q, only %s: %w", g.Flag, *v, strings.Join(s.Variants, ", "), actions.ErrNoEffect)
		}
	}
	return nil
}

// says tells the goal; what a flag that is off would serve when on stands in parentheses.
func (g goal) says() string {
	var serves []string
	if g.Variant != nil {
		serves = append(serves, "variant "+*g.Variant)
	}
	if g.Percentage != nil {
		serves = append(serves, fmt.Sprintf("for %v%%", *g.Percentage))
	}
	if g.Allow != nil && len(*g.Allow) > 0 {
		serves = append(serves, fmt.Sprintf("and %d allowed", len(*g.Allow)))
	}
	what := strings.Join(serves, " ")
	switch {
	case g.Enabled == nil:
		return what
	case *g.Enabled:
		return strings.TrimSpace("on " + what)
	case what == "":
		return "off"
	}
	return "off (when on: " + what + ")"
}

// met says whether the flag serves what the goal names.
func (g goal) met(s State) bool {
	want := g.on(s)
	return want.Enabled == s.Enabled && want.Variant == s.Variant && want.Off == s.Off &&
		want.Percentage == s.Percentage && slices.Equal(want.Allow, s.Allow)
}

// on gives the state with what the goal names.
func (g goal) on(s State) State {
	if g.Enabled != nil {
		s.Enabled = *g.Enabled
	}
	if g.Variant != nil {
		s.Variant = *g.Variant
	}
	if g.Off != nil {
		s.Off = *g.Off
	}
	if g.Percentage != nil {
		s.Percentage = *g.Percentage
	}
	if g.Allow != nil {
		s.Allow = *g.Allow
	}
	return s
}

func goalOf(t gatekeeper.Target) (goal, error) {
	var g goal
	if t.Version != 1 {
		return g, gatekeeper.Errorf(gatekeeper.CodeUnsupported, "", "a target of flag/set in version %d: written by a newer Gatekeeper?", t.Version)
	}
	if err := json.Unmarshal(t.Data, &g); err != nil {
		return g, gatekeeper.Errorf(gatekeeper.CodeInternal, "", "a target of flag/set: %w", err)
	}
	return g, nil
}

// tries is how often Apply changes what it has read before it leaves the flag to others.
const tries = 3

// Apply sets the flag, on the condition of the version just read.
func (a *action) Apply(ctx context.Context, t gatekeeper.Target, _ gatekeeper.Key) (gatekeeper.Receipt, error) {
	g, err := goalOf(t)
	if err != nil {
		return gatekeeper.Receipt{}, errors.Join(err, actions.ErrNoEffect)
	}
	for range tries {
		var s State
		if s, err = a.store.Read(ctx, g.Flag); err != nil {
			return gatekeeper.Receipt{}, fmt.Errorf("%w; %w", err, actions.ErrNoEffect)
		}
		if g.met(s) {
			return receipt(g, "already", s.Version), nil
		}
		if err = g.possible(s); err != nil {
			return gatekeeper.Receipt{}, err
		}
		version, failed := a.store.Write(ctx, g.Flag, g.on(s))
		if failed == nil {
			return receipt(g, "set", version), nil
		}
		if err = failed; gatekeeper.CodeOf(err) != gatekeeper.CodeConflict {
			return gatekeeper.Receipt{}, err
		}
	}
	return gatekeeper.Receipt{}, fmt.Errorf("%w; %w", err, actions.ErrNoEffect)
}

func receipt(g goal, how string, version int64) gatekeeper.Receipt {
	return gatekeeper.Receipt{Says: fmt.Sprintf("flag %s %s: %s", g.Flag, how, g.says()), Data: map[string]string{"version": fmt.Sprint(version)}}
}

// Observe reads the flag.
func (a *action) Observe(ctx context.Context, t gatekeeper.Target) (gatekeeper.Live, error) {
	g, err := goalOf(t)
	if err != nil {
		return gatekeeper.Live{}, err
	}
	s, err := a.store.Read(ctx, g.Flag)
	if err != nil {
		return gatekeeper.Live{Position: gatekeeper.Unknown, Says: err.Error()}, nil
	}
	print, err := json.Marshal(s)
	if err != nil {
		return gatekeeper.Live{}, err
	}
	is := goal{g.Flag, &s.Enabled, &s.Variant, &s.Off, &s.Percentage, &s.Allow}
	live := gatekeeper.Live{Position: gatekeeper.Elsewhere, Print: string(print), Says: "flag " + g.Flag + " is " + is.says()}
	if g.met(s) {
		live.Position = gatekeeper.AtTarget
	}
	return live, nil
}
