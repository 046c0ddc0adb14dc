package actions

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Problem is one thing that is wrong with settings.
type Problem struct {
	Path []string // keys and, for lists, indexes from 0, from the settings' top
	Says string
}

// Error gives the path and what is wrong there.
func (p Problem) Error() string {
	if len(p.Path) == 0 {
		return p.Says
	}
	return strings.Join(p.Path, ".") + ": " + p.Says
}

// Problems is everything that is wrong with settings, in the order of their keys.
type Problems []Problem

// Error gives all of them on one line.
func (p Problems) Error() string {
	all := make([]string, len(p))
	for i, one := range p {
		all[i] = one.Error()
	}
	return strings.Join(all, "; ")
}

// decode reads raw into the struct v points to: checked, with defaults, validated. The error is
// for raw that is no JSON at all, or a v that is no struct of settings.
func decode(raw json.RawMessage, v any) (Problems, error) {
	tree := any(map[string]any{})
	if text := bytes.TrimSpace(raw); len(text) > 0 && !bytes.Equal(text, []byte("null")) {
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.UseNumber()
		if err := dec.Decode(&tree); err != nil {
			return nil, fmt.Errorf("settings are no JSON: %w", err)
		}
		if _, err := dec.Token(); !errors.Is(err, io.EOF) {
			return nil, errors.New("settings are more than one JSON value")
		}
	}
	t := reflect.TypeOf(v)
	if t == nil || t.Kind() != reflect.Pointer {
		return nil, fmt.Errorf("settings can't be read into %v", t)
	}
	if _, err := fieldsOf(t.Elem()); err != nil {
		return nil, err
	}
	var c checker
	tree = c.value(nil, tree, t.Elem())
	if len(c.problems) > 0 {
		return c.problems, nil
	}
	full, err := json.Marshal(tree)
	if err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	if err := json.Unmarshal(full, v); err != nil {
		return Problems{c.blame(err)}, nil
	}
	if valid, ok := v.(interface{ Validate() error }); ok {
		if err := valid.Validate(); err != nil {
			if p, ok := errors.AsType[Problem](err); ok {
				return Problems{p}, nil
			}
			return Problems{{Says: err.Error()}}, nil
		}
	}
	return nil, nil
}

// checker walks settings beside their type, fills defaults in, and collects what is wrong.
type checker struct{ problems Problems }

func (c *checker) wrong(path []string, format string, args ...any) {
	c.problems = append(c.problems, Problem{Path: slices.Clone(path), Says: fmt.Sprintf(format, args...)})
}

// value checks one value against its type and gives it back with its defaults.
func (c *checker) value(path []string, v any, t reflect.Type) any {
	if leaf(t) {
		return c.own(path, v, t)
	}
	want := func(ok bool) any {
		if !ok {
			c.wrong(path, "want %s, not %s", article(words(t)), shape(v))
		}
		return v
	}
	switch t.Kind() {
	case reflect.Pointer:
		return c.value(path, v, t.Elem())
	case reflect.Struct:
		if m, ok := v.(map[string]any); ok {
			return c.object(path, m, t)
		}
	case reflect.Map:
		if m, ok := v.(map[string]any); ok {
			for _, k := range slices.Sorted(maps.Keys(m)) {
				m[k] = c.value(append(path, k), m[k], t.Elem())
			}
			return m
		}
	case reflect.Slice:
		if l, ok := v.([]any); ok {
			for i := range l {
				l[i] = c.value(append(path, strconv.Itoa(i)), l[i], t.Elem())
			}
			return l
		}
	case reflect.Interface:
		return v
	case reflect.Bool:
		_, ok := v.(bool)
		return want(ok)
	case reflect.String:
		_, ok := v.(string)
		return want(ok)
	default:
		n, ok := v.(json.Number)
		return want(ok && json.Unmarshal([]byte(n), reflect.New(t).Interface()) == nil)
	}
	return want(false)
}

// own checks a value whose type reads itself.
func (c *checker) own(path []string, v any, t reflect.Type) any {
	if t == rawType {
		return v
	}
	text, err := json.Marshal(v)
	if err == nil {
		if v == nil {
			err = fmt.Errorf("want %s, not nothing", article(words(t)))
		} else {
			err = json.Unmarshal(text, reflect.New(t).Interface())
		}
	}
	if err != nil {
		c.wrong(path, "%s", c.blame(err).Says)
	}
	return v
}

// object checks the keys of an object.
func (c *checker) object(path []string, m map[string]any, t reflect.Type) any {
	fields, err := fieldsOf(t)
	if err != nil {
		c.wrong(path, "%s", err)
		return m
	}
	known := make([]string, len(fields))
	for i, f := range fields {
		known[i] = f.Name
	}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if !slices.Contains(known, k) {
			c.wrong(append(path, k), "unknown setting%s", Suggest(k, known))
		}
	}
	for _, f := range fields {
		v, ok := m[f.Name]
		switch {
		case ok:
			m[f.Name] = c.value(append(path, f.Name), v, f.typ)
		case f.Required:
			c.wrong(append(path, f.Name), "is missing: %s", f.Doc)
		case f.Default != "":
			m[f.Name] = c.value(append(path, f.Name), literal(f.Default, f.typ), f.typ)
		}
	}
	return m
}

// literal gives the value that a default tag stands for.
func literal(text string, t reflect.Type) any {
	if t.Kind() == reflect.Pointer {
		return literal(text, t.Elem())
	}
	if t.Kind() == reflect.String || reflect.PointerTo(t).Implements(textType) {
		return text
	}
	var v any
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return text
	}
	return v
}

// blame makes a problem of encoding/json's error.
func (c *checker) blame(err error) Problem {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		var path []string
		if e.Field != "" {
			path = strings.Split(e.Field, ".")
		}
		return Problem{Path: path, Says: fmt.Sprintf("want %s, not %s", article(words(e.Type)), e.Value)}
	}
	return Problem{Says: strings.TrimPrefix(err.Error(), "json: ")}
}

// shape names what a JSON value is.
func shape(v any) string {
	switch v := v.(type) {
	case nil:
		return "nothing"
	case string:
		return "a string"
	case bool:
		return "a boolean"
	case json.Number:
		return v.String()
	case []any:
		return "a list"
	default:
		return "an object"
	}
}

func article(noun string) string {
	if noun == "any" {
		return "a value"
	}
	if strings.ContainsRune("aeiou", rune(noun[0])) {
		return "an " + noun
	}
	return "a " + noun
}
