package actions

import (
	"encoding/json"
	"reflect"
	"regexp"

	"github.com/gatekeeper-engine/gatekeeper"
)

// Spec describes a kind of action and opens it. It is made by [Define] and doesn't change.
type Spec struct {
	Name       string                 // family/verb, such as "haproxy/switch"
	Doc        string                 // one paragraph for people
	Safety     gatekeeper.RetrySafety // unless the opened action is a [Safer]
	Settings   []Setting              // what a rung's `with` takes, in the order of the struct
	Connection string                 // the kind of connection it needs; "" for none
	Connects   []Setting              // the settings of such a connection
	Previous   bool                   // it can return to what the system's own history holds

	open      func(json.RawMessage, Binding) (Action, error)
	check     func(json.RawMessage) error // the settings alone
	connector reflect.Type
	defect    error
}

// Setting describes one key of an action or a connection.
type Setting struct {
	Name     string    `json:"name"`
	Type     string    `json:"type"` // in words: "string", "duration", "list of string", "map of object"
	Doc      string    `json:"doc"`
	Default  string    `json:"default,omitempty"`
	Required bool      `json:"required,omitempty"`
	Fields   []Setting `json:"fields,omitempty"` // of an object, or of a list's or map's objects
}

var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*/[a-z0-9][a-z0-9-]*$`)

// Define makes the [Spec] of an action whose settings are the struct C.
//
// A field of C is a setting if it has a json tag. Its doc tag says what it means, `default:"…"`
// what it is when it's not given (text for strings and durations, JSON for the rest) and
// `required:"true"` that it must be given; objects inside follow the same rules. Settings are
// decoded in one order everywhere: types and unknown keys are checked, defaults filled in, then
// the optional method `Validate() error` of C is asked. Then open binds the action; it reaches
// for no network and starts nothing.
func Define[C any](name, doc string, safety gatekeeper.RetrySafety, open func(C, Binding) (Action, error)) Spec {
	s := Spec{Name: name, Doc: doc, Safety: safety}
	s.Settings, s.defect = describe(reflect.TypeFor[C]())
	switch {
	case s.defect != nil:
	case !nameForm.MatchString(name):
		s.defect = gatekeeper.Errorf(gatekeeper.CodeInternal, "", "action %q: want a name such as family/verb", name)
	case doc == "" || open == nil:
		s.defect = gatekeeper.Errorf(gatekeeper.CodeInternal, "", "action %q needs a doc and an open function", name)
	case safety != gatekeeper.ByTarget && safety != gatekeeper.ByKey && safety != gatekeeper.NoRetry:
		s.defect = gatekeeper.Errorf(gatekeeper.CodeInternal, "", "action %q has no retry safety %q", name, safety)
	}
	read := func(with json.RawMessage) (c C, err error) {
		problems, err := decode(with, &c)
		if err == nil && len(problems) > 0 {
			err = problems
		}
		return c, err
	}
	s.check = func(with json.RawMessage) error {
		_, err := read(with)
		return err
	}
	s.open = func(with json.RawMessage, b Binding) (Action, error) {
		c, err := read(with)
		if err != nil {
			return nil, err
		}
		return open(c, b)
	}
	return s
}

// Scripted gives the spec of an action that is not done but played, as in a test of a health file:
// its settings are checked as ever, then open binds what plays it.
func (s Spec) Scripted(open func(with json.RawMessage, b Binding) (Action, error)) Spec {
	check := s.check
	s.open = func(with json.RawMessage, b Binding) (Action, error) {
		if err := check(with); err != nil {
			return nil, err
		}
		return open(with, b)
	}
	return s
}

// WithConnection gives the spec of an action that needs a connection of the kind, whose settings
// are the struct that settings is a value of. It follows the rules of [Define].
func (s Spec) WithConnection(kind string, settings any) Spec {
	s.Connection, s.connector = kind, reflect.TypeOf(settings)
	var err error
	if s.Connects, err = describe(s.connector); err != nil {
		s.defect = err
	}
	return s
}

// WithPrevious gives the spec of an action that can `return_to: previous`: its system keeps history.
func (s Spec) WithPrevious() Spec {
	s.Previous = true
	return s
}
