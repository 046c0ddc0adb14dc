package rules

import (
	"io"
)

// Severity says how bad a [Problem] is.
type Severity string

// The severities. Only an Error keeps a file from being used.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
	Info    Severity = "info"
)

// Problem is something wrong in a file, and where.
type Problem struct {
	File     string   `json:"file"`
	Line     int      `json:"line,omitempty"`   // from 1; 0 when it concerns the whole file
	Column   int      `json:"column,omitempty"` // in characters, from 1
	Length   int      `json:"length,omitempty"` // in characters; at least 1
	Severity Severity `json:"severity"`
	Check    string   `json:"check"` // stable name
	Message  string   `json:"message"`
	Hint     string   `json:"hint,omitempty"`
}

// Problems are in order of file and position.
type Problems []Problem

// Error gives one line per problem.
func (p Problems) Error() string { panic("soon") }

// Render writes each problem for a person: file:line:column, the line, a caret and the hint.
func (p Problems) Render(w io.Writer, b Bundle) error { panic("soon") }
