package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/gatekeeper-engine/gatekeeper/internal/api"
)

// Audit gives a page of audit records, newest first.
func (c *Client) Audit(ctx context.Context, q api.AuditQuery) (api.AuditList, error) {
	query := url.Values{"limit": {strconv.Itoa(q.Limit)}}
	for key, at := range map[string]time.Time{"since": q.Since, "until": q.Until} {
		if !at.IsZero() {
			query.Set(key, at.UTC().Format(time.RFC3339Nano))
		}
	}
	if q.Actor != "" {
		query.Set("actor", q.Actor)
	}
	if q.After != 0 {
		query.Set("after", strconv.FormatInt(q.After, 10))
	}
	var page api.AuditList
	err := c.do(ctx, http.MethodGet, "audit", query, nil, &page)
	return page, err
}
