package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/client"
	"github.com/gatekeeper-engine/gatekeeper/internal/timeline"
)

// patience is how long the daemon may be away while a release is followed: longer than a restart
// or the replacement of its machine takes, shorter than anybody would wait for a dead one.
const patience = 5 * time.Minute

func waitCommand() *cobra.Command {
	var out format
	var timeout time.Duration
	var away unreachable
	cmd := &cobra.Command{
		Use: "wait ID", Short: "Follow a release live until it ends; the exit code is its outcome",
		Long: `Wait prints what happens as it happens and ends with the release.

Exit codes: 0 passed, 1 error (also: aborted, superseded), 3 rolled back, 4 rollback failed,
5 inconclusive, 6 gave up waiting, 7 daemon not reachable, 8 breached.

Who waits for a release that was opened with --heartbeat is its pipeline, and gives its signs of life.`,
		Args: cobra.ExactArgs(1),
	}
	out.flags(cmd.Flags())
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "give up waiting after so long (exit code 6); the release goes on; 0: never")
	away.flags(cmd.Flags())
	return remote(cmd, func(cmd *cobra.Command, c *client.Client, args []string) error {
		if err := away.check(); err != nil {
			return err
		}
		err := wait(cmd, c, args[0], timeout, out)
		if away.forgives(cmd, err, true) {
			return nil
		}
		return err
	})
}

// wait follows a release to its end and exits with its outcome.
func wait(cmd *cobra.Command, c *client.Client, id string, timeout time.Duration, out format) error {
	ctx := cmd.Context()
	if timeout > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, timeout)
		defer stop()
	}
	r := gatekeeper.Release{ID: id}
	told := func(f gatekeeper.Fact) (err error) {
		if f.Seq <= r.Seq {
			return nil
		}
		r, err = r.With(f)
		return err
	}
	if out == asText || out == asWide {
		lines := timeline.New(cmd.OutOrStdout(), id, timelineOptions(cmd))
		told = func(f gatekeeper.Fact) error {
			err := lines.Add(f)
			r = lines.Release()
			return err
		}
	}
	alive, rest := context.WithCancel(ctx)
	var beating sync.WaitGroup
	var once sync.Once // a fact may be told twice
	err := c.Follow(ctx, id, 0, patience, func(f gatekeeper.Fact) error {
		err := told(f)
		if _, opened := f.Body.(gatekeeper.Opened); err == nil && opened && r.Heartbeat > 0 {
			every := time.Duration(r.Heartbeat) / 3 // so that one may be lost
			once.Do(func() { beating.Go(func() { keepAlive(alive, cmd, c, id, every) }) })
		}
		return err
	})
	rest()
	beating.Wait()
	if errors.Is(err, context.DeadlineExceeded) && timeout > 0 {
		say(cmd, "gave up waiting after %s: release %s is still %s and goes on", timeline.Span(timeout), id, r.State)
		return exit{exitGaveUp}
	}
	if errors.Is(err, context.Canceled) && r.Seq > 0 {
		say(cmd, "interrupted: release %s goes on; follow it with: gatekeeper release wait %s", id, id)
		return exit{exitError}
	}
	if err != nil {
		return err
	}
	if _, err := out.machine(cmd.OutOrStdout(), r); err != nil {
		return err
	}
	return exit{outcomes[r.Outcome]}
}
