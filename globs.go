package gatekeeper

import (
	"path"
	"strings"
)

// Globs are patterns of names: `*` stands for any characters, `?` for one, `[a-z]` for one of a set
// and `\` makes the next character mean itself, as in [path.Match]; but `/` is a character like all
// others, so `*` alone matches every name. Letters count as they are written.
type Globs []string

// Match says whether one of the patterns matches the whole name. A malformed one matches nothing.
func (g Globs) Match(name string) bool {
	for _, pattern := range g {
		if ok, err := path.Match(flat(pattern), flat(name)); ok && err == nil {
			return true
		}
	}
	return false
}

// Err says which pattern is malformed, or that one is empty and would match nothing.
func (g Globs) Err() error {
	for _, pattern := range g {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
			return Errorf(CodeInvalid, `write a name or a glob such as "shop-*"`, "the glob %q can't be used", pattern)
		}
	}
	return nil
}

// flat takes from `/` the meaning that it has for package path.
func flat(s string) string { return strings.ReplaceAll(s, "/", "\x00") }
