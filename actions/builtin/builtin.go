// Package builtin is the one list of the actions that Gatekeeper has.
package builtin

import (
	"slices"

	"github.com/gatekeeper-engine/gatekeeper/actions"
	execaction "github.com/gatekeeper-engine/gatekeeper/actions/exec"
	"github.com/gatekeeper-engine/gatekeeper/actions/flag"
	"github.com/gatekeeper-engine/gatekeeper/actions/haproxy"
	httpaction "github.com/gatekeeper-engine/gatekeeper/actions/http"
	"github.com/gatekeeper-engine/gatekeeper/actions/kubernetes"
)

// Specs gives every action. The store is flag/set's; a nil one is enough to describe and check
// settings, but flag/set can't be prepared with it.
func Specs(store flag.Store) []actions.Spec {
	return slices.Concat(
		[]actions.Spec{flag.Set(store)},
		haproxy.Specs(),
		httpaction.Specs(),
		execaction.Specs(),
		kubernetes.Specs(),
	)
}

// Registry gives the registry of [Specs].
func Registry(store flag.Store) (*actions.Registry, error) {
	return actions.NewRegistry(Specs(store)...)
}
