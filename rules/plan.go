package rules

import (
	"encoding/json"
	"fmt"
	"math"

	"go.yaml.in/yaml/v3"

	"github.com/gatekeeper-engine/gatekeeper/internal/yamlnode"
)

// ParsePlan reads a rollback plan: the list that stands under a health file's rollback key. Its
// error is [Problems].
func ParsePlan(text []byte) ([]RungSpec, error) {
	out := &collector{}
	r := &reader{src: newSource("rollback plan", string(text)), out: out}
	var plan []RungSpec
	if top := r.document(string(text)); top != nil {
		plan = r.plan(top)
	}
	if out.failed {
		return nil, out.sorted()
	}
	return plan, nil
}

func (r *reader) plan(n *yaml.Node) []RungSpec {
	var plan []RungSpec
	for _, one := range r.list(n, "rollback") {
		rung := RungSpec{RecoverWithin: DefaultRecoverWithin}
		r.object(one, "the rung",
			key{name: "action", must: true, read: func(n *yaml.Node) { rung.Action, _ = r.name(n, "action") }},
			key{name: "connection", read: func(n *yaml.Node) { rung.Connection, _ = r.name(n, "connection") }},
			key{name: "with", read: func(n *yaml.Node) { rung.With = r.settings(n) }},
			key{name: "recover_within", read: func(n *yaml.Node) {
				r.durationTo(n, "recover_within", leastInterval, &rung.RecoverWithin)
			}},
			key{name: "changed_by_other", read: func(n *yaml.Node) {
				if s, ok := r.oneOf(n, "changed_by_other", Rollback, Hold); ok && s == Rollback {
					rung.ChangedByOther = s
				}
			}},
			key{name: "return_to", read: func(n *yaml.Node) { rung.ReturnTo, _ = r.oneOf(n, "return_to", Previous) }},
			key{name: "steps", later: "Leave it out: a rung reaches its target in one step."},
		)
		plan = append(plan, rung)
	}
	return plan
}

// settings gives an action's settings as JSON; what they mean is the action's to say.
func (r *reader) settings(n *yaml.Node) json.RawMessage {
	v, ok := r.value(n, "with")
	if !ok {
		return nil
	}
	if _, ok := v.(map[string]any); !ok {
		r.fail(n, checkType, "", "with must be a mapping of the action's settings, not %s", yamlnode.Kind(yamlnode.Follow(n)))
		return nil
	}
	data, err := json.Marshal(v)
	if err != nil {
		r.fail(n, checkValue, "", "with can't be written as JSON: %v", err)
		return nil
	}
	return data
}

// value gives what JSON can hold of a YAML value.
func (r *reader) value(n *yaml.Node, what string) (any, bool) {
	s := yamlnode.Follow(n)
	switch s.Kind {
	case yaml.MappingNode:
		pairs, ok := r.pairs(n, what)
		all := map[string]any{}
		for _, p := range pairs {
			v, good := r.value(p.value, fmt.Sprintf("%s.%s", what, p.key.Value))
			all[p.key.Value], ok = v, ok && good
		}
		return all, ok
	case yaml.SequenceNode:
		all, ok := make([]any, len(s.Content)), true
		for i, one := range s.Content {
			v, good := r.value(one, fmt.Sprintf("%s[%d]", what, i))
			all[i], ok = v, ok && good
		}
		return all, ok
	default: // a scalar
	}
	var v any
	switch s.ShortTag() {
	case "!!null":
		return nil, true
	case "!!bool", "!!int", "!!float":
		err := s.Decode(&v)
		if f, ok := v.(float64); err != nil || ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
			r.fail(n, checkValue, "", "%s can't be %s", what, s.Value)
			return nil, false
		}
		return v, true
	default:
		return s.Value, true // dates and the like stay as they are written
	}
}
