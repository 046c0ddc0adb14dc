package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gatekeeper-engine/gatekeeper"
)

// Policy says who may open releases of which service, and which rungs these may have. Entries add
// up: what none of them allows is refused. It doesn't change, so any number of goroutines may ask.
type Policy []PolicyEntry

// PolicyEntry allows something to the releases of some services.
type PolicyEntry struct {
	Services gatekeeper.Globs `yaml:"services"`
	Open     gatekeeper.Globs `yaml:"open"`  // names of the clients that may open them; "*": everybody with the scope
	Allow    []Allowed        `yaml:"allow"` // the rungs that they may have

	At Section `yaml:"-"`
}

// Allowed are rungs whose action, connection and targets all match. What is left out matches everything;
// an empty list matches nothing.
type Allowed struct {
	Actions     gatekeeper.Globs `yaml:"actions"`     // names of actions
	Connections gatekeeper.Globs `yaml:"connections"` // names of connections
	Targets     gatekeeper.Globs `yaml:"targets"`     // everything that the action names

	At Section `yaml:"-"`
}

func (c *Config) checkPolicy() {
	if c.Policy == nil {
		return
	}
	for _, e := range *c.Policy {
		if len(e.Services) == 0 {
			e.At.Wrong(`name services, or ["*"] for all`, "an entry of policy is for no services, so it would allow nothing")
		}
		if len(e.Open) == 0 && len(e.Allow) == 0 {
			e.At.Wrong("add open: or allow:", "an entry of policy allows nothing")
		}
		e.At.Child("services").Check(e.Services.Err())
		e.At.Child("open").Check(e.Open.Err())
		for _, a := range e.Allow {
			a.At.Child("actions").Check(a.Actions.Err())
			a.At.Child("connections").Check(a.Connections.Err())
			a.At.Child("targets").Check(a.Targets.Err())
		}
	}
}

// MayOpen says whether a client may open releases of a service; the client's name is "" where
// it needed none.
func (p *Policy) MayOpen(client, service string) error {
	for _, e := range *p {
		if e.Services.Match(service) && e.Open.Match(client) {
			return nil
		}
	}
	who := "the client " + client
	if client == "" {
		who = "a client without a name"
	}
	return gatekeeper.Errorf(gatekeeper.CodeRefused, "ask the operator for an entry below policy with the service, and the client in open",
		"the daemon's policy doesn't let %s open releases of service %s, so the release is not open", who, service)
}

// MayUse says whether releases of a service may have a rung, with the names that its action gives.
func (p *Policy) MayUse(service string, rung gatekeeper.Rung, names []string) error {
	for _, e := range *p {
		if e.Services.Match(service) && slices.ContainsFunc(e.Allow, func(a Allowed) bool { return a.matches(rung, names) }) {
			return nil
		}
	}
	what := rung.Action
	if rung.Connection != "" {
		what += " over connection " + rung.Connection
	}
	if len(names) > 0 {
		what += fmt.Sprintf(" on %s", strings.Join(names, ", "))
	}
	return gatekeeper.Errorf(gatekeeper.CodeRefused, "ask the operator for an entry below policy that allows it",
		"the daemon's policy doesn't allow service %s %s, so the release is not open", service, what)
}

func (a Allowed) matches(rung gatekeeper.Rung, names []string) bool {
	if a.Actions != nil && !a.Actions.Match(rung.Action) || a.Connections != nil && !a.Connections.Match(rung.Connection) {
		return false
	}
	if a.Targets == nil {
		return true
	}
	if len(names) == 0 { // what an action does not name only * can allow
		return a.Targets.Match("")
	}
	return !slices.ContainsFunc(names, func(name string) bool { return !a.Targets.Match(name) })
}
