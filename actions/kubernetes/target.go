package kubernetes

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/gatekeeper-engine/gatekeeper"
)

const (
	targetVersion = 1
	maxTemplate   = 64 << 10 // bytes of a pod template: the targets of several rungs share one fact, gatekeeper.MaxFact
)

// target is what a rung returns to: the pod template, never a revision's number, which an undo
// changes, nor a resourceVersion, which is old by the time it would be used.
type target struct {
	Resource  string          `json:"resource"` // "deployments"
	Namespace string          `json:"namespace"`
	Name      string          `json:"name"`
	Template  json.RawMessage `json:"template"`
	Cause     string          `json:"change_cause,omitempty"` // the annotation that goes with it
	From      string          `json:"from,omitempty"`         // UID of the ReplicaSet or ControllerRevision that keeps it
	FromName  string          `json:"from_name,omitempty"`    // and its name
}

// of says whether the target is one of the object's.
func (t target) of(o object) bool {
	return t.Resource == o.kind.resource.Resource && t.Namespace == o.Namespace && t.Name == o.Name
}

func (t target) template() template { return template(t.Template) }

// encode gives the target as the journal keeps it.
func (t target) encode(o object, more string) (gatekeeper.Target, error) {
	if len(t.Template) > maxTemplate {
		return gatekeeper.Target{}, gatekeeper.Errorf(gatekeeper.CodeRefused, "move what makes it large into a ConfigMap",
			"%s: its pod template has %d bytes, more than the %d that can be pinned", o, len(t.Template), maxTemplate)
	}
	data, err := json.Marshal(t)
	if err != nil {
		return gatekeeper.Target{}, fmt.Errorf("target of %s: %w", o, err)
	}
	says := fmt.Sprintf("%s with %s", o, t.template().images())
	if t.FromName != "" {
		says += fmt.Sprintf(" (%s %s, uid %s)", o.kind.revision(), t.FromName, t.From)
	}
	return gatekeeper.Target{Kind: gatekeeper.Restore, Version: targetVersion, Data: data, Says: says + more}, nil
}

// decodeTarget reads a target back.
func decodeTarget(from gatekeeper.Target, o object) (target, error) {
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
	if !t.of(o) {
		return t, bad("it is not of %s", o)
	}
	dec = json.NewDecoder(bytes.NewReader(t.Template))
	dec.UseNumber() // so that no number changes its form
	var found map[string]any
	if err := dec.Decode(&found); err != nil || len(found) == 0 {
		return t, bad("it holds no pod template")
	}
	canonical, err := templateOf(found)
	if err != nil {
		return t, bad("%w", err)
	}
	t.Template = json.RawMessage(canonical)
	return t, nil
}
