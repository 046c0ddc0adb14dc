package rules

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	"github.com/gatekeeper-engine/gatekeeper/internal/yamlnode"
)

// unfolds caps what YAML may unfold to.
var unfolds = yamlnode.Limits{Nodes: 100_000, Bytes: 4 * MaxBundle, Depth: 50}

// reader reads the YAML of one file strictly and tells what is wrong with positions.
type reader struct {
	src *source
	out *collector
}

// key is a key that a mapping may have.
type key struct {
	name  string
	must  bool
	read  func(value *yaml.Node)
	later string // a hint: the key is not supported yet, what to do instead
}

// document gives the file's one document, or nil after it told why there is none.
func (r *reader) document(text string) *yaml.Node {
	if !utf8.ValidString(text) {
		r.file(checkSyntax, "Save it as UTF-8.", "the file is not UTF-8 text")
		return nil
	}
	dec := yaml.NewDecoder(strings.NewReader(text))
	var doc, second yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 0 {
		r.file(checkSyntax, "A health file has groups of rules at least.", "the file is empty")
		return nil
	} else if err != nil {
		r.syntax(err)
		return nil
	}
	if err := dec.Decode(&second); err == nil {
		r.fail(&second, checkSyntax, "Put the second one into a file of its own.", "the file has several YAML documents; a health file is one")
	} else if !errors.Is(err, io.EOF) {
		r.syntax(err)
	}
	if !unfolds.Fit(&doc) {
		r.file(checkSyntax, "Write the parts out instead of repeating them by anchors and aliases.",
			"the YAML unfolds to more than %d values or %d bytes, or nests deeper than %d", unfolds.Nodes, unfolds.Bytes, unfolds.Depth)
		return nil
	}
	return doc.Content[0]
}

var yamlLine = regexp.MustCompile(`^yaml: line (\d+): `)

// syntax tells of an error of the YAML parser, which knows the line only, and that not always.
func (r *reader) syntax(err error) {
	p := Problem{
		File: r.src.name, Severity: Error, Check: checkSyntax, Length: 1,
		Hint: "Look at the indentation and the quotes here and in the line above.",
	}
	text := err.Error()
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		text = text[len(m[0]):]
		p.Line, _ = strconv.Atoi(m[1]) // digits, or 0: the whole file
	}
	p.Message = "not YAML: " + strings.TrimPrefix(text, "yaml: ")
	if p.Line = min(p.Line, len(r.src.lines)); p.Line > 0 {
		line := r.src.lines[p.Line-1]
		lead := len(line) - len(strings.TrimLeft(line, " \t"))
		p.Column, p.Length = lead+1, utf8.RuneCountInString(line[lead:])
		if strings.Contains(line[:lead], "\t") {
			p.Hint = "YAML is indented by spaces, not by tabs."
		}
	}
	r.out.add(p)
}

// file tells of a problem of the whole file.
func (r *reader) file(check, hint, format string, args ...any) {
	r.out.add(Problem{File: r.src.name, Severity: Error, Check: check, Message: fmt.Sprintf(format, args...), Hint: hint})
}

// fail tells of an error at a node.
func (r *reader) fail(n *yaml.Node, check, hint, format string, args ...any) {
	r.tell(Error, n, check, hint, format, args...)
}

func (r *reader) tell(s Severity, n *yaml.Node, check, hint, format string, args ...any) {
	r.out.add(r.node(n).problem(s, check, hint, fmt.Sprintf(format, args...)))
}

// tellAt tells of a part of a scalar's value: length bytes from offset.
func (r *reader) tellAt(s Severity, n *yaml.Node, offset, length int, check, hint, format string, args ...any) {
	r.out.add(r.part(n, offset, offset+max(length, 0)).problem(s, check, hint, fmt.Sprintf(format, args...)))
}

// object reads a mapping: every key must be one of keys, once, and those it must have are there.
func (r *reader) object(n *yaml.Node, what string, keys ...key) {
	pairs, ok := r.pairs(n, what)
	if !ok {
		return
	}
	seen := map[string]bool{}
	for _, p := range pairs {
		seen[p.key.Value] = true
		i := slices.IndexFunc(keys, func(k key) bool { return k.name == p.key.Value })
		switch {
		case i < 0:
			var names []string
			for _, k := range keys {
				if k.read != nil {
					names = append(names, k.name)
				}
			}
			hint := didYouMean(p.key.Value, names)
			if hint == "" {
				hint = fmt.Sprintf("The keys of %s are: %s.", what, strings.Join(names, ", "))
			}
			r.fail(p.key, checkKey, hint, "unknown key %q in %s", p.key.Value, what)
		case keys[i].read == nil:
			r.fail(p.key, checkUnsupported, keys[i].later, "%q in %s is not supported yet", p.key.Value, what)
		default:
			keys[i].read(p.value)
		}
	}
	for _, k := range keys {
		if k.must && !seen[k.name] {
			r.fail(n, checkKey, fmt.Sprintf("Add %q to it.", k.name), "%s has no %q", what, k.name)
		}
	}
}

// noting gives keys that also note where their values stand.
func noting(nodes map[string]*yaml.Node, keys []key) []key {
	noted := slices.Clone(keys)
	for i, k := range keys {
		if k.read != nil {
			noted[i].read = func(n *yaml.Node) { nodes[k.name] = n; k.read(n) }
		}
	}
	return noted
}

type pair struct{ key, value *yaml.Node }

