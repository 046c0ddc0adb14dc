package config

import (
	"cmp"
	"encoding"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/gatekeeper-engine/gatekeeper/actions"
	"github.com/gatekeeper-engine/gatekeeper/internal/secret"
	"github.com/gatekeeper-engine/gatekeeper/internal/yamlnode"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

const maxDepth = 50

// document is the file under reading and what was found wrong so far.
type document struct {
	name, dir, text string
	problems        rules.Problems
}

// later are keys that a later version brings, by the struct they belong to.
var later = map[reflect.Type][]string{
	reflect.TypeFor[Config](): {
		"budgets", "policies", "services", "oidc", "replicas",
		"tls", "web", "plugins", "federation",
	},
	reflect.TypeFor[Guards]():  {"budgets", "budget", "blast_radius"},
	reflect.TypeFor[Backend](): {"cloudwatch", "datadog", "elasticsearch", "graphite", "influxdb", "newrelic", "victoriametrics_cluster"},
	reflect.TypeFor[Token]():   {"environments", "expires"},
}

// customized is a type that reads itself from a node.
type customized interface {
	decode(d *document, n *yaml.Node)
}

var (
	customType  = reflect.TypeFor[customized]()
	sectionType = reflect.TypeFor[Section]()
	yamlType    = reflect.TypeFor[yaml.Unmarshaler]()
	legacyType  = reflect.TypeFor[interface{ UnmarshalYAML(func(any) error) error }]()
	textType    = reflect.TypeFor[encoding.TextUnmarshaler]()
)

var yamlLine = regexp.MustCompile(`line (\d+): `)

// parse gives the root of the file's one document; nil when there is none.
func (d *document) parse() *yaml.Node {
	dec := yaml.NewDecoder(strings.NewReader(d.text))
	var doc, second yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 0 {
		return nil
	}
	if err == nil {
		if err = dec.Decode(&second); errors.Is(err, io.EOF) {
			return doc.Content[0]
		}
		if err == nil {
			d.wrong(&second, "syntax", "", "there is a second document: keep one")
			return nil
		}
	}
	p := rules.Problem{
		File: d.name, Severity: rules.Error, Check: "syntax", Message: "this is no YAML: " + cleaned(err), Length: 1,
		Hint: "Look at the indentation, by spaces and not by tabs, and at the quotes, here and in the line above.",
	}
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		p.Line, _ = strconv.Atoi(m[1]) // the expression matched digits
		p.Column = 1
	}
	d.problems = append(d.problems, p)
	return nil
}

func (d *document) wrong(n *yaml.Node, check, hint, format string, args ...any) {
	p := rules.Problem{
		File: d.name, Severity: rules.Error, Check: check, Message: fmt.Sprintf(format, args...), Hint: hint,
	}
	if n != nil {
		p.Line, p.Column, p.Length = n.Line, n.Column, 1
		if n.Kind == yaml.ScalarNode && n.Value != "" && !strings.Contains(n.Value, "\n") {
			p.Length = utf8.RuneCountInString(n.Value)
		}
	}
	d.problems = append(d.problems, p)
}

