package ruletest

import (
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	"github.com/gatekeeper-engine/gatekeeper/internal/suggest"
	"github.com/gatekeeper-engine/gatekeeper/internal/yamlnode"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// unfolds caps what YAML may unfold to.
var unfolds = yamlnode.Limits{Nodes: 2_000_000, Bytes: 4 * maxFile, Depth: 50}

// reader reads a test file strictly, as promtool does, and tells what is wrong with positions.
type reader struct {
	name     string
	problems rules.Problems
}

// selfRead is a type with a form of its own in YAML.
type selfRead interface {
	read(r *reader, n *yaml.Node)
}

var (
	placeType    = reflect.TypeFor[Place]()
	durationType = reflect.TypeFor[model.Duration]()
	offsetType   = reflect.TypeFor[offset]()
	selfReadType = reflect.TypeFor[selfRead]()
)

func (r *reader) fail(at Place, length int, check, hint, format string, args ...any) {
	if len(r.problems) >= maxProblems {
		return
	}
	r.problems = append(r.problems, rules.Problem{
		File: r.name, Line: at.Line, Column: at.Column, Length: length, Severity: rules.Error,
		Check: check, Message: fmt.Sprintf(format, args...), Hint: hint,
	})
}

func (r *reader) wrong(n *yaml.Node, check, hint, format string, args ...any) {
	length := 1
	if n.Kind == yaml.ScalarNode && !strings.Contains(n.Value, "\n") {
		length = max(1, utf8.RuneCountInString(n.Value))
	}
	r.fail(placeOf(n), length, check, hint, format, args...)
}

func placeOf(n *yaml.Node) Place { return Place{max(n.Line, 1), max(n.Column, 1)} }

var yamlLine = regexp.MustCompile(`line (\d+): `)

// document gives the root of the file's first document, which is what promtool reads; nil for an empty one.
func (r *reader) document(text string) *yaml.Node {
	var doc yaml.Node
	err := yaml.NewDecoder(strings.NewReader(text)).Decode(&doc)
	if errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 0 {
		return nil
	}
	if err != nil {
		at := Place{1, 1}
		if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
			line, _ := strconv.Atoi(m[1]) // the expression matched digits
			at.Line = max(line, 1)
		}
		r.fail(at, 1, "syntax", "Look at the indentation and the quotes here and in the line above.", "not YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
		return nil
	}
	if !unfolds.Fit(&doc) {
		r.fail(Place{1, 1}, 1, "syntax", "Write the parts out instead of repeating them by anchors and aliases.",
			"the YAML unfolds to more than %d values or %d bytes, or nests deeper than %d", unfolds.Nodes, unfolds.Bytes, unfolds.Depth)
		return nil
	}
	return doc.Content[0]
}

// into reads a node into v, which keeps its zero where nothing is written.
func (r *reader) into(n *yaml.Node, v reflect.Value, what string) {
	n = yamlnode.Follow(n)
	t := v.Type()
	switch {
	case reflect.PointerTo(t).Implements(selfReadType):
		if s, ok := v.Addr().Interface().(selfRead); ok {
			s.read(r, n)
		}
		return
	case yamlnode.IsNull(n):
		place(v, n)
		return
	case t == durationType || t == offsetType:
		if d, ok := r.duration(n, what, t == offsetType); ok {
			v.SetInt(int64(d))
		}
		return
	}
	switch t.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(t.Elem()))
		r.into(n, v.Elem(), what)
	case reflect.Struct:
		r.object(n, v, what)
	case reflect.Map:
		r.texts(n, v, what)
	case reflect.Slice:
		r.list(n, v, what)
	case reflect.Bool:
		var b bool
		if n.Decode(&b) != nil {
			r.wrong(n, "type", "", "%s must be true or false, not %s", what, yamlnode.Kind(n))
		}
		v.SetBool(b)
	case reflect.Float64:
		v.SetFloat(r.number(n, what))
	default:
		if n.Kind != yaml.ScalarNode {
			r.wrong(n, "type", "", "%s must be a text, not %s", what, yamlnode.Kind(n))
			return
		}
		v.SetString(n.Value)
	}
}

// object reads a mapping into a struct: every key is one of its fields, once.
func (r *reader) object(n *yaml.Node, v reflect.Value, what string) {
	if n.Kind != yaml.MappingNode {
		r.wrong(n, "type", "", "%s must be a mapping of keys to values, not %s", what, yamlnode.Kind(n))
		return
	}
	place(v, n)
	fields := map[string]reflect.Value{}
	var names []string
	for i := range v.NumField() {
		if name := v.Type().Field(i).Tag.Get("yaml"); name != "" && name != "-" {
			fields[name] = v.Field(i)
			names = append(names, name)
		}
	}
	for _, p := range r.pairs(n, what) {
		if f, ok := fields[p.key.Value]; ok {
			r.into(p.value, f, strconv.Quote(p.key.Value))
		} else {
			r.unknown(p.key, what, names)
		}
	}
}

// place tells a struct where it stands, if it wants to know.
func place(v reflect.Value, n *yaml.Node) {
	if v.Kind() == reflect.Struct && v.NumField() > 0 && v.Type().Field(0).Type == placeType {
		v.Field(0).Set(reflect.ValueOf(placeOf(n)))
	}
}

