// Package haproxy switches the servers of an HAProxy backend through its runtime API (HAProxy
// Management Guide, 9.3): `set server` changes weights and states, `show servers state` and
// `show stat` tell what is there.
//
// What the runtime API sets is lost when HAProxy is restarted or reloaded, unless the operator
// keeps a server state file; Observe tells, and Apply brings the target about again.
package haproxy

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
)

// Kind is the kind of connection that the actions of this package need.
const Kind = "haproxy"

const maxWeight = 256 // of `set server … weight`

// A name goes into a command line, so nothing that ends a word, a command or a line may be in it.
// These are the characters that HAProxy allows for proxies.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,128}$`)

type connection struct {
	Socket   string   `json:"socket" doc:"path of the runtime API's unix socket; it needs level admin"`
	Address  string   `json:"address" doc:"host:port of the runtime API where it listens on TCP; it is neither encrypted nor authenticated"`
	Backends []string `json:"backends" doc:"the backends that health files may name; without it, all"`
}

// Validate wants exactly one place to connect to.
func (c *connection) Validate() error {
	if (c.Socket == "") == (c.Address == "") {
		return errors.New("want either socket or address")
	}
	if c.Socket != "" && !filepath.IsAbs(c.Socket) {
		return actions.Problem{Path: []string{"socket"}, Says: "want an absolute path"}
	}
	if c.Address != "" {
		if _, _, err := net.SplitHostPort(c.Address); err != nil {
			return actions.Problem{Path: []string{"address"}, Says: "want host:port"}
		}
	}
	for i, b := range c.Backends {
		if !nameForm.MatchString(b) {
			return actions.Problem{Path: []string{"backends", fmt.Sprint(i)}, Says: "is no name of a backend"}
		}
	}
	return nil
}

type settings struct {
	Backend string            `json:"backend" required:"true" doc:"the backend whose servers are switched"`
	Servers map[string]server `json:"servers" doc:"the weights and states to set, by server; without it, those found at open are restored, and servers added since are put in maintenance"`
	Only    []string          `json:"only" doc:"restore these servers and leave the others alone"`
	Drain   duration          `json:"drain" default:"1s" doc:"how long Observe waits for requests that still run on servers taken out, at most 10s"`
}

type server struct {
	Weight *int  `json:"weight" doc:"0 to 256, not a percentage; without it, what was found at open. At 0 a server still gets the requests of its persistent sessions"`
	State  state `json:"state" default:"ready" doc:"ready, drain (persistent sessions only) or maint (nothing)"`
}

type (
	duration = gatekeeper.Duration
	state    string
)

// The states of `set server … state`.
const (
	ready state = "ready"
	drain state = "drain"
	maint state = "maint"
)

// Validate checks names, weights and states, and that something is left to serve.
func (s *settings) Validate() error {
	at := func(says string, path ...string) error { return actions.Problem{Path: path, Says: says} }
	if !nameForm.MatchString(s.Backend) {
		return at("is no name of a backend: want letters, digits and _ . : -", "backend")
	}
	if len(s.Servers) > 0 && len(s.Only) > 0 {
		return at("can't be given with servers, which names its servers itself", "only")
	}
	if s.Drain < 0 || s.Drain > maxDrain {
		return at("want 0s to 10s", "drain")
	}
	for i, name := range s.Only {
		if !nameForm.MatchString(name) {
			return at("is no name of a server: want letters, digits and _ . : -", "only", fmt.Sprint(i))
		}
	}
	serves := len(s.Servers) == 0
	for name, one := range s.Servers {
		if !nameForm.MatchString(name) {
			return at(fmt.Sprintf("%q is no name of a server: want letters, digits and _ . : -", name), "servers")
		}
		if one.Weight != nil && (*one.Weight < 0 || *one.Weight > maxWeight) {
			return at("want 0 to 256", "servers", name, "weight")
		}
		if !slices.Contains([]state{ready, drain, maint}, one.State) {
			return at("want ready, drain or maint", "servers", name, "state")
		}
		serves = serves || one.State == ready && (one.Weight == nil || *one.Weight > 0)
	}
	if !serves {
		return at("none would be ready with a weight above 0: nobody would be served", "servers")
	}
	return nil
}

// Specs gives the actions of this package.
func Specs() []actions.Spec {
	return []actions.Spec{
		actions.Define("haproxy/switch",
			"Sets the weights and states of named servers of an HAProxy backend through its runtime API, "+
				"or restores those found when the release opened. "+
				"Servers that serve are brought in before the others are taken out.",
			gatekeeper.ByTarget, open).WithConnection(Kind, connection{}),
	}
}

func open(s settings, b actions.Binding) (actions.Action, error) {
	var c connection
	if err := b.Connection.Decode(&c); err != nil {
		return nil, err
	}
	if len(c.Backends) > 0 && !slices.Contains(c.Backends, s.Backend) {
		return nil, gatekeeper.Errorf(gatekeeper.CodeRefused, "ask the operator to allow the backend",
			"connection %q allows no switching of backend %s", b.Connection.Name, s.Backend)
	}
	api := runtime{network: "unix", address: c.Socket}
	if c.Address != "" {
		api = runtime{network: "tcp", address: c.Address}
	}
	return &switcher{settings: s, api: api}, nil
}
