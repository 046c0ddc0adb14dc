package gatekeeper

import (
	"errors"
	"fmt"
)

// Code classifies an [Error] for machines; faces map it to a status or an exit code.
type Code string

// The codes of errors that cross a package's border.
const (
	CodeInvalid     Code = "invalid"     // the input is wrong; sending it again can't help
	CodeNotFound    Code = "not_found"   // no such release, file or flag
	CodeConflict    Code = "conflict"    // not in this state, or somebody else was first
	CodeRefused     Code = "refused"     // understood, and not allowed by the operator or a freeze
	CodeUnsupported Code = "unsupported" // a key or an action that a later version brings
	CodeUnavailable Code = "unavailable" // can't be done now; sending it again may help
	CodeInternal    Code = "internal"    // a defect of Gatekeeper's own, or of its machine
)

// Error is an error that a person reads: what happened, what it means, what to do.
type Error struct {
	Code    Code
	Message string // what happened and what it means for the release; names the cause
	Hint    string // what to do; may be empty
	Err     error  // the cause, for errors.Is and errors.As; may be nil
}

// Error gives the message. The hint is for faces that have room for it.
func (e *Error) Error() string { return e.Message }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an [Error]; a %w operand becomes its cause.
func Errorf(code Code, hint, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), Hint: hint, Err: errors.Unwrap(err)}
}

// CodeOf gives the code of the first [Error] in err's chain, [CodeInternal] where there is none,
// and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return CodeInternal
}

// HintOf gives the hint of the first [Error] in err's chain that has one.
func HintOf(err error) string {
	for err != nil {
		e, ok := errors.AsType[*Error](err)
		if !ok {
			return ""
		}
		if e.Hint != "" {
			return e.Hint
		}
		err = e.Err
	}
	return ""
}
