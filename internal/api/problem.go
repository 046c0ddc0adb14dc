package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// Problem is the body of every error (RFC 9457).
type Problem struct {
	Title  string          `json:"title" doc:"The status in words."`
	Status int             `json:"status" doc:"The HTTP status."`
	Code   gatekeeper.Code `json:"code" enum:"invalid,not_found,conflict,refused,unsupported,unavailable,internal" doc:"What kind of error it is, for machines."`
	Detail string          `json:"detail" doc:"What happened and what it means for the release."`
	Hint   string          `json:"hint,omitempty" doc:"What to do."`
	Errors []Detail        `json:"errors,omitempty" doc:"Everything that is wrong with the input, with its place."`
}

// Detail is one thing that is wrong with the input: at a location of the request, or at a
// position of a health file.
type Detail struct {
	Message  string `json:"message"`
	Hint     string `json:"hint,omitempty" doc:"What to do."`
	Location string `json:"location,omitempty" doc:"Where in the request, such as body.version."`
	File     string `json:"file,omitempty" doc:"The health file or rule file."`
	Line     int    `json:"line,omitempty" doc:"From 1."`
	Column   int    `json:"column,omitempty" doc:"In characters, from 1."`
	Length   int    `json:"length,omitempty" doc:"In characters."`
	Severity string `json:"severity,omitempty" doc:"error, warning or info."`
	Check    string `json:"check,omitempty" doc:"The stable name of the check that found it."`
}

// Error gives the detail.
func (p *Problem) Error() string { return p.Detail }

// GetStatus gives the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType gives the media type of RFC 9457.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// statuses says which HTTP status an error's code becomes.
var statuses = map[gatekeeper.Code]int{
	gatekeeper.CodeInvalid:     http.StatusUnprocessableEntity,
	gatekeeper.CodeNotFound:    http.StatusNotFound,
	gatekeeper.CodeConflict:    http.StatusConflict,
	gatekeeper.CodeRefused:     http.StatusForbidden,
	gatekeeper.CodeUnsupported: http.StatusNotImplemented,
	gatekeeper.CodeUnavailable: http.StatusServiceUnavailable,
	gatekeeper.CodeInternal:    http.StatusInternalServerError,
}

// ProblemOf makes a problem of any error, such as those of the engine; a problem stays what it is.
func ProblemOf(err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	return problemOf(err)
}

// problemOf makes a problem of an engine's or a journal's error.
func problemOf(err error) *Problem {
	code, status := gatekeeper.CodeOf(err), 0
	found, isRules := errors.AsType[rules.Problems](err)
	if code == gatekeeper.CodeInternal {
		switch {
		case isRules:
			code = gatekeeper.CodeInvalid
		case errors.Is(err, gatekeeper.ErrNotFound):
			code = gatekeeper.CodeNotFound
		case errors.Is(err, gatekeeper.ErrConflict):
			code = gatekeeper.CodeConflict
		case errors.Is(err, gatekeeper.ErrGone):
			code, status = gatekeeper.CodeNotFound, http.StatusGone
		case errors.Is(err, gatekeeper.ErrFenced), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
			code = gatekeeper.CodeUnavailable
		}
	}
	if status == 0 {
		status = statuses[code]
	}
	p := &Problem{Title: http.StatusText(status), Status: status, Code: code, Detail: err.Error(), Hint: gatekeeper.HintOf(err)}
	if isRules {
		p.Detail = fmt.Sprintf("the health file has %s", counted(len(found), "problem"))
		p.Errors = details(found)
	}
	return p
}

func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func details(found rules.Problems) []Detail {
	out := make([]Detail, len(found))
	for i, f := range found {
		out[i] = Detail{
			Message: f.Message, Hint: f.Hint, File: f.File, Line: f.Line, Column: f.Column, Length: f.Length,
			Severity: string(f.Severity), Check: f.Check,
		}
	}
	return out
}

// codeOf says which code a status has that did not come from an error of Gatekeeper's own.
func codeOf(status int) gatekeeper.Code {
	for code, s := range statuses {
		if s == status {
			return code
		}
	}
	switch {
	case status == http.StatusUnauthorized:
		return gatekeeper.CodeRefused
	case status >= http.StatusInternalServerError:
		return gatekeeper.CodeInternal
	}
	return gatekeeper.CodeInvalid
}

// newProblem makes a problem of a status and a message, such as those of huma's validation.
func newProblem(status int, message string, causes ...error) *Problem {
	p := &Problem{Title: http.StatusText(status), Status: status, Code: codeOf(status), Detail: message}
	for _, cause := range causes {
		if cause == nil {
			continue
		}
		d := Detail{Message: cause.Error()}
		if detailer, ok := cause.(huma.ErrorDetailer); ok {
			found := detailer.ErrorDetail()
			d = Detail{Message: found.Message, Location: found.Location}
		}
		p.Errors = append(p.Errors, d)
	}
	return p
}

// refused makes a problem of huma's errors, which come before a call is made, in words that say so.
func refused(status int, message string, causes ...error) *Problem {
	p := newProblem(status, message, causes...)
	switch {
	case status == http.StatusRequestEntityTooLarge:
		p.Detail = fmt.Sprintf("the body is larger than %d bytes", MaxBody)
		p.Hint = fmt.Sprintf("a health file and its rule files have at most %d bytes together", rules.MaxBundle)
	case status == http.StatusRequestTimeout:
		p.Detail, p.Hint = "the body did not arrive in time", "send it again"
	case status == http.StatusUnsupportedMediaType:
		p.Detail, p.Hint = "the body is not sent as JSON", "send the header Content-Type: application/json"
	case len(p.Errors) > 0:
		p.Detail, p.Hint = "the request is wrong", "see /openapi.json"
	case status == http.StatusBadRequest:
		p.Hint = "see /openapi.json"
	}
	if status < http.StatusInternalServerError {
		p.Detail += ": nothing was done"
	}
	return p
}

// writeProblem answers a request that huma does not handle.
func writeProblem(w http.ResponseWriter, p *Problem) {
	body, err := json.Marshal(p)
	if err != nil {
		http.Error(w, p.Detail, p.Status)
		return
	}
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(body, '\n')) // the client has gone: nobody is left to tell
}
