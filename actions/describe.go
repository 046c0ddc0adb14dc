package actions

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/gatekeeper-engine/gatekeeper"
)

var (
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
	jsonType     = reflect.TypeFor[json.Unmarshaler]()
	rawType      = reflect.TypeFor[json.RawMessage]()
	durationType = reflect.TypeFor[gatekeeper.Duration]()
)

// field is one key of a struct of settings.
type field struct {
	Setting
	typ reflect.Type
}

// describe gives the settings of a struct type.
func describe(t reflect.Type) ([]Setting, error) {
	fields, err := fieldsOf(t)
	if err != nil {
		return nil, err
	}
	all := make([]Setting, 0, len(fields))
	for _, f := range fields {
		if inner := elemOf(f.typ); inner != nil {
			if f.Fields, err = describe(inner); err != nil {
				return nil, err
			}
		}
		all = append(all, f.Setting)
	}
	return all, nil
}

// fieldsOf gives the keys of a struct type, or says why it can't be a struct of settings.
func fieldsOf(t reflect.Type) ([]field, error) {
	if t == nil || t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("settings must be a struct, not %v", t)
	}
	var all []field
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		doc := f.Tag.Get("doc")
		if doc == "" {
			return nil, fmt.Errorf("settings %v: %q has no doc", t, name)
		}
		all = append(all, field{typ: f.Type, Setting: Setting{
			Name: name, Type: words(f.Type), Doc: doc,
			Default: f.Tag.Get("default"), Required: f.Tag.Get("required") == "true",
		}})
	}
	return all, nil
}

// elemOf gives the struct of settings inside t, nil where there is none.
func elemOf(t reflect.Type) reflect.Type {
	switch {
	case leaf(t):
		return nil
	case t.Kind() == reflect.Struct:
		return t
	case t.Kind() == reflect.Pointer, t.Kind() == reflect.Slice, t.Kind() == reflect.Map:
		return elemOf(t.Elem())
	}
	return nil
}

// leaf says whether t reads itself from JSON.
func leaf(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return t == rawType || p.Implements(textType) || p.Implements(jsonType)
}

// words names a type for people.
func words(t reflect.Type) string {
	switch {
	case t == durationType:
		return "duration"
	case t == rawType:
		return "any"
	case reflect.PointerTo(t).Implements(textType):
		return "string"
	case leaf(t):
		return "any"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return words(t.Elem())
	case reflect.Slice:
		return "list of " + words(t.Elem())
	case reflect.Map:
		return "map of " + words(t.Elem())
	case reflect.Struct:
		return "object"
	case reflect.Bool:
		return "boolean"
	case reflect.String:
		return "string"
	case reflect.Interface:
		return "any"
	case reflect.Float32, reflect.Float64:
		return "number"
	default:
		return "integer"
	}
}
