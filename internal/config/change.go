package config

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/gatekeeper-engine/gatekeeper/internal/yamlnode"
)

// Digest gives the SHA-256 of the file's text, in hex; of the defaults that of no text. What is in
// files that it names, such as secrets, does not count.
func (c *Config) Digest() string {
	sum := sha256.Sum256([]byte(c.At.doc.text))
	return hex.EncodeToString(sum[:])
}

// Changed names the keys that stand for something else than in the configuration before: of a
// mapping the keys in it, such as backends.main. It tells no values.
func (c *Config) Changed(before *Config) []string {
	changed := []string{}
	for _, key := range keysOf(c.At, before.At) {
		if same(c.At, before.At, key) {
			continue
		}
		below := keysOf(c.At.below(key), before.At.below(key))
		if len(below) == 0 {
			changed = append(changed, key)
		}
		for _, name := range below {
			if !same(c.At.below(key), before.At.below(key), name) {
				changed = append(changed, key+"."+name)
			}
		}
	}
	return changed
}

// below gives the value of a key; one that is not written down has no keys.
func (s Section) below(key string) Section {
	if n := yamlnode.Follow(s.node); n != nil && n.Kind == yaml.MappingNode {
		return Section{doc: s.doc, node: valueOf(n, key)}
	}
	return Section{doc: s.doc}
}

// keysOf gives the keys of both mappings, sorted; a value of another kind has none.
func keysOf(sections ...Section) []string {
	keys := map[string]bool{}
	for _, s := range sections {
		n := yamlnode.Follow(s.node)
		if n == nil {
			continue
		}
		if n.Kind != yaml.MappingNode {
			return nil
		}
		read := &document{name: s.doc.name, dir: s.doc.dir} // what is wrong with it is told elsewhere
		read.pairs(n, func(k, _ *yaml.Node) { keys[k.Value] = true })
	}
	return slices.Sorted(maps.Keys(keys))
}
