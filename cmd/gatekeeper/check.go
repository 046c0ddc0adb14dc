package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions/builtin"
	"github.com/gatekeeper-engine/gatekeeper/internal/config"
	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/lint"
)

func checkCommand() *cobra.Command {
	var out format
	var settings string
	cmd := &cobra.Command{
		Use:   "check [FILE...]",
		Short: "Check health files and Prometheus rule files, and print what each rule leads to",
		Long: `Check reads health files, or plain Prometheus rule files, as a release would, tells everything
that is wrong with its position, and prints what a breach of each rule does.

With --config it checks the daemon's configuration too, as serve and a reload would, with the files that
it names. Nothing is started or asked.

It exits with 2 when a file can't be used; warnings do not change the exit code.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if settings != "" {
				return nil
			}
			return cobra.MinimumNArgs(1)(cmd, args)
		},
	}
	out.flags(cmd.Flags())
	cmd.Flags().StringVar(&settings, "config", "", "the daemon's configuration to check")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var all []checked
		bad := 0
		if settings != "" {
			c, err := checkConfig(settings)
			if err != nil {
				return err
			}
			bad += len(c.Problems)
			all = append(all, c)
		}
		for _, name := range args {
			c, err := check(name)
			if err != nil {
				return err
			}
			if len(c.Problems.Errors()) > 0 {
				bad++
			}
			all = append(all, c)
		}
		done, err := out.machine(cmd.OutOrStdout(), all)
		for i := 0; i < len(all) && !done && err == nil; i++ {
			err = all[i].print(cmd.OutOrStdout())
		}
		if err == nil && bad > 0 {
			err = exit{exitUsage}
		}
		return err
	}
	return cmd
}

// checked is what was found in one file.
type checked struct {
	File      string         `json:"file"`
	Problems  rules.Problems `json:"problems"`
	Responses []string       `json:"responses,omitempty"`

	bundle rules.Bundle
	config bool // it is the daemon's configuration
}

// checkConfig reads the daemon's configuration as serve does.
func checkConfig(name string) (checked, error) {
	cfg, err := config.Read(name)
	if err != nil {
		return checked{}, err
	}
	registry, err := builtin.Registry(nil)
	if err != nil {
		return checked{}, err
	}
	c := checked{File: name, Problems: rules.Problems{}, config: true}
	_, err = decode(cfg, registry)
	if broken, ok := errors.AsType[*config.Broken](err); ok {
		c.Problems, c.bundle, err = broken.Problems, broken.Source, nil
	}
	return c, err
}

func check(name string) (checked, error) {
	b, err := rules.ReadBundle(name)
	if err != nil {
		return checked{}, err
	}
	report, err := lint.Check(context.Background(), b, lint.Options{})
	if err != nil {
		return checked{}, err
	}
	f, problems := report.File, report.Problems
	if f != nil {
		unknown, err := unknownActions(name, f.Rollback)
		if err != nil {
			return checked{}, err
		}
		problems = append(problems, unknown...)
	}
	c := checked{File: name, Problems: problems, bundle: b}
	if c.Problems == nil {
		c.Problems = rules.Problems{}
	}
	if f != nil {
		c.Responses = f.Responses()
	}
	return c, nil
}

// unknownActions tells the rungs of a plan whose action this program does not have. Settings and
// connections are the daemon's to judge.
func unknownActions(file string, plan []rules.RungSpec) (found rules.Problems, err error) {
	registry, err := builtin.Registry(nil)
	if err != nil {
		return nil, err
	}
	for i, rung := range plan {
		if _, err := registry.Find(rung.Action); err != nil {
			found = append(found, rules.Problem{
				File: file, Severity: rules.Error, Check: "action",
				Message: fmt.Sprintf("rung %d of rollback: %v", i+1, err), Hint: gatekeeper.HintOf(err),
			})
		}
	}
	return found, nil
}

func (c checked) print(w io.Writer) error {
	if err := c.Problems.Render(w, c.bundle); err != nil {
		return err
	}
	if len(c.Problems) > 0 {
		fmt.Fprintln(w)
	}
	if c.config && len(c.Problems) == 0 {
		_, err := fmt.Fprintf(w, "%s: can be used\n", c.File)
		return err
	}
	if len(c.Responses) == 0 {
		_, err := fmt.Fprintf(w, "%s: can't be used\n", c.File)
		return err
	}
	if _, err := fmt.Fprintf(w, "%s:\n", c.File); err != nil {
		return err
	}
	for _, r := range c.Responses {
		if _, err := fmt.Fprintf(w, "  %s\n", r); err != nil {
			return err
		}
	}
	return nil
}
