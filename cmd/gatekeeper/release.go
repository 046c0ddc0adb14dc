package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/client"
	"github.com/gatekeeper-engine/gatekeeper/internal/timeline"
)

func releaseCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "release",
		Short: "Open, watch and steer releases",
		Long: `Exit codes of the commands that end with a release's outcome:
  0 passed, 1 error (also: aborted, superseded), 2 usage or configuration, 3 rolled back,
  4 rollback failed, 5 inconclusive, 6 gave up waiting, 7 daemon not reachable, 8 breached`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(openCommand(), listCommand(), showCommand(), waitCommand(), extendCommand())
	for _, v := range verbs {
		cmd.AddCommand(verbCommand(v))
	}
	return cmd
}

func listCommand() *cobra.Command {
	var out format
	var q gatekeeper.Listing
	cmd := &cobra.Command{Use: "list", Short: "List releases, newest first", Args: cobra.NoArgs}
	out.flags(cmd.Flags())
	cmd.Flags().BoolVar(&q.Open, "open", false, "only those that are not closed")
	cmd.Flags().IntVar(&q.Limit, "limit", 20, "at most so many, up to 200")
	cmd.Flags().StringVar(&q.After, "after", "", "the id after which to go on, towards older releases")
	return remote(cmd, func(cmd *cobra.Command, c *client.Client, _ []string) error {
		page, err := c.List(cmd.Context(), q)
		if err != nil {
			return err
		}
		if done, err := out.machine(cmd.OutOrStdout(), page); done {
			return err
		}
		rows := [][]string{{"ID", "SERVICE", "ENVIRONMENT", "VERSION", "STATE", "AGE"}}
		if out == asWide {
			rows[0] = append(rows[0], "BEFORE", "OPENED", "BY", "WHY")
		}
		for _, r := range page.Releases {
			rows = append(rows, row(r, out == asWide))
		}
		if err := table(cmd.OutOrStdout(), rows); err != nil {
			return err
		}
		if page.Next != "" {
			say(cmd, "there are more: --after %s", page.Next)
		}
		return nil
	})
}

func row(r gatekeeper.Release, wide bool) []string {
	state := string(r.State)
	if r.Closed() {
		state = string(r.Outcome)
	}
	cells := []string{r.ID, r.Service, r.Environment, r.Version, state, timeline.Span(time.Since(r.OpenedAt).Truncate(time.Second))}
	if wide {
		why := r.Why
		if r.Hold != nil {
			why = r.Hold.Says
		}
		cells = append(cells, r.PreviousVersion, r.OpenedAt.Format(time.RFC3339), r.OpenedBy, why)
	}
	return cells
}

func showCommand() *cobra.Command {
	var out format
	cmd := &cobra.Command{
		Use: "show ID", Short: "Print a release's timeline: what was seen against what limit, what was done, how long each took",
		Args: cobra.ExactArgs(1),
	}
	out.flags(cmd.Flags())
	return remote(cmd, func(cmd *cobra.Command, c *client.Client, args []string) error {
		facts, err := c.Facts(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		if out == asJSON || out == asYAML {
			r, err := gatekeeper.Replay(args[0], facts)
			if err != nil {
				return err
			}
			_, err = out.machine(cmd.OutOrStdout(), struct {
				gatekeeper.Release
				Facts []gatekeeper.Fact `json:"facts"`
			}{r, facts})
			return err
		}
		return timeline.Write(cmd.OutOrStdout(), args[0], facts, time.Now(), timelineOptions(cmd))
	})
}

func timelineOptions(cmd *cobra.Command) timeline.Options {
	o := timeline.Options{Location: time.Local}
	if f, ok := cmd.OutOrStdout().(*os.File); ok {
		o.Color = timeline.Color(f)
	}
	return o
}

// brief is a release in one line.
func brief(r gatekeeper.Release) string {
	s := fmt.Sprintf("release %s of %s %s in %s is %s", r.ID, r.Service, r.Version, r.Environment, r.State)
	switch {
	case r.Closed():
		s += ": " + string(r.Outcome)
		if r.Why != "" {
			s += ", " + r.Why
		}
	case r.Hold != nil:
		s += ": " + r.Hold.Says
	}
	return s
}
