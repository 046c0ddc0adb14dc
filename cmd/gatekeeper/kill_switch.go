package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatekeeper-engine/gatekeeper/engine"
	"github.com/gatekeeper-engine/gatekeeper/internal/client"
	"github.com/gatekeeper-engine/gatekeeper/internal/timeline"
)

func killSwitchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "kill-switch", Short: "Hold every rollback until the switch is turned off again",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(setKillSwitch("on", "Hold every rollback from now on", true), setKillSwitch("off", "Let rollbacks happen by themselves again", false), killSwitchStatus())
	return cmd
}

func setKillSwitch(name, short string, on bool) *cobra.Command {
	var out format
	var why reason
	cmd := &cobra.Command{Use: name, Short: short, Args: cobra.NoArgs}
	out.flags(cmd.Flags())
	why.flags(cmd.Flags())
	return remote(cmd, func(cmd *cobra.Command, c *client.Client, _ []string) error {
		state, err := c.SetKillSwitch(cmd.Context(), on, why.by())
		if err != nil {
			return err
		}
		return printKillSwitch(cmd, out, state)
	})
}

func killSwitchStatus() *cobra.Command {
	var out format
	cmd := &cobra.Command{Use: "status", Short: "Say whether the kill switch is on", Args: cobra.NoArgs}
	out.flags(cmd.Flags())
	return remote(cmd, func(cmd *cobra.Command, c *client.Client, _ []string) error {
		state, err := c.KillSwitch(cmd.Context())
		if err != nil {
			return err
		}
		return printKillSwitch(cmd, out, state)
	})
}

func printKillSwitch(cmd *cobra.Command, out format, k engine.KillSwitch) error {
	if done, err := out.machine(cmd.OutOrStdout(), k); done {
		return err
	}
	if k.Unrecorded != "" {
		say(cmd, "warning: %s", k.Unrecorded)
	}
	s := "the kill switch is off"
	if k.On {
		s = "the kill switch is on: every rollback is held until it is turned off"
	}
	if k.Actor != "" {
		s += ", by " + k.Actor
	}
	if !k.Since.IsZero() {
		s += ", since " + k.Since.Local().Format(time.RFC3339)
	}
	if k.Why != "" {
		s += ": " + k.Why
	}
	_, err := fmt.Fprintln(cmd.OutOrStdout(), timeline.Plain(s))
	return err
}
