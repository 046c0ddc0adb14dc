package main

import (
	"errors"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/client"
)

// unreachable is the pipeline's choice for a daemon that can't be reached: to fail, or to continue
// without being watched.
type unreachable string

const (
	failThen     unreachable = "fail"
	continueThen unreachable = "continue"
)

func (u *unreachable) flags(f *pflag.FlagSet) {
	f.StringVar((*string)(u), "if-unreachable", string(failThen), "fail (exit code 7) or continue (exit code 0, the release is not watched)")
}

func (u unreachable) check() error {
	if u != failThen && u != continueThen {
		return usagef("--if-unreachable takes fail or continue, not %q", u)
	}
	return nil
}

// forgives says whether err is to be passed over, with a warning: the daemon can't be reached, or,
// of a release that was opened before, it could not be reached then and does not know it.
func (u unreachable) forgives(cmd *cobra.Command, err error, opened bool) bool {
	_, away := errors.AsType[*client.Unreachable](err)
	if u != continueThen || !away && (!opened || gatekeeper.CodeOf(err) != gatekeeper.CodeNotFound) {
		return false
	}
	say(cmd, "warning: %v", err)
	say(cmd, "warning: going on, for --if-unreachable=continue was given: the version is not watched and will not be rolled back")
	return true
}
