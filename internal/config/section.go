package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
	"github.com/gatekeeper-engine/gatekeeper/internal/yamlnode"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// Section is a part of the configuration with its place in the file. The zero Section of a
// document, for a part that is not written down, has no place.
type Section struct {
	doc  *document
	node *yaml.Node // nil: not written down
}

// Decode reads the section strictly into the struct v points to, which keeps what is not given;
// then the struct's Validate() error is asked, if it has one. What is wrong is told by
// [Config.Err]; false says that something is.
func (s Section) Decode(v any) bool {
	before := len(s.doc.problems)
	if s.node != nil {
		s.doc.value(s.node, value(v), "this section")
	}
	if len(s.doc.problems) > before {
		return false
	}
	if valid, ok := v.(interface{ Validate() error }); ok {
		s.Check(valid.Validate())
	}
	return len(s.doc.problems) == before
}

// Check tells that an error stands at the section: settings' problems at their keys.
func (s Section) Check(err error) {
	if err == nil {
		return
	}
	if found, ok := errors.AsType[actions.Problems](err); ok {
		for _, p := range found {
			s.at(p.Path).Wrong(gatekeeper.HintOf(err), "%s", p.Error())
		}
		return
	}
	s.Wrong(gatekeeper.HintOf(err), "%v", err)
}

// Wrong tells a problem at the section.
func (s Section) Wrong(hint, format string, args ...any) {
	s.doc.wrong(s.node, "value", hint, format, args...)
}

// Child gives the value of a key of the section, or the section where it is not written down.
func (s Section) Child(key string) Section { return s.at([]string{key}) }

// at follows keys and indexes as far as they are written down.
func (s Section) at(path []string) Section {
	for _, step := range path {
		n := yamlnode.Follow(s.node)
		if n == nil {
			return s
		}
		next := (*yaml.Node)(nil)
		switch n.Kind {
		case yaml.MappingNode:
			next = valueOf(n, step)
		case yaml.SequenceNode:
			if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(n.Content) {
				next = n.Content[i]
			}
		case yaml.DocumentNode, yaml.ScalarNode, yaml.AliasNode:
		}
		if next == nil {
			return s
		}
		s.node = next
	}
	return s
}

// Connection is a system with its kind and the kind's own settings.
type Connection struct {
	Kind     string
	Settings json.RawMessage // a JSON object

	At Section
}

func (c *Connection) decode(d *document, n *yaml.Node) {
	c.At = Section{doc: d, node: n}
	if n.Kind != yaml.MappingNode {
		d.wrong(n, "type", "write kind: and the kind's settings below the name", "a connection must be a mapping, not %s", yamlnode.Kind(n))
		return
	}
	settings := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	d.pairs(n, func(key, v *yaml.Node) {
		if key.Value == "kind" {
			d.value(v, value(&c.Kind), "kind")
			return
		}
		settings.Content = append(settings.Content, key, v)
	})
	if c.Kind == "" {
		d.wrong(n, "value", "`gatekeeper actions` lists the kinds", "a connection needs its kind")
	}
	var err error
	if c.Settings, err = json.Marshal(d.plain(settings, "", 0)); err != nil {
		d.wrong(n, "type", "", "the settings are no JSON: %v", err)
	}
}

// Plan is a rollback plan for health files that have none.
type Plan []rules.RungSpec

func (p *Plan) decode(d *document, n *yaml.Node) {
	text, err := yaml.Marshal(n)
	if err != nil {
		d.wrong(n, "type", "", "the plan can't be read: %v", err)
		return
	}
	*p, err = rules.ParsePlan(text)
	found, ok := errors.AsType[rules.Problems](err)
	switch {
	case err == nil:
	case !ok:
		d.wrong(n, "value", gatekeeper.HintOf(err), "%v", err)
	default:
		d.translate(n, text, found)
	}
}

// translate tells problems of a part's own text at the part's place in the file: both have the
// same nodes in the same order.
func (d *document) translate(n *yaml.Node, text []byte, found rules.Problems) {
	var copied yaml.Node
	if err := yaml.Unmarshal(text, &copied); err != nil {
		d.wrong(n, "type", "", "the plan can't be read: %v", err)
		return
	}
	mine, theirs := flatten(n, nil), flatten(copied.Content[0], nil)
	for _, p := range found {
		at := n
		for i, other := range theirs {
			if i < len(mine) && (other.Line < p.Line || other.Line == p.Line && other.Column <= p.Column) {
				at = mine[i]
			}
		}
		p.File, p.Line, p.Column = d.name, at.Line, at.Column
		d.problems = append(d.problems, p)
	}
}

func flatten(n *yaml.Node, all []*yaml.Node) []*yaml.Node {
	all = append(all, n)
	for _, c := range n.Content {
		all = flatten(c, all)
	}
	return all
}

// plain gives a node as JSON's values, with its paths resolved.
func (d *document) plain(n *yaml.Node, key string, depth int) any {
	n = yamlnode.Follow(n)
	if depth > maxDepth {
		d.wrong(n, "type", "", "this is nested more than %d levels deep", maxDepth)
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		d.pairs(n, func(k, v *yaml.Node) { m[k.Value] = d.plain(v, pathKey(key, k.Value), depth+1) })
		return m
	case yaml.SequenceNode:
		l := make([]any, 0, len(n.Content))
		for _, c := range n.Content {
			l = append(l, d.plain(c, key, depth+1))
		}
		return l
	case yaml.DocumentNode, yaml.ScalarNode, yaml.AliasNode:
	}
	var v any
	if err := n.Decode(&v); err != nil {
		d.wrong(n, "type", "", "%s", cleaned(err))
	}
	switch v.(type) {
	case nil, bool, int, int64, uint64, float64:
		return v
	}
	return d.resolve(key, n.Value)
}

func cleaned(err error) string {
	s := strings.TrimPrefix(err.Error(), "yaml: ")
	s = strings.TrimPrefix(s, "unmarshal errors:\n  ")
	if rest, ok := strings.CutPrefix(s, "line "); ok {
		if _, after, ok := strings.Cut(rest, ": "); ok {
			s = after
		}
	}
	return fmt.Sprint(s)
}
