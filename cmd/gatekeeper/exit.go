package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/client"
	"github.com/gatekeeper-engine/gatekeeper/internal/config"
)

// The exit codes. Pipelines branch on them, so they never change their meaning. A release that was
// aborted or superseded exits with 1: it did not pass, and nobody rolled it back.
const (
	exitPassed         = 0
	exitError          = 1
	exitUsage          = 2 // usage or configuration
	exitRolledBack     = 3
	exitRollbackFailed = 4
	exitInconclusive   = 5
	exitGaveUp         = 6 // gave up waiting
	exitUnreachable    = 7
	exitBreached       = 8
	exitConflict       = 9 // not in this state, or somebody else was first
)

var outcomes = map[gatekeeper.Outcome]int{
	gatekeeper.OutcomePassed:         exitPassed,
	gatekeeper.OutcomeRolledBack:     exitRolledBack,
	gatekeeper.OutcomeRollbackFailed: exitRollbackFailed,
	gatekeeper.OutcomeInconclusive:   exitInconclusive,
	gatekeeper.OutcomeBreached:       exitBreached,
	gatekeeper.OutcomeAborted:        exitError,
	gatekeeper.OutcomeSuperseded:     exitError,
}

// exit ends the program with a code; what there was to say is said already.
type exit struct{ code int }

func (e exit) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// usageError is a command line that can't be understood.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// misunderstood gives err, of a command line for cmd that can't be understood, with how it is written.
func misunderstood(cmd *cobra.Command, args []string, err error) error {
	hint := fmt.Sprintf("it is written: %s; all flags: %s --help", cmd.UseLine(), cmd.CommandPath())
	if cmd.HasSubCommands() {
		hint = "all commands: " + cmd.CommandPath() + " --help"
		cmd.SuggestionsMinimumDistance = 2 // as many letters may be wrong
		for _, arg := range args {
			if near := cmd.SuggestionsFor(arg); len(near) > 0 && !strings.HasPrefix(arg, "-") {
				hint = fmt.Sprintf("did you mean: %s %s? %s", cmd.CommandPath(), strings.Join(near, " or "), hint)
			}
		}
	}
	return usageError{gatekeeper.Errorf(gatekeeper.CodeInvalid, hint, "%w", err)}
}

// report tells a person of an error and gives the exit code.
func report(w io.Writer, err error) int {
	if err == nil {
		return exitPassed
	}
	if e, ok := errors.AsType[exit](err); ok {
		return e.code
	}
	if errors.Is(err, context.Canceled) {
		fmt.Fprintln(w, "interrupted")
		return exitError
	}
	if b, ok := errors.AsType[*config.Broken](err); ok {
		if err := b.Problems.Render(w, b.Source); err != nil {
			return exitError
		}
		fmt.Fprintln(w, "\nerror: the configuration can't be used, so nothing was started")
		return exitUsage
	}
	fmt.Fprintln(w, "error:", err)
	_, unreachable := errors.AsType[*client.Unreachable](err)
	hint := gatekeeper.HintOf(err)
	if unreachable && hint == "" {
		hint = "does the daemon run there? another address: --url, or GATEKEEPER_URL"
	}
	if hint != "" {
		fmt.Fprintln(w, "hint:", hint)
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	if unreachable {
		return exitUnreachable
	}
	switch gatekeeper.CodeOf(err) {
	case gatekeeper.CodeInvalid, gatekeeper.CodeUnsupported:
		return exitUsage
	case gatekeeper.CodeConflict:
		return exitConflict
	case gatekeeper.CodeNotFound, gatekeeper.CodeRefused, gatekeeper.CodeUnavailable, gatekeeper.CodeInternal:
	}
	return exitError
}