func (r *reader) unknown(key *yaml.Node, what string, names []string) {
	hint := fmt.Sprintf("The keys of %s are: %s.", what, strings.Join(names, ", "))
	if name, ok := suggest.Nearest(key.Value, names); ok {
		hint = fmt.Sprintf("Did you mean %q?", name)
	}
	r.wrong(key, "key", hint, "unknown key %q in %s", key.Value, what)
}

type pair struct{ key, value *yaml.Node }

// pairs gives the keys and values of a mapping, those that it merges by "<<" behind its own.
func (r *reader) pairs(n *yaml.Node, what string) []pair {
	var own, merged []pair
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := yamlnode.Follow(n.Content[i]), n.Content[i+1]
		first, twice := seen[k.Value]
		switch {
		case n.Content[i].ShortTag() == "!!merge":
			sources := []*yaml.Node{yamlnode.Follow(v)}
			if sources[0].Kind == yaml.SequenceNode {
				sources = sources[0].Content
			}
			for _, one := range sources {
				if one = yamlnode.Follow(one); one.Kind == yaml.MappingNode {
					merged = append(merged, r.pairs(one, what)...)
				}
			}
		case k.Kind != yaml.ScalarNode:
			r.wrong(k, "type", "", "a key of %s must be a text, not %s", what, yamlnode.Kind(k))
		case twice:
			r.wrong(k, "key", "Keep one of them.", "%q stands twice in %s; the first time in line %d", k.Value, what, first)
		default:
			seen[k.Value] = k.Line
			own = append(own, pair{k, v})
		}
	}
	for _, p := range merged {
		if _, there := seen[p.key.Value]; !there {
			seen[p.key.Value] = p.key.Line
			own = append(own, p)
		}
	}
	return own
}

func (r *reader) texts(n *yaml.Node, v reflect.Value, what string) {
	if n.Kind != yaml.MappingNode {
		r.wrong(n, "type", "", "%s must be a mapping of texts, not %s", what, yamlnode.Kind(n))
		return
	}
	all := map[string]string{}
	for _, p := range r.pairs(n, what) {
		value := yamlnode.Follow(p.value)
		switch {
		case yamlnode.IsNull(value):
			all[p.key.Value] = ""
		case value.Kind == yaml.ScalarNode:
			all[p.key.Value] = value.Value
		default:
			r.wrong(value, "type", "", "%q in %s must be a text, not %s", p.key.Value, what, yamlnode.Kind(value))
		}
	}
	v.Set(reflect.ValueOf(all))
}

func (r *reader) list(n *yaml.Node, v reflect.Value, what string) {
	if n.Kind != yaml.SequenceNode {
		r.wrong(n, "type", `Begin each entry with "- ".`, "%s must be a list, not %s", what, yamlnode.Kind(n))
		return
	}
	all := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, one := range n.Content {
		r.into(one, all.Index(i), "an entry of "+what)
	}
	v.Set(all)
}

// duration reads a duration as Prometheus writes it; one that is signed may have a minus before it.
func (r *reader) duration(n *yaml.Node, what string, signed bool) (time.Duration, bool) {
	if n.Kind == yaml.ScalarNode {
		text, negative := n.Value, false
		if signed {
			text, negative = strings.CutPrefix(text, "-")
		}
		if d, err := model.ParseDuration(text); err == nil {
			if negative {
				d = -d
			}
			return time.Duration(d), true
		}
	}
	r.wrong(n, "duration", "Write a number and a unit, such as 30s, 5m or 1h30m; the units are ms, s, m, h, d, w and y.",
		"%s must be a duration, not %s", what, yamlnode.Kind(n))
	return 0, false
}

func (r *reader) number(n *yaml.Node, what string) float64 {
	v := math.NaN()
	if tag := n.ShortTag(); n.Kind != yaml.ScalarNode || tag != "!!int" && tag != "!!float" || n.Decode(&v) != nil {
		r.wrong(n, "type", "Not a number is .nan and infinity .inf in YAML.", "%s must be a number, not %s", what, yamlnode.Kind(n))
	}
	return v
}

func (t *instant) read(r *reader, n *yaml.Node) {
	if yamlnode.IsNull(n) || n.Kind == yaml.ScalarNode && n.Value == "" {
		return
	}
	if seconds, err := strconv.ParseFloat(n.Value, 64); err == nil && n.Kind == yaml.ScalarNode && math.Abs(seconds) < 1e11 {
		whole, part := math.Modf(seconds)
		t.Time = time.Unix(int64(whole), int64(part*1e9)).UTC()
		return
	}
	at, err := time.Parse(time.RFC3339Nano, n.Value)
	if err != nil || n.Kind != yaml.ScalarNode {
		r.wrong(n, "value", "Write it as 2026-01-31T00:00:00Z, or as seconds since 1970.", "start_timestamp can't be %s", yamlnode.Kind(n))
		return
	}
	t.Time = at
}

func (p *pattern) read(r *reader, n *yaml.Node) {
	p.Place = placeOf(n)
	if n.Kind != yaml.ScalarNode {
		r.wrong(n, "type", "", "an entry of rule_files must be a text, not %s", yamlnode.Kind(n))
		return
	}
	p.text = n.Value
}
