package rules

import (
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// source is the text of one file, to find the place in it that a part of a YAML value comes from.
type source struct {
	name   string
	text   string
	lines  []string
	starts []int // the byte at which each line begins
}

func newSource(name, text string) *source {
	s := &source{name: name, text: text, starts: []int{0}}
	for _, m := range lineBreak.FindAllStringIndex(text, -1) {
		s.lines = append(s.lines, text[s.starts[len(s.starts)-1]:m[0]])
		s.starts = append(s.starts, m[1])
	}
	s.lines = append(s.lines, text[s.starts[len(s.starts)-1]:])
	return s
}

// lineBreak is what YAML 1.1 counts as one.
var lineBreak = regexp.MustCompile("\r\n|[\n\r\u0085\u2028\u2029]")

func splitLines(text string) []string { return lineBreak.Split(text, -1) }

// locate gives the line and column of the byte at offset of a scalar's value; where it can't be
// found, the scalar's own.
func (s *source) locate(n *yaml.Node, offset int) (line, column int) {
	if line, column, ok := s.find(n, offset); ok {
		return line, column
	}
	return n.Line, n.Column
}

// find gives the line and column of the byte at offset of a scalar's value. Quotes, escapes, folded
// lines and the indentation of block scalars are undone; a value with exotic escapes is not found.
func (s *source) find(n *yaml.Node, offset int) (line, column int, ok bool) {
	value := []rune(n.Value)
	count := utf8.RuneCountInString(n.Value[:min(offset, len(n.Value))])
	c := &cursor{lines: s.lines}
	c.to(n.Line-1, n.Column-1)
	c.properties(n)
	switch {
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		ok = c.block(value, count, n.Style&yaml.LiteralStyle != 0)
	case n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
		c.col++
		ok = c.flow(value, count, n.Style)
	default:
		ok = c.flow(value, count, n.Style)
	}
	return c.line + 1, c.col + 1, ok && c.line < len(s.lines)
}

// cursor walks over a file's text beside the value that YAML made of it.
type cursor struct {
	lines  []string
	line   int // from 0
	col    int // in characters, from 0
	runes  []rune
	indent int // of a block scalar
}

func (c *cursor) to(line, col int) {
	c.line, c.col, c.runes = line, col, nil
	if line >= 0 && line < len(c.lines) {
		c.runes = []rune(c.lines[line])
	}
}

func (c *cursor) at() rune {
	if c.col >= 0 && c.col < len(c.runes) {
		return c.runes[c.col]
	}
	return '\n'
}

func (c *cursor) rest() string { return string(c.runes[min(max(c.col, 0), len(c.runes)):]) }

// properties passes the tag and anchor before a scalar.
func (c *cursor) properties(n *yaml.Node) {
	for n.Style&yaml.TaggedStyle != 0 && c.at() == '!' || n.Anchor != "" && c.at() == '&' {
		for c.at() != ' ' && c.at() != '\n' {
			c.col++
		}
		for c.at() == ' ' {
			c.col++
		}
	}
}

// newline goes to the next line, past a block scalar's indentation.
func (c *cursor) newline() {
	c.to(c.line+1, 0)
	for c.col < c.indent && c.at() == ' ' {
		c.col++
	}
}

// blank says that nothing but white space is left of the line.
func (c *cursor) blank() bool { return strings.TrimLeft(c.rest(), " \t") == "" }

// flow passes the first count characters of a plain or quoted scalar's value.
func (c *cursor) flow(value []rune, count int, style yaml.Style) bool {
	for i := 0; i < count; {
		switch {
		case isBreak(value[i]) && c.blank():
			for c.blank() && c.line < len(c.lines) {
				c.newline()
			}
			for c.at() == ' ' || c.at() == '\t' {
				c.col++
			}
			i = pastBreak(value, i)
		case style&yaml.DoubleQuotedStyle != 0 && c.at() == '\\':
			if c.col++; c.at() == '\n' { // an escaped line break stands for nothing
				c.newline()
				for c.at() == ' ' || c.at() == '\t' {
					c.col++
				}
				continue
			}
			c.col += 1 + map[rune]int{'x': 2, 'u': 4, 'U': 8}[c.at()]
			i++
		case style&yaml.SingleQuotedStyle != 0 && c.at() == '\'':
			c.col += 2
			i++
		case c.at() == value[i]:
			c.col++
			i++
		default:
			return false
		}
	}
	return true
}

// block passes the first count characters of a block scalar's value.
func (c *cursor) block(value []rune, count int, literal bool) bool {
	c.indent = c.blockIndent(value)
	c.newline()
	for i := 0; i < count; {
		switch {
		case literal && value[i] == '\n':
			c.newline()
			i++
		case !literal && isBreak(value[i]) && c.at() == '\n':
			c.newline()
			for c.at() == '\n' && c.line < len(c.lines) {
				c.newline()
			}
			i = pastBreak(value, i)
		case c.at() == value[i]:
			c.col++
			i++
		default:
			return false
		}
	}
	return true
}

// blockIndent tells how far a block scalar is indented: its first line with text in the file has
// so many more spaces than in the value.
func (c *cursor) blockIndent(value []rune) int {
	spaces := func(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }
	filled := func(line string) bool { return strings.TrimSpace(line) != "" }
	lines := strings.Split(string(value), "\n")
	in := slices.IndexFunc(lines, filled)
	if in < 0 || c.line+1 >= len(c.lines) {
		return 0
	}
	out := slices.IndexFunc(c.lines[c.line+1:], filled)
	if out < 0 {
		return 0
	}
	return max(0, spaces(c.lines[c.line+1+out])-spaces(lines[in]))
}

func isBreak(c rune) bool { return c == ' ' || c == '\n' }

// pastBreak gives the place after what a folded line break became: one space, or the line breaks
// that were left of several.
func pastBreak(value []rune, i int) int {
	if value[i] == ' ' {
		return i + 1
	}
	for i < len(value) && value[i] == '\n' {
		i++
	}
	return i
}
