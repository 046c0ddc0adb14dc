package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/lint"
	"github.com/gatekeeper-engine/gatekeeper/rules/ruletest"
)

// checking is what the command check was asked to do.
type checking struct {
	out      checkFormat
	config   string
	fix      bool
	expand   bool
	strict   bool
	disabled []string
	scrape   string
	backend  metricBackend
}

func checkCommand() *cobra.Command {
	var c checking
	cmd := &cobra.Command{
		Use:   "check [FILE...]",
		Short: "Check health files and Prometheus rule files, and print what each rule leads to",
		Long: `Check reads health files, or plain Prometheus rule files, as a release would, tells everything
that is wrong with its position, and what does not mean what it seems to: docs/checks has a page for each
check. It prints what a breach of each rule does, and how long after some harm the rule decides.

A check is disabled for a rule, or for a file, by a comment with a reason, "# gatekeeper:ignore NAME: reason",
and for all files by --disable NAME=reason.

The rules that SLOs become are printed with --expand. Of test files it is checked that they can be run.

With --fix the rewrites that are safe are written into the files; everything else in them stays as it is.
With --backend the metrics are asked too: whether the series exist and have the labels, how often they are
scraped, and what each look costs. With --config it checks the daemon's configuration, as serve and a
reload would, with the files that it names. Recording rules in a health file are an error unless the
configuration is there too and the file's backend is an embedded one, which evaluates them.

It exits with 2 on errors, and with --strict on warnings too.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if c.config != "" {
				return nil
			}
			return cobra.MinimumNArgs(1)(cmd, args)
		},
	}
	c.flags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return c.run(cmd, args) }
	return cmd
}

func (c *checking) flags(f *pflag.FlagSet) {
	c.out.format = asText
	f.VarP(&c.out, "output", "o", "text, wide, json, yaml or github (annotations)")
	f.StringVar(&c.config, "config", "", "the daemon's configuration to check")
	f.BoolVar(&c.fix, "fix", false, "write the rewrites that are safe into the files")
	f.BoolVar(&c.expand, "expand", false, "print the rules that the file's SLOs became, too")
	f.BoolVar(&c.strict, "strict", false, "exit with 2 on warnings too")
	f.StringArrayVar(&c.disabled, "disable", nil, "NAME=REASON: leave a check out; may be repeated")
	f.StringVar(&c.scrape, "scrape-interval", "", "how often the metrics are scraped (default 15s, or the group's interval where that is shorter)")
	c.backend.flags(f, "to ask about the metrics")
}

func (c *checking) run(cmd *cobra.Command, args []string) error {
	options, err := c.options()
	if err != nil {
		return err
	}
	var all []checked
	if c.config != "" {
		one, records, err := checkConfig(c.config)
		if err != nil {
			return err
		}
		options.Records = records
		all = append(all, one)
	}
	for _, name := range args {
		b, err := rules.ReadBundle(name)
		if err != nil {
			return err
		}
		if ruletest.Is(b.File) {
			one, err := checkTests(name)
			if err != nil {
				return err
			}
			all = append(all, one)
			continue
		}
		if c.fix {
			if b, err = fixFiles(cmd, b, options); err != nil {
				return err
			}
		}
		one, err := check(cmd.Context(), b, options)
		if err != nil {
			return err
		}
		all = append(all, one)
	}
	if err := c.print(cmd.OutOrStdout(), all); err != nil {
		return err
	}
	for _, one := range all {
		if one.fails(c.strict) {
			return exit{exitUsage}
		}
	}
	return nil
}

// options gives the linter's from the flags.
func (c *checking) options() (lint.Options, error) {
	o := lint.Options{Now: time.Now(), Disabled: map[string]string{}}
	for _, one := range c.disabled {
		name, reason, _ := strings.Cut(one, "=")
		o.Disabled[name] = reason
	}
	if c.scrape != "" {
		every, err := model.ParseDuration(c.scrape)
		if err != nil || every <= 0 {
			return o, usagef("--scrape-interval %q is no duration, such as 30s", c.scrape)
		}
		o.ScrapeInterval = time.Duration(every)
	}
	q, err := c.backend.open(0, 0)
	if q != nil {
		o.Backend = q
	}
	return o, err
}

func (c *checking) print(w io.Writer, all []checked) error {
	if c.out.format == asGitHub {
		return annotate(w, all)
	}
	done, err := c.out.machine(w, all)
	for i := 0; i < len(all) && !done && err == nil; i++ {
		err = errors.Join(all[i].print(w), c.printExpanded(w, all[i]))
	}
	return err
}

// printExpanded prints the rules that SLOs became, where they were asked for.
func (c *checking) printExpanded(w io.Writer, one checked) error {
	if !c.expand || one.Expanded == "" {
		return nil
	}
	_, err := fmt.Fprintf(w, "\n# what the SLOs of %s became\n%s", one.File, one.Expanded)
	return err
}

// check runs the linter on a file.
func check(ctx context.Context, b rules.Bundle, o lint.Options) (checked, error) {
	report, err := lint.Check(ctx, b, o)
	if err != nil {
		return checked{}, err
	}
	c := checked{File: b.Name, Problems: report.Problems, Lags: report.Lags, Costs: report.Costs, bundle: b, fixable: report.Fixable()}
	if f := report.File; f != nil {
		unknown, err := unknownActions(b.Name, f.Rollback)
		if err != nil {
			return checked{}, err
		}
		c.Problems = append(c.Problems, unknown...)
		c.Responses, c.rules, c.usable = f.Responses(), f.Rules, len(unknown) == 0
		if c.Expanded, err = f.ExpandSLOs(); err != nil {
			return checked{}, err
		}
	}
	if c.Problems == nil {
		c.Problems = rules.Problems{}
	}
	return c, nil
}
