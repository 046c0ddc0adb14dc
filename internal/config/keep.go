package config

import (
	"encoding/json"
	"reflect"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/gatekeeper-engine/gatekeeper/internal/yamlnode"
)

// reloadable are the keys that may change while the daemon runs.
var reloadable = []string{
	"alertmanagers", "backends", "connections", "default_backend", "guards", "health_files", "notifications",
	"plans", "policy", "tokens", "webhooks",
}

// Keep tells what differs from the configuration in force and can't be changed while the daemon
// runs: every key but the reloadable ones.
func (c *Config) Keep(now *Config) {
	for _, key := range fixed() {
		if !same(c.At, now.At, key) {
			c.fixed(c.At.Child(key), key)
		}
	}
	if c.Guards.KillSwitchFile != now.Guards.KillSwitchFile {
		c.fixed(c.At.Child("guards").Child("kill_switch_file"), "kill_switch_file")
	}
}

func (c *Config) fixed(at Section, key string) {
	at.Wrong("restart the daemon with it, or put back what it was", "%s can't be changed while the daemon runs", key)
}

func fixed() (keys []string) {
	for _, key := range sortedKeys(fieldsOf(reflect.ValueOf(Config{}))) {
		if !slices.Contains(reloadable, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

// same says whether a key stands for the same in both, however it is written.
func same(a, b Section, key string) bool {
	return a.text(key) == b.text(key)
}

// text gives what a key stands for; "" where it is not written down.
func (s Section) text(key string) string {
	n := yamlnode.Follow(s.node)
	if n == nil || n.Kind != yaml.MappingNode {
		return ""
	}
	v := valueOf(n, key)
	if v == nil {
		return ""
	}
	read := &document{name: s.doc.name, dir: s.doc.dir} // what is wrong with it is told elsewhere
	text, err := json.Marshal(read.plain(v, key, 0))
	if err != nil {
		return err.Error()
	}
	return string(text)
}
