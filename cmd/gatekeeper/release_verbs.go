package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatekeeper-engine/gatekeeper/internal/client"
)

// verb is something a person or a pipeline asks of one release.
type verb struct {
	name, path, short string
	pipeline          bool // a pipeline asks it, and may go on without
}

var verbs = []verb{
	{"deployed", "deployed", "Say that the new version is deployed: the window begins", true},
	{"heartbeat", "heartbeat", "Say that the pipeline is alive, for a release that was opened with --heartbeat", true},
	{"approve", "approve", "Approve the rollback of a held release", false},
	{"veto", "veto", "Veto the rollback of a held release; its rules are muted", false},
	{"hold", "hold", "Hold a release: nothing is decided until it is resumed", false},
	{"resume", "resume", "Resume a held release", false},
	{"rollback", "rollback", "Roll a release back; a closed, passed one by a new release", false},
	{"close", "close", "Close a release as aborted: nothing is judged or rolled back any more", true},
	{"mark", "mark-irreversible", "Say that returning would do harm from here, such as after a migration: every rollback asks a person", false},
}

func verbCommand(v verb) *cobra.Command {
	var out format
	var why reason
	away := failThen
	cmd := &cobra.Command{Use: v.name + " ID", Short: v.short, Args: cobra.ExactArgs(1)}
	out.flags(cmd.Flags())
	why.flags(cmd.Flags())
	if v.pipeline {
		away.flags(cmd.Flags())
	}
	return remote(cmd, func(cmd *cobra.Command, c *client.Client, args []string) error {
		if err := away.check(); err != nil {
			return err
		}
		r, err := c.Ask(cmd.Context(), args[0], v.path, why.by())
		if away.forgives(cmd, err, true) {
			return nil
		}
		if err != nil {
			return err
		}
		if done, err := out.machine(cmd.OutOrStdout(), r); done {
			return err
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), brief(r))
		return err
	})
}

func extendCommand() *cobra.Command {
	var out format
	var why reason
	var by time.Duration
	away := failThen
	cmd := &cobra.Command{Use: "extend ID --by 15m", Short: "Extend a release's window", Args: cobra.ExactArgs(1)}
	out.flags(cmd.Flags())
	why.flags(cmd.Flags())
	cmd.Flags().DurationVar(&by, "by", 0, "how much later the window ends")
	away.flags(cmd.Flags())
	return remote(cmd, func(cmd *cobra.Command, c *client.Client, args []string) error {
		if by <= 0 {
			return usagef("give --by a duration above zero, such as --by 15m")
		}
		if err := away.check(); err != nil {
			return err
		}
		r, err := c.Extend(cmd.Context(), args[0], by, why.by())
		if away.forgives(cmd, err, true) {
			return nil
		}
		if err != nil {
			return err
		}
		if done, err := out.machine(cmd.OutOrStdout(), r); done {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s; its window ends at %s\n", brief(r), r.WindowEnd.Local().Format(time.RFC3339))
		return err
	})
}
