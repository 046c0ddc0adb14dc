package notify

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gatekeeper-engine/gatekeeper"
)

// Filter says what a channel is told of.
type Filter struct {
	// Services are globs, such as shop-*. Empty: every service.
	Services gatekeeper.Globs `yaml:"services,omitempty" json:"services,omitempty"`
	// Events are the kinds of news. Empty: the usual ones of the channel.
	Events []Event `yaml:"events,omitempty" json:"events,omitempty"`
}

// Validate says what is wrong with the filter; allowed are the events that the channel can tell.
func (f Filter) Validate(allowed []Event) error {
	if err := f.Services.Err(); err != nil {
		return gatekeeper.Errorf(gatekeeper.CodeInvalid, gatekeeper.HintOf(err), "services: %w", err)
	}
	for _, e := range f.Events {
		if !slices.Contains(allowed, e) {
			return gatekeeper.Errorf(gatekeeper.CodeInvalid, "the events are "+strings.Trim(fmt.Sprint(allowed), "[]"), "events: there is no event %q to tell here", e)
		}
	}
	return nil
}

// Wants says whether the channel is told of that news of r.
func (f Filter) Wants(r gatekeeper.Release, n News) bool {
	events := f.Events
	if len(events) == 0 {
		events = usual()
	}
	return f.Serves(r.Service) && slices.Contains(events, n.Event)
}

// Serves says whether the channel is told of that service at all.
func (f Filter) Serves(service string) bool {
	return len(f.Services) == 0 || f.Services.Match(service)
}
