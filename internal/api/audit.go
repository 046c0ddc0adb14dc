package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatekeeper-engine/gatekeeper"
)

// maxLooked is how many audit records one call looks at for those that are asked for.
const maxLooked = 2000

// AuditList is a page of audit records, newest first.
type AuditList struct {
	Records []gatekeeper.AuditRecord `json:"records" nullable:"false" doc:"A page can hold fewer than asked for, even none, and be followed by others."`
	Next    int64                    `json:"next,omitempty" doc:"Give it as after to get the next page; left out on the last one."`
}

// AuditQuery selects audit records.
type AuditQuery struct {
	Since time.Time `query:"since" doc:"Only what was done then or later."`
	Until time.Time `query:"until" doc:"Only what was done before then."`
	Actor string    `query:"actor" maxLength:"300" doc:"Only what this actor did; of ci (alice) each name does."`
	Limit int       `query:"limit" minimum:"1" maximum:"200" default:"50"`
	After int64     `query:"after" minimum:"1" doc:"The position after which to go on, towards older records."`
}

func (q AuditQuery) wants(r gatekeeper.AuditRecord) bool {
	return !r.At.Before(q.Since) && (q.Until.IsZero() || r.At.Before(q.Until)) && (q.Actor == "" || r.Concerns(q.Actor))
}

func (s *server) registerAudit(api huma.API) {
	op := s.operation("list-audit", http.MethodGet, "/audit", "List what was changed that concerns more than one release, and by whom, newest first", ScopeOperate, http.StatusServiceUnavailable)
	op.Description = "Flags, reloads of the configuration, the kill switch; what was refused, too. What concerns one release is among its facts."
	huma.Register(api, op, func(ctx context.Context, in *AuditQuery) (*output[AuditList], error) {
		if err := everywhere(ctx, "what is listed here"); err != nil {
			return nil, err
		}
		page, err := s.audits(ctx, *in)
		if err != nil {
			return nil, problemOf(err)
		}
		return &output[AuditList]{page}, nil
	})
}

// audits walks from the newest record to older ones, which ends at a page of which all are too old:
// they are in the order in which they were written, and that may have been late.
func (s *server) audits(ctx context.Context, q AuditQuery) (AuditList, error) {
	page, before := AuditList{Records: []gatekeeper.AuditRecord{}}, q.After
	for range maxLooked / gatekeeper.MaxAuditPage {
		found, err := s.Engine.Audits(ctx, before, gatekeeper.MaxAuditPage)
		if err != nil {
			return page, err
		}
		young := false
		for _, r := range found {
			young = young || !r.At.Before(q.Since)
			before = r.Seq
			if !q.wants(r) {
				continue
			}
			if page.Records = append(page.Records, r); len(page.Records) == q.Limit {
				page.Next = before
				return page, nil
			}
		}
		if !young || len(found) < gatekeeper.MaxAuditPage {
			return page, nil
		}
	}
	page.Next = before
	return page, nil
}