func (d *document) sorted() rules.Problems {
	return slices.SortedStableFunc(slices.Values(d.problems), func(a, b rules.Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// value gives what pointer points to.
func value(pointer any) reflect.Value { return reflect.ValueOf(pointer).Elem() }

// value reads a node into v, which keeps its value where nothing is written.
func (d *document) value(n *yaml.Node, v reflect.Value, what string) {
	d.read(n, v, what, "", 0)
}

func (d *document) read(n *yaml.Node, v reflect.Value, what, key string, depth int) {
	n = yamlnode.Follow(n)
	t := v.Type()
	switch {
	case depth > maxDepth:
		d.wrong(n, "type", "", "this is nested more than %d levels deep", maxDepth)
		return
	case t == sectionType:
		v.Set(reflect.ValueOf(Section{doc: d, node: n}))
		return
	case t.Kind() != reflect.Pointer && reflect.PointerTo(t).Implements(customType):
		if c, ok := v.Addr().Interface().(customized); ok {
			c.decode(d, n)
		}
		return
	case n.Tag == "!!null" && t.Kind() != reflect.Pointer:
		return
	case readsItself(t):
		d.scalar(n, v, what, key)
		return
	}
	switch t.Kind() {
	case reflect.Pointer:
		p := reflect.New(t.Elem())
		d.read(n, p.Elem(), what, key, depth+1)
		v.Set(p)
	case reflect.Struct:
		d.object(n, v, what, depth)
	case reflect.Map:
		d.mapping(n, v, what, key, depth)
	case reflect.Slice:
		d.list(n, v, what, key, depth)
	default:
		d.scalar(n, v, what, key)
	}
}

func readsItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(yamlType) || p.Implements(legacyType) || p.Implements(textType)
}

func (d *document) object(n *yaml.Node, v reflect.Value, what string, depth int) {
	if at := v.FieldByName("At"); at.IsValid() && at.Type() == sectionType {
		at.Set(reflect.ValueOf(Section{doc: d, node: n}))
	}
	if n.Kind != yaml.MappingNode {
		d.wrong(n, "type", "", "%s must be a mapping, not %s", what, yamlnode.Kind(n))
		return
	}
	fields := fieldsOf(v)
	d.pairs(n, func(key, item *yaml.Node) {
		f, ok := fields[key.Value]
		switch {
		case ok:
			d.read(item, f, key.Value, key.Value, depth+1)
		case slices.Contains(later[v.Type()], key.Value):
			d.wrong(key, "unsupported", "remove it; a later version brings it", "%q is not supported yet", key.Value)
		default:
			d.wrong(key, "key", "", "unknown key %q%s", key.Value, actions.Suggest(key.Value, sortedKeys(fields)))
		}
	})
}

// fieldsOf gives a struct's fields by their keys, with those of inlined structs.
func fieldsOf(v reflect.Value) map[string]reflect.Value {
	all := map[string]reflect.Value{}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case name == "-" || !f.IsExported():
		case strings.Contains(options, "inline"):
			maps.Copy(all, fieldsOf(v.Field(i)))
		case name != "":
			all[name] = v.Field(i)
		}
	}
	return all
}

func (d *document) mapping(n *yaml.Node, v reflect.Value, what, key string, depth int) {
	if n.Kind != yaml.MappingNode {
		d.wrong(n, "type", "", "%s must be a mapping of names, not %s", what, yamlnode.Kind(n))
		return
	}
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}
	d.pairs(n, func(k, item *yaml.Node) {
		e := reflect.New(v.Type().Elem()).Elem()
		d.read(item, e, k.Value, pathKey(key, k.Value), depth+1)
		v.SetMapIndex(reflect.ValueOf(k.Value).Convert(v.Type().Key()), e)
	})
}

func (d *document) list(n *yaml.Node, v reflect.Value, what, key string, depth int) {
	if n.Kind != yaml.SequenceNode {
		d.wrong(n, "type", "begin each entry with a dash", "%s must be a list, not %s", what, yamlnode.Kind(n))
		return
	}
	l := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		d.read(item, l.Index(i), "an entry of "+what, key, depth+1)
	}
	v.Set(l)
}

func (d *document) scalar(n *yaml.Node, v reflect.Value, what, key string) {
	if n.Kind != yaml.ScalarNode && !reflect.PointerTo(v.Type()).Implements(yamlType) && !reflect.PointerTo(v.Type()).Implements(legacyType) {
		d.wrong(n, "type", "", "%s must be a single value, not %s", what, yamlnode.Kind(n))
		return
	}
	if err := n.Decode(v.Addr().Interface()); err != nil {
		d.wrong(n, "type", "", "%s: %s", what, cleaned(err))
		return
	}
	if v.Kind() == reflect.String && !readsItself(v.Type()) {
		v.SetString(d.resolve(key, v.String()))
	}
}

// pairs calls f for every key of a mapping; a key that stands twice is told and passed over.
func (d *document) pairs(n *yaml.Node, f func(key, value *yaml.Node)) {
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		switch line, twice := lines[k.Value]; {
		case k.Kind != yaml.ScalarNode:
			d.wrong(k, "key", "", "a key must be a word, not %s", yamlnode.Kind(k))
		case twice:
			d.wrong(k, "key", "keep one of them", "%q stands twice; the first time in line %d", k.Value, line)
		default:
			lines[k.Value] = k.Line
			f(k, v)
		}
	}
}

// pathKey is the key by which a value's being a path is known: a map of files has names of its own.
func pathKey(parent, key string) string {
	if strings.HasSuffix(parent, "_files") {
		return parent
	}
	return key
}

// resolve makes a path of the configuration's folder absolute; env:NAME is none.
func (d *document) resolve(key, s string) string {
	if _, ok := secret.Variable(s); ok {
		return s
	}
	for _, suffix := range []string{"_file", "_files", "_dir"} {
		if strings.HasSuffix(key, suffix) && s != "" && !filepath.IsAbs(s) {
			return filepath.Join(d.dir, s)
		}
	}
	return s
}

func valueOf(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
