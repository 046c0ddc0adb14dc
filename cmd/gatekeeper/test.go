package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"

	"github.com/spf13/cobra"

	"github.com/gatekeeper-engine/gatekeeper/actions/builtin"
	"github.com/gatekeeper-engine/gatekeeper/internal/timeline"
	"github.com/gatekeeper-engine/gatekeeper/rules/ruletest"
)

// testFormat is how results of tests are printed.
type testFormat string

const asJUnit testFormat = "junit"

var testFormats = []testFormat{testFormat(asText), testFormat(asJSON), asJUnit}

// String gives the format's name.
func (f *testFormat) String() string { return string(*f) }

// Set takes one of the names.
func (f *testFormat) Set(s string) error {
	if !slices.Contains(testFormats, testFormat(s)) {
		return fmt.Errorf("want text, json or junit")
	}
	*f = testFormat(s)
	return nil
}

// Type is what the help calls it.
func (f *testFormat) Type() string { return "format" }

func testCommand() *cobra.Command {
	out, run := testFormat(asText), ""
	cmd := &cobra.Command{
		Use:   "test FILE...",
		Short: "Run tests of rules, in promtool's format, and of whole releases in virtual time",
		Long: `Test runs test files of Prometheus rules as promtool test rules does, with the same results, and what
such files may have beside: releases that are opened and deployed at times, backends that fail, people who
approve or veto, and what Gatekeeper is expected to do, each at its time. Releases run in the real engine
and in virtual time: half an hour takes some milliseconds. No action of a rollback plan is done; each is
played as the test says. Nothing is started or asked.

It exits with 1 when a test fails, and with 2 when a file can't be run.`,
		Args: cobra.MinimumNArgs(1),
	}
	cmd.Flags().VarP(&out, "output", "o", "text, json or junit")
	cmd.Flags().StringVar(&run, "run", "", "run only the tests whose name matches this regular expression")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var o ruletest.Options
		if run != "" {
			var err error
			if o.Run, err = regexp.Compile(run); err != nil {
				return usagef("--run: %w", err)
			}
		}
		registry, err := builtin.Registry(nil)
		if err != nil {
			return err
		}
		o.Actions = registry.Specs()
		t := tested{Files: []ruletest.Result{}, Broken: map[string]string{}, errors: map[string]error{}}
		for _, name := range args {
			if err := t.file(cmd, name, o, out); err != nil {
				return err
			}
		}
		return t.finish(cmd.OutOrStdout(), out)
	}
	return cmd
}

// tested is what became of the files.
type tested struct {
	Files  []ruletest.Result `json:"files"`
	Broken map[string]string `json:"broken,omitempty"` // by file: why it could not be run

	errors map[string]error
}

// file runs one file, and tells people at once.
func (t *tested) file(cmd *cobra.Command, name string, o ruletest.Options, out testFormat) error {
	file, err := ruletest.Read(name)
	if err != nil {
		t.Broken[name], t.errors[name] = err.Error(), err
		if broken, ok := errors.AsType[*ruletest.Broken](err); ok {
			return broken.Problems.Render(cmd.ErrOrStderr(), broken.Source)
		}
		report(cmd.ErrOrStderr(), err)
		return nil
	}
	result, err := ruletest.Run(cmd.Context(), file, o)
	if err != nil {
		return err
	}
	t.Files = append(t.Files, result)
	if out != testFormat(asText) {
		return nil
	}
	stdout, ok := cmd.OutOrStdout().(*os.File)
	return result.Write(cmd.OutOrStdout(), timeline.Options{Color: ok && timeline.Color(stdout)})
}

// finish prints what programs read, and gives the exit code.
func (t *tested) finish(w io.Writer, out testFormat) error {
	var err error
	switch out {
	case testFormat(asJSON):
		as := asJSON
		_, err = as.machine(w, t)
	case asJUnit:
		err = ruletest.WriteJUnit(w, t.Files, t.errors)
	}
	switch {
	case err != nil:
		return err
	case len(t.Broken) > 0:
		return exit{exitUsage}
	case slices.ContainsFunc(t.Files, func(r ruletest.Result) bool { return !r.Passed }):
		return exit{exitError}
	}
	return nil
}
