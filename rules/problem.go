package rules

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Severity says how bad a [Problem] is.
type Severity string

// The severities. Of what [Load] tells, all are errors: they keep the file from being used.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
	Info    Severity = "info"
)

// The checks of [Load]; the linter's have their names beside them.
const (
	checkSyntax      = "syntax"      // not YAML, not one document, too big
	checkKey         = "key"         // unknown, missing or repeated
	checkType        = "type"        // a text where a list belongs, and the like
	checkValue       = "value"       // not one of the values that a key has
	checkDuration    = "duration"    // not a duration of Prometheus
	checkPromQL      = "promql"      // not an expression that an alert can have
	checkVariable    = "variable"    // unknown, or where none can be
	checkMatcher     = "matcher"     // not a matcher of Alertmanager
	checkTemplate    = "template"    // not a template of Prometheus
	checkDuplicate   = "duplicate"   // two rules or groups with one name
	checkUnsupported = "unsupported" // a later version brings it
	checkRuleFile    = "rule_file"   // not in the bundle, or outside its folder
	checkRecording   = "recording"   // a recording rule where none is evaluated
)

// maxProblems is how many problems of one bundle are told; a file that is no health file at all
// could have thousands.
const maxProblems = 100

// Problem is something wrong in a file, and where.
type Problem struct {
	File     string   `json:"file"`
	Line     int      `json:"line,omitempty"`   // from 1; 0 when it concerns the whole file
	Column   int      `json:"column,omitempty"` // in characters, from 1
	Length   int      `json:"length,omitempty"` // in characters
	Severity Severity `json:"severity"`
	Check    string   `json:"check"` // stable name
	Message  string   `json:"message"`
	Why      string   `json:"why,omitempty"` // what it means for a release
	Hint     string   `json:"hint,omitempty"`
	Rewrite  string   `json:"rewrite,omitempty"` // the expression as it could stand instead
	Fixable  bool     `json:"fixable,omitempty"` // Rewrite is safe and can be written into the file
}

// String gives file:line:column, the severity, the message and the check's name on one line.
func (p Problem) String() string {
	return fmt.Sprintf("%s: %s: %s (%s)", p.where(), p.Severity, p.Message, p.Check)
}

func (p Problem) where() string {
	name := printable(p.File)
	if p.Line == 0 {
		return name
	}
	return fmt.Sprintf("%s:%d:%d", name, p.Line, p.Column)
}

// Problems are in order of file and position.
type Problems []Problem

// Error gives one line per problem.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, one := range p {
		lines[i] = one.String()
	}
	return strings.Join(lines, "\n")
}

// Errors gives the problems that keep the file from being used.
func (p Problems) Errors() Problems {
	return slices.DeleteFunc(slices.Clone(p), func(one Problem) bool { return one.Severity != Error })
}

// Render writes each problem for a person: file:line:column, the line with a caret under it, and
// the hint. It needs the bundle the problems are of.
func (p Problems) Render(w io.Writer, b Bundle) error {
	texts := map[string][]string{b.title(): splitLines(b.File)}
	for path, text := range b.RuleFiles {
		texts[b.titleOf(path)] = splitLines(text)
	}
	for i, one := range p {
		if i > 0 {
			if _, err := io.WriteString(w, "\n"); err != nil {
				return err
			}
		}
		if _, err := io.WriteString(w, one.render(texts[one.File])); err != nil {
			return err
		}
	}
	return nil
}

func (p Problem) render(lines []string) string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s\n", p)
	if p.Line > 0 && p.Line <= len(lines) {
		number := fmt.Sprintf("%4d", p.Line)
		text, caret := excerpt(lines[p.Line-1], p.Column, p.Length)
		fmt.Fprintf(&out, "%s | %s\n%s | %s\n", number, text, strings.Repeat(" ", len(number)), caret)
	}
	told := func(what, text string) {
		if text != "" {
			fmt.Fprintf(&out, "  %s: %s\n", what, strings.ReplaceAll(printableLines(text), "\n", "\n"+strings.Repeat(" ", len(what)+4)))
		}
	}
	told("why", p.Why)
	told("hint", p.Hint)
	if p.Fixable {
		told("fix", p.Rewrite)
	} else {
		told("rewrite", p.Rewrite)
	}
	return out.String()
}

// shownLine is how many characters of a long line are shown around the caret.
const shownLine = 140

// excerpt gives the part of a line around a column and what stands below it.
func excerpt(line string, column, length int) (text, caret string) {
	runes := []rune(printable(line))
	at := min(max(column-1, 0), len(runes))
	from := 0
	if len(runes) > shownLine && at > shownLine/2 {
		from = min(at-shownLine/2, len(runes)-shownLine)
	}
	shown := runes[from:min(len(runes), from+shownLine)]
	if from > 0 {
		shown[0] = '…'
	}
	if from+shownLine < len(runes) {
		shown[len(shown)-1] = '…'
	}
	var pad strings.Builder
	for _, c := range shown[:min(at-from, len(shown))] {
		if c == '\t' {
			pad.WriteRune('\t') // as wide as the line's own
		} else {
			pad.WriteByte(' ')
		}
	}
	marks := max(1, min(length, len(shown)-(at-from)))
	return string(shown), pad.String() + strings.Repeat("^", marks)
}

// printableLines is printable for a text of several lines.
func printableLines(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		lines[i] = printable(line)
	}
	return strings.Join(lines, "\n")
}

// printable keeps a half trusted file from steering the terminal of whoever reads its problems.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c != '\t' && !unicode.IsPrint(c) {
			return utf8.RuneError
		}
		return c
	}, s)
}

// collector gathers the problems of a bundle.
type collector struct {
	list   Problems
	failed bool // one of them is an error
	order  map[string]int

	rehearsal expander // of the templates of all files: together they have the steps of one reading
}

func (c *collector) add(p Problem) {
	c.failed = c.failed || p.Severity == Error
	if len(c.list) < maxProblems {
		p.Message, p.Hint = capText(p.Message, 600), capText(p.Hint, 1200)
		c.list = append(c.list, p)
	}
}

// sorted gives the problems in order of the files and of their positions.
func (c *collector) sorted() Problems {
	slices.SortStableFunc(c.list, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(c.order[a.File], c.order[b.File]), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return c.list
}

// capText cuts a text at a character's border so that it has at most limit bytes.
func capText(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	const more = "…"
	cut := limit - len(more)
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + more
}
