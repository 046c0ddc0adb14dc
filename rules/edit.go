package rules

import (
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Edit puts a text in the place of bytes of a file; what is around them stays byte for byte.
type Edit struct {
	File     string // its name in messages
	From, To int    // bytes of the file's text
	Text     string // as YAML has it there
}

// Edit gives the edit that puts a text in the place of bytes of the rule's Source. ok is false where
// that can't be: the expression is made of an SLO, shared by an anchor, or written with escapes that
// can't be followed.
// The text has one line.
func (r *ParsedRule) Edit(from, to int, text string) (e Edit, ok bool) {
	n := r.node.nodes["expr"]
	if r.SLO != "" || n.Kind != yaml.ScalarNode || n.Anchor != "" || strings.Contains(text, "\n") {
		return Edit{}, false
	}
	src := r.node.r.src
	start, okStart := src.byteOf(n, from)
	end, okEnd := src.byteOf(n, to)
	if !okStart || !okEnd || end < start {
		return Edit{}, false
	}
	return Edit{File: src.name, From: start, To: end, Text: escaped(text, n.Style)}, true
}

// escaped writes a text as it stands inside a scalar of a style.
func escaped(text string, style yaml.Style) string {
	switch {
	case style&yaml.SingleQuotedStyle != 0:
		return strings.ReplaceAll(text, "'", "''")
	case style&yaml.DoubleQuotedStyle != 0:
		return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text)
	default:
		return text
	}
}

// byteOf gives where in the file the byte at offset of a scalar's value stands.
func (s *source) byteOf(n *yaml.Node, offset int) (int, bool) {
	line, column, ok := s.find(n, offset)
	if !ok {
		return 0, false
	}
	at := s.starts[line-1]
	for range column - 1 {
		_, size := utf8.DecodeRuneInString(s.text[at:])
		at += size
	}
	return at, at <= len(s.text)
}
