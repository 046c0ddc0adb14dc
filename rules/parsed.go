package rules

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"

	"github.com/gatekeeper-engine/gatekeeper/internal/yamlnode"
	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// Parsed is a bundle as it was read, with the places of its parts: what a linter needs. It does not
// change.
type Parsed struct {
	Bundle   Bundle
	File     *File    // what could be read, even where it can't be used
	Usable   bool     // Load would give File
	Problems Problems // Load's, sorted
	Rules    []*ParsedRule
	Floor    *ParsedRule    // min_traffic, as a rule that has only an expression; nil: there is none
	Routes   []*ParsedRoute // of respond

	Recordings   []*ParsedRule       // as rules that have only an expression
	Recorded     promexpr.Recordings // the same by the names that they record
	Unrecordable Problems            // of a backend that can't evaluate them: one for each
}

// Expressions gives everything that the backend is asked: the rules, and [Parsed.Bare] behind them.
func (p *Parsed) Expressions() []*ParsedRule {
	return append(slices.Clone(p.Rules), p.Bare()...)
}

// Bare gives what has only an expression: the recording rules, and min_traffic.
func (p *Parsed) Bare() []*ParsedRule {
	if p.Floor == nil {
		return p.Recordings
	}
	return append(slices.Clone(p.Recordings), p.Floor)
}

// Place is a part of one of a bundle's files.
type Place struct {
	File                 string // its name in messages
	Line, Column, Length int    // as in [Problem]
}

func (p Place) problem(s Severity, check, hint, message string) Problem {
	return Problem{File: p.File, Line: p.Line, Column: p.Column, Length: p.Length, Severity: s, Check: check, Message: message, Hint: hint}
}

// ParsedRule is a rule whose expression can be asked. Its AST belongs to everybody: nobody changes it.
type ParsedRule struct {
	Rule
	AST         parser.Expr
	Source      string // the text of the expression in which AST's positions count
	First, Last int    // its lines in the file

	node *ruleNode
}

// ParsedRoute is an entry of respond.
type ParsedRoute struct {
	Response
	nodes  map[string]*yaml.Node
	reader *reader
}

// Parse reads a bundle as [Load] does, and goes on where that fails.
func Parse(b Bundle) *Parsed {
	l := newLoader(b)
	p := &Parsed{Bundle: b, File: l.load(), Recorded: l.known}
	p.Usable, p.Problems = !l.out.failed, l.out.sorted()
	for _, r := range l.rules {
		if r.expr != nil {
			p.Rules = append(p.Rules, parsedRule(r))
		}
	}
	if l.floor != nil && l.floor.expr != nil {
		p.Floor = parsedRule(l.floor)
		for _, r := range p.Rules { // it is asked along with each of them
			p.Floor.Interval = min(p.Floor.Interval, r.Interval)
		}
	}
	for _, r := range l.recordings {
		p.Unrecordable = append(p.Unrecordable, r.problem())
		if r.expr != nil {
			p.Recordings = append(p.Recordings, parsedRule(r.node()))
		}
	}
	for _, t := range l.routes {
		p.Routes = append(p.Routes, &ParsedRoute{Response: t.Response, nodes: t.nodes, reader: t.reader})
	}
	return p
}

func parsedRule(r *ruleNode) *ParsedRule {
	return &ParsedRule{
		Rule: r.Rule, AST: r.expr.ast, Source: yamlnode.Follow(r.nodes["expr"]).Value,
		First: yamlnode.Follow(r.at).Line, Last: r.r.src.lastLine(r.at), node: r,
	}
}

// Text gives one of the bundle's files by its name in messages.
func (b Bundle) Text(name string) (text string, ok bool) {
	if name == b.title() {
		return b.File, true
	}
	for path, text := range b.RuleFiles {
		if b.titleOf(path) == name {
			return text, true
		}
	}
	return "", false
}

