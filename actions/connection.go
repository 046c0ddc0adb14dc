package actions

import (
	"encoding/json"

	"github.com/gatekeeper-engine/gatekeeper"
)

// Connection is a system that the operator named in the daemon's configuration. Addresses and
// credentials live only there; a health file can name it and nothing more.
type Connection struct {
	Name     string          // the operator's
	Kind     string          // which actions can use it: the kind of their [Spec]
	Settings json.RawMessage // the kind's own; secrets only by reference
}

// Decode reads the connection's settings strictly into the struct v points to, as [Define]
// describes: defaults, unknown and missing keys, then Validate.
func (c Connection) Decode(v any) error {
	problems, err := decode(c.Settings, v)
	if err != nil {
		return gatekeeper.Errorf(gatekeeper.CodeInvalid, "correct the connection in the daemon's configuration",
			"connection %q (%s): %w", c.Name, c.Kind, err)
	}
	if len(problems) > 0 {
		return gatekeeper.Errorf(gatekeeper.CodeInvalid, "correct the connection in the daemon's configuration",
			"connection %q (%s): %w", c.Name, c.Kind, problems)
	}
	return nil
}

// Binding is what an action is opened with besides its settings.
type Binding struct {
	Connection Connection // zero for an action that needs none
	Subject    Subject    // the release
	ReturnTo   string     // the rung's return_to: "" for what Prepare pins by itself
}