// pairs gives the keys and values of a mapping, with those it merges by "<<" behind its own.
func (r *reader) pairs(n *yaml.Node, what string) ([]pair, bool) {
	m := yamlnode.Follow(n)
	if m.Kind != yaml.MappingNode {
		r.fail(n, checkType, "", "%s must be a mapping of keys to values, not %s", what, yamlnode.Kind(m))
		return nil, false
	}
	var own, merged []pair
	lines := map[string]int{}
	for i := 0; i+1 < len(m.Content); i += 2 {
		k, v := m.Content[i], m.Content[i+1]
		name := yamlnode.Follow(k)
		switch first, dup := lines[name.Value]; {
		case k.ShortTag() == "!!merge":
			merged = append(merged, r.merged(v, what)...)
		case name.Kind != yaml.ScalarNode || name.Value == "":
			r.fail(k, checkType, "", "a key of %s must be a text, not %s", what, yamlnode.Kind(name))
		case dup:
			r.fail(k, checkKey, "Keep one of them.", "%q stands twice in %s; the first time in line %d", name.Value, what, first)
		default:
			lines[name.Value] = k.Line
			own = append(own, pair{name, v})
		}
	}
	for _, p := range merged {
		if _, ok := lines[p.key.Value]; !ok {
			lines[p.key.Value] = p.key.Line
			own = append(own, p)
		}
	}
	return own, true
}

func (r *reader) merged(v *yaml.Node, what string) []pair {
	v = yamlnode.Follow(v)
	if v.Kind != yaml.SequenceNode {
		pairs, _ := r.pairs(v, what)
		return pairs
	}
	var all []pair
	for _, one := range v.Content {
		pairs, _ := r.pairs(one, what)
		all = append(all, pairs...)
	}
	return all
}

// list gives the values of a sequence; nothing at all is an empty one.
func (r *reader) list(n *yaml.Node, what string) []*yaml.Node {
	s := yamlnode.Follow(n)
	if yamlnode.IsNull(s) {
		return nil
	}
	if s.Kind != yaml.SequenceNode {
		r.fail(n, checkType, `Begin each entry with "- ".`, "%s must be a list, not %s", what, yamlnode.Kind(s))
		return nil
	}
	return s.Content
}

// text reads a scalar as a text; numbers and the like are taken as they are written.
func (r *reader) text(n *yaml.Node, what string) (string, bool) {
	s := yamlnode.Follow(n)
	if s.Kind != yaml.ScalarNode || yamlnode.IsNull(s) {
		r.fail(n, checkType, "", "%s must be a text, not %s", what, yamlnode.Kind(s))
		return "", false
	}
	return s.Value, true
}

// filled reads a text that says something.
func (r *reader) filled(n *yaml.Node, what string) (string, bool) {
	s, ok := r.text(n, what)
	if ok && strings.TrimSpace(s) == "" {
		r.fail(n, checkValue, "", "%s is empty", what)
		return "", false
	}
	return s, ok
}

// texts reads a mapping of texts.
func (r *reader) texts(n *yaml.Node, what string) map[string]pair {
	if yamlnode.IsNull(yamlnode.Follow(n)) {
		return nil
	}
	pairs, _ := r.pairs(n, what)
	all := map[string]pair{}
	for _, p := range pairs {
		if _, ok := r.text(p.value, fmt.Sprintf("%q in %s", p.key.Value, what)); ok {
			all[p.key.Value] = pair{p.key, yamlnode.Follow(p.value)}
		}
	}
	return all
}

// oneOf reads one of a few words.
func (r *reader) oneOf(n *yaml.Node, what string, words ...string) (string, bool) {
	s, ok := r.text(n, what)
	if ok && !slices.Contains(words, s) {
		hint := didYouMean(s, words)
		if hint == "" {
			hint = "It is one of: " + strings.Join(words, ", ") + "."
		}
		r.fail(n, checkValue, hint, "%s can't be %q", what, s)
		return "", false
	}
	return s, ok
}

// boolean reads true or false.
func (r *reader) boolean(n *yaml.Node, what string) bool {
	var v bool
	if s := yamlnode.Follow(n); s.ShortTag() != "!!bool" || s.Decode(&v) != nil {
		r.fail(n, checkType, "", "%s must be true or false, not %s", what, yamlnode.Kind(s))
	}
	return v
}

// number reads a number.
func (r *reader) number(n *yaml.Node, what string) (float64, bool) {
	var v float64
	s := yamlnode.Follow(n)
	if tag := s.ShortTag(); tag != "!!int" && tag != "!!float" || s.Decode(&v) != nil {
		r.fail(n, checkType, "", "%s must be a number, not %s", what, yamlnode.Kind(s))
		return 0, false
	}
	return v, true
}

// whole reads a whole number.
func (r *reader) whole(n *yaml.Node, what string) int {
	var v int
	if s := yamlnode.Follow(n); s.ShortTag() != "!!int" || s.Decode(&v) != nil {
		r.fail(n, checkType, "", "%s must be a whole number, not %s", what, yamlnode.Kind(s))
	}
	return v
}

// duration reads a duration as Prometheus writes it, at least least.
func (r *reader) duration(n *yaml.Node, what string, least time.Duration) (time.Duration, bool) {
	s, ok := r.text(n, what)
	if !ok {
		return 0, false
	}
	d, err := model.ParseDuration(s)
	if err != nil {
		hint := "Write a number and a unit, such as 30s, 5m or 1h30m; the units are ms, s, m, h, d, w and y."
		if _, err := strconv.ParseUint(s, 10, 32); err == nil {
			hint = fmt.Sprintf("A number needs its unit: %ss, %sm?", s, s)
		}
		r.fail(n, checkDuration, hint, "%s: %q is no duration", what, s)
		return 0, false
	}
	if time.Duration(d) < least {
		r.fail(n, checkDuration, "", "%s is %s; it must be at least %s", what, s, model.Duration(least))
		return 0, false
	}
	return time.Duration(d), true
}
