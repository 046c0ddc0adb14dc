package httpaction

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
)

var placeholder = regexp.MustCompile(`\$\{([^}]*)\}`)

// values are what placeholders stand for, by name.
type values map[string]string

func valuesOf(s actions.Subject) values {
	v := values{
		"service": s.Service, "environment": s.Environment, "version": s.Version,
		"previous_version": s.PreviousVersion, "release": s.Release,
	}
	for name, value := range s.Labels {
		v["labels."+name] = value
	}
	return v
}

// with gives the values with the key of an attempt among them.
func (v values) with(key gatekeeper.Key) values {
	all := maps.Clone(v)
	all["key"] = string(key)
	return all
}

// text replaces placeholders in one pass, so that a value that looks like one stays as it is.
func (v values) text(s string, escape func(string) (string, error)) (string, error) {
	var problem error
	out := placeholder.ReplaceAllStringFunc(s, func(found string) string {
		name := found[2 : len(found)-1]
		value, ok := v[name]
		switch {
		case !ok:
			problem = fmt.Errorf("there is no placeholder %s%s", found, actions.Suggest(name, slices.Collect(maps.Keys(v))))
		case value == "":
			problem = fmt.Errorf("placeholder %s is empty for this release", found)
		case escape != nil:
			var err error
			if value, err = escape(value); err != nil {
				problem = fmt.Errorf("placeholder %s: %w", found, err)
			}
		}
		return value
	})
	return out, problem
}

// json replaces placeholders in the strings of a JSON value. The result is encoded again, so
// whatever is put in stays inside its string.
func (v values) json(raw json.RawMessage) ([]byte, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var tree any
	if err := dec.Decode(&tree); err != nil {
		return nil, err
	}
	tree, err := v.leaves(tree)
	if err != nil {
		return nil, err
	}
	return json.Marshal(tree)
}

func (v values) leaves(tree any) (any, error) {
	var err error
	switch t := tree.(type) {
	case string:
		return v.text(t, nil)
	case []any:
		for i := range t {
			if t[i], err = v.leaves(t[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(t)) {
			if t[k], err = v.leaves(t[k]); err != nil {
				return nil, fmt.Errorf("%s: %w", k, err)
			}
		}
	}
	return tree, nil
}

// below gives the URL of a path below base. It never leaves base's host nor its path.
func (v values) below(base *url.URL, path string) (*url.URL, error) {
	if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "?#%\\") {
		return nil, fmt.Errorf("path %q: want one that begins with / and holds none of ? # %% \\", path)
	}
	text, err := v.text(path, func(value string) (string, error) {
		if strings.ContainsAny(value, "/\\%?#") {
			return "", fmt.Errorf("%q can't stand in a path", value)
		}
		return value, nil
	})
	if err != nil {
		return nil, fmt.Errorf("path %q: %w", path, err)
	}
	for i, segment := range strings.Split(text[1:], "/") {
		last := i == strings.Count(text[1:], "/")
		if segment == "." || segment == ".." || segment == "" && !last || strings.ContainsFunc(segment, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return nil, fmt.Errorf("path %q: has a part %q, which can't be in it", path, segment)
		}
	}
	u := *base
	u.Path = base.Path + text
	return &u, nil
}