// WithText gives the bundle with another text for one of its files, by its name in messages.
func (b Bundle) WithText(name, text string) Bundle {
	if name == b.title() {
		b.File = text
		return b
	}
	files := make(map[string]string, len(b.RuleFiles))
	for path, old := range b.RuleFiles {
		if files[path] = old; b.titleOf(path) == name {
			files[path] = text
		}
	}
	b.RuleFiles = files
	return b
}

// Files gives the names of the bundle's files in messages, the health file first.
func (b Bundle) Files() []string {
	names := []string{b.title()}
	for _, path := range slices.Sorted(maps.Keys(b.RuleFiles)) {
		names = append(names, b.titleOf(path))
	}
	return names
}

// Part is the place of bytes of the rule's Source.
func (r *ParsedRule) Part(from, to int) Place {
	return r.node.r.part(yamlnode.Follow(r.node.nodes["expr"]), from, to)
}

// Key is the place of a key's value, or of the rule's name where it has no such key.
func (r *ParsedRule) Key(name string) Place {
	n := r.node.nodes[name]
	if n == nil {
		n = cmp.Or(r.node.nodes["alert"], r.node.at)
	}
	return r.node.r.node(n)
}

// LabelPart is the place of bytes of a label's value, its group's labels included.
func (r *ParsedRule) LabelPart(name string, from, to int) Place {
	if p, ok := r.node.labels[name]; ok {
		return r.node.r.part(p.value, from, to)
	}
	return r.Key("labels")
}

// AnnotationPart is the place of bytes of an annotation's value.
func (r *ParsedRule) AnnotationPart(name string, from, to int) Place {
	if n := valueOf(r.node.nodes["annotations"], name); n != nil {
		return r.node.r.part(n, from, to)
	}
	return r.Key("annotations")
}

// Key is the place of a key's value, or of the route's response where it has no such key.
func (t *ParsedRoute) Key(name string) Place {
	n := t.nodes[name]
	if n == nil {
		n = t.nodes["do"]
	}
	return t.reader.node(n)
}

// Has says whether the route has a key.
func (t *ParsedRoute) Has(name string) bool { return t.nodes[name] != nil }

// valueOf gives what stands under a key of a mapping, or nil.
func valueOf(n *yaml.Node, name string) *yaml.Node {
	if n == nil {
		return nil
	}
	m := yamlnode.Follow(n)
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == name {
			return yamlnode.Follow(m.Content[i+1])
		}
	}
	return nil
}

// node is the place of a node.
func (r *reader) node(n *yaml.Node) Place {
	length := 1
	if n.Kind == yaml.ScalarNode && !strings.Contains(n.Value, "\n") {
		length = utf8.RuneCountInString(n.Value)
		if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
			length += 2
		}
	}
	line, column := max(n.Line, 1), max(n.Column, 1)
	if last := len(r.src.lines); line > last { // what a file that ends with --- does not hold
		line, column = last, utf8.RuneCountInString(r.src.lines[last-1])+1
	}
	return Place{File: r.src.name, Line: line, Column: column, Length: length}
}

// part is the place of bytes of a scalar's value, up to the end of their first line.
func (r *reader) part(n *yaml.Node, from, to int) Place {
	from = min(max(from, 0), len(n.Value))
	text := n.Value[from:min(len(n.Value), max(from, to))]
	text, _, _ = strings.Cut(text, "\n")
	line, column := r.src.locate(n, from)
	return Place{File: r.src.name, Line: line, Column: column, Length: max(1, utf8.RuneCountInString(text))}
}

// lastLine is the last line that a node stands on.
func (s *source) lastLine(n *yaml.Node) int {
	last := n.Line
	if n.Kind == yaml.ScalarNode {
		value := strings.TrimRight(n.Value, "\n")
		line, _ := s.locate(n, len(value))
		last = max(last, line)
	}
	for _, c := range n.Content {
		last = max(last, s.lastLine(c))
	}
	return last
}
