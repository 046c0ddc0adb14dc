package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/api"
	"github.com/gatekeeper-engine/gatekeeper/internal/client"
)

// keepAlive gives a release's signs of life until ctx ends: who waits for the outcome is the pipeline.
func keepAlive(ctx context.Context, cmd *cobra.Command, c *client.Client, id string, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		_, err := c.Ask(ctx, id, "heartbeat", api.ByBody{Actor: env("GATEKEEPER_ACTOR", "")})
		if _, refused := errors.AsType[*client.Failure](err); refused && gatekeeper.CodeOf(err) != gatekeeper.CodeConflict {
			say(cmd, "warning: no sign of life is given any more, which people may be told of: %v", err)
			return
		}
		// closed, which the follower hears as well, or away, for which it has patience
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
