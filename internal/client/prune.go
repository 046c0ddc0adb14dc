package client

import (
	"context"
	"net/http"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/api"
	"github.com/gatekeeper-engine/gatekeeper/internal/retention"
)

// Prune removes releases that are older than an age from the daemon's store, or only tells which.
func (c *Client) Prune(ctx context.Context, olderThan time.Duration, dryRun bool, by api.ByBody) (retention.Report, error) {
	var r retention.Report
	err := c.do(ctx, http.MethodPost, "store/prune", nil, api.PruneBody{ByBody: by, OlderThan: gatekeeper.Duration(olderThan), DryRun: dryRun}, &r)
	return r, err
}
