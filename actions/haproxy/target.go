package haproxy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/gatekeeper-engine/gatekeeper"
)

const targetVersion = 1

// target is what a rung returns to, in full: every server with its weight and its state.
type target struct {
	Backend string          `json:"backend"`
	Whole   bool            `json:"whole,omitempty"` // servers that aren't named must be in maintenance
	Servers map[string]want `json:"servers"`
}

type want struct {
	Weight int   `json:"weight"`
	State  state `json:"state"`
}

func (w want) serves() bool { return w.State == ready && w.Weight > 0 }

func (w want) String() string {
	if w.State == ready {
		return fmt.Sprint(w.Weight)
	}
	return fmt.Sprintf("%d/%s", w.Weight, w.State)
}

// pin makes the target out of what the settings name and what was found.
func pin(s settings, found map[string]live) (target, error) {
	t := target{Backend: s.Backend, Servers: map[string]want{}}
	missing := func(name string) error {
		return gatekeeper.Errorf(gatekeeper.CodeNotFound, "correct the name, or add the server to HAProxy's configuration",
			"backend %s has no server %s, only %s", s.Backend, name, strings.Join(slices.Sorted(maps.Keys(found)), ", "))
	}
	for name, one := range s.Servers {
		now, ok := found[name]
		if !ok {
			return t, missing(name)
		}
		w := want{Weight: now.Weight, State: one.State}
		if one.Weight != nil {
			w.Weight = *one.Weight
		}
		t.Servers[name] = w
	}
	only := s.Only
	if len(s.Servers) == 0 && len(only) == 0 {
		t.Whole = true
		only = slices.Collect(maps.Keys(found))
	}
	for _, name := range only {
		now, ok := found[name]
		if !ok {
			return t, missing(name)
		}
		t.Servers[name] = want{Weight: now.Weight, State: now.State}
	}
	return t, nil
}

// encode gives the target as the journal keeps it.
func (t target) encode(kind gatekeeper.TargetKind) (gatekeeper.Target, error) {
	data, err := json.Marshal(t)
	if err != nil {
		return gatekeeper.Target{}, fmt.Errorf("target of backend %s: %w", t.Backend, err)
	}
	return gatekeeper.Target{Kind: kind, Version: targetVersion, Data: data, Says: t.says()}, nil
}

// says is the sentence for people: "servers blue=100 green=0 of backend shop".
func (t target) says() string {
	return fmt.Sprintf("servers %s of backend %s", list(t.Servers), t.Backend)
}

// decodeTarget reads a target back. It trusts nothing in it that goes into a command.
func decodeTarget(from gatekeeper.Target, backend string) (target, error) {
	var t target
	bad := func(format string, args ...any) error {
		return gatekeeper.Errorf(gatekeeper.CodeInvalid, "", "the target %q can't be used: "+format, append([]any{from.Says}, args...)...)
	}
	if from.Version != targetVersion {
		return t, bad("version %d is not known", from.Version)
	}
	dec := json.NewDecoder(bytes.NewReader(from.Data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&t); err != nil {
		return t, bad("%w", err)
	}
	if t.Backend != backend || len(t.Servers) == 0 {
		return t, bad("it is not of backend %s", backend)
	}
	for name, w := range t.Servers {
		if !nameForm.MatchString(name) || w.Weight < 0 || w.Weight > maxWeight ||
			!slices.Contains([]state{ready, drain, maint}, w.State) {
			return t, bad("server %q=%s", name, w)
		}
	}
	return t, nil
}

// differs says what is not as the target wants it, in words; nil when all is.
func (t target) differs(found map[string]live) []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(t.Servers)) {
		now, ok := found[name]
		if !ok {
			all = append(all, name+" is gone")
		} else if w := t.Servers[name]; now.Weight != w.Weight || now.State != w.State {
			all = append(all, fmt.Sprintf("%s=%s, not %s", name, want{now.Weight, now.State}, w))
		}
	}
	for _, name := range t.added(found) {
		if found[name].State != maint {
			all = append(all, fmt.Sprintf("%s=%s was added", name, want{found[name].Weight, found[name].State}))
		}
	}
	return all
}

// added gives the servers that came after a whole backend was pinned.
func (t target) added(found map[string]live) []string {
	if !t.Whole {
		return nil
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if _, ok := t.Servers[name]; !ok {
			all = append(all, name)
		}
	}
	return all
}

// anyUp says whether a server that should serve would take traffic.
func (t target) anyUp(found map[string]live) bool {
	for name, w := range t.Servers {
		if w.serves() && found[name].up {
			return true
		}
	}
	return false
}

// out gives the servers that the target takes no traffic on.
func (t target) out(found map[string]live) []string {
	all := t.added(found)
	for _, name := range slices.Sorted(maps.Keys(t.Servers)) {
		if !t.Servers[name].serves() {
			all = append(all, name)
		}
	}
	return all
}

// print is the canonical form of what was found where the target looks. Health is left out: it
// changes by itself, and a changed print means that somebody changed something.
func (t target) print(found map[string]live) string {
	seen := map[string]want{}
	for name, now := range found {
		if _, ok := t.Servers[name]; ok || t.Whole {
			seen[name] = want{now.Weight, now.State}
		}
	}
	return list(seen)
}

func list(servers map[string]want) string {
	all := make([]string, 0, len(servers))
	for _, name := range slices.Sorted(maps.Keys(servers)) {
		all = append(all, fmt.Sprintf("%s=%s", name, servers[name]))
	}
	return strings.Join(all, " ")
}

// plan gives the commands that lead from what was found to the target: first those that bring
// servers in, then those that take servers out.
func (t target) plan(found map[string]live) (in, out []command) {
	for _, name := range slices.Sorted(maps.Keys(t.Servers)) {
		now, w := found[name], t.Servers[name]
		weight := command{backend: t.Backend, server: name, weight: w.Weight}
		state := command{backend: t.Backend, server: name, state: w.State}
		var both []command
		if now.Weight != w.Weight {
			both = append(both, weight)
		}
		if now.State != w.State {
			both = append(both, state)
		}
		if w.serves() {
			in = append(in, both...) // the weight first, so that it comes in with the right one
		} else {
			slices.Reverse(both) // the state first, so that it's out at once
			out = append(out, both...)
		}
	}
	for _, name := range t.added(found) {
		if found[name].State != maint {
			out = append(out, command{backend: t.Backend, server: name, state: maint})
		}
	}
	return in, out
}
