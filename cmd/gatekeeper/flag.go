package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/api"
	"github.com/gatekeeper-engine/gatekeeper/internal/client"
)

func flagCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "flag", Short: "Read and set the feature flags of the built-in store, which is for small scale",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(flagListCommand(), flagGetCommand(), flagSetCommand())
	return cmd
}

func flagListCommand() *cobra.Command {
	var out format
	cmd := &cobra.Command{Use: "list", Short: "List the flags", Args: cobra.NoArgs}
	out.flags(cmd.Flags())
	return remote(cmd, func(cmd *cobra.Command, c *client.Client, _ []string) error {
		list, err := c.Flags(cmd.Context())
		if err != nil {
			return err
		}
		if done, err := out.machine(cmd.OutOrStdout(), list); done {
			return err
		}
		return printFlags(cmd, out, list.Flags...)
	})
}

func flagGetCommand() *cobra.Command {
	var out format
	cmd := &cobra.Command{Use: "get KEY", Short: "Get a flag", Args: cobra.ExactArgs(1)}
	out.flags(cmd.Flags())
	return remote(cmd, func(cmd *cobra.Command, c *client.Client, args []string) error {
		f, err := c.Flag(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		if done, err := out.machine(cmd.OutOrStdout(), f); done {
			return err
		}
		return printFlags(cmd, out, f)
	})
}

// flagChange is the command line of flag set.
type flagChange struct {
	enabled     bool
	percentage  float64
	on, off     string
	variants    map[string]string
	allow       []string
	description string
	why         reason
	out         format
}

func flagSetCommand() *cobra.Command {
	var change flagChange
	cmd := &cobra.Command{
		Use:   "set KEY",
		Short: "Create a flag or change what is given of it",
		Long: `Set changes what is given and leaves the rest. A flag that is not there yet is created: boolean,
not enabled, for everybody. If somebody else changes the flag at the same time, set fails.`,
		Args: cobra.ExactArgs(1),
	}
	f := cmd.Flags()
	f.BoolVar(&change.enabled, "enabled", false, "false: everybody gets the variant off")
	f.Float64Var(&change.percentage, "percentage", 100, "of targeting keys that get the variant on, 0 to 100")
	f.StringVar(&change.on, "on", "", "variant of those who get it")
	f.StringVar(&change.off, "off", "", "variant of everybody else")
	f.StringToStringVar(&change.variants, "variant", nil, "name=value, repeatable; true and false are booleans, the rest strings")
	f.StringSliceVar(&change.allow, "allow", nil, "targeting keys that get the variant on whatever the percentage")
	f.StringVar(&change.description, "description", "", "what it is for")
	change.why.flags(f)
	change.out.flags(f)
	return remote(cmd, func(cmd *cobra.Command, c *client.Client, args []string) error {
		flag, err := c.Flag(cmd.Context(), args[0])
		if _, ok := errors.AsType[*client.Failure](err); ok && gatekeeper.CodeOf(err) == gatekeeper.CodeNotFound {
			flag, err = api.Flag{Key: args[0], Percentage: 100}, nil
		}
		if err != nil {
			return err
		}
		change.apply(cmd, &flag)
		if flag, err = c.PutFlag(cmd.Context(), flag, change.why.by()); err != nil {
			return err
		}
		if done, err := change.out.machine(cmd.OutOrStdout(), flag); done {
			return err
		}
		return printFlags(cmd, change.out, flag)
	})
}

// apply changes what was given on the command line.
func (c *flagChange) apply(cmd *cobra.Command, f *api.Flag) {
	given := cmd.Flags().Changed
	if given("enabled") {
		f.Enabled = c.enabled
	}
	if given("percentage") {
		f.Percentage = c.percentage
	}
	if given("on") {
		f.On = c.on
	}
	if given("off") {
		f.Off = c.off
	}
	if given("allow") {
		f.Allow = c.allow
	}
	if given("description") {
		f.Description = c.description
	}
	if given("variant") {
		f.Variants = make(map[string]any, len(c.variants))
		for name, text := range c.variants {
			f.Variants[name] = text
			if text == "true" || text == "false" {
				f.Variants[name] = text == "true"
			}
		}
	}
}

func printFlags(cmd *cobra.Command, out format, all ...api.Flag) error {
	rows := [][]string{{"KEY", "ENABLED", "ON", "OFF", "PERCENTAGE", "ALLOW"}}
	if out == asWide {
		rows[0] = append(rows[0], "VERSION", "DESCRIPTION")
	}
	for _, f := range all {
		cells := []string{
			f.Key, strconv.FormatBool(f.Enabled), fmt.Sprintf("%s=%v", f.On, f.Variants[f.On]), fmt.Sprintf("%s=%v", f.Off, f.Variants[f.Off]),
			strconv.FormatFloat(f.Percentage, 'g', -1, 64), strings.Join(f.Allow, ","),
		}
		if out == asWide {
			cells = append(cells, strconv.FormatInt(f.Version, 10), f.Description)
		}
		rows = append(rows, cells)
	}
	return table(cmd.OutOrStdout(), rows)
}
