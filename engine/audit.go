package engine

import (
	"cmp"
	"context"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
)

// Audit records a deed that concerns no single release: as accepted, at this moment, unless the
// record says otherwise. What it tells of must not be done where this is an error, unless it makes
// things safer. An error leaves open whether it was recorded.
func (e *Engine) Audit(ctx context.Context, r gatekeeper.AuditRecord) error {
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), journalTimeout)
	defer cancel()
	return e.audit(within, r)
}

func (e *Engine) audit(ctx context.Context, r gatekeeper.AuditRecord) error {
	if r.At.IsZero() {
		r.At = time.Now()
	}
	r.Outcome = cmp.Or(r.Outcome, gatekeeper.Accepted)
	_, err := e.cfg.Journal.Audit(ctx, r)
	if gatekeeper.CodeOf(err) != gatekeeper.CodeInvalid {
		e.journalState(err)
	}
	return err
}

// auditRefused records that a deed was refused because of err; that it can't be recorded is in the log.
func (e *Engine) auditRefused(ctx context.Context, r gatekeeper.AuditRecord, err error) {
	if lost := e.Audit(ctx, r.Refuse(err)); lost != nil {
		e.log.Error("it can't be recorded what was refused", "what", r.What, "actor", r.Actor, "refusal", err, "err", lost)
	}
}

// auditLater records a deed that is done as soon as the journal takes it.
func (e *Engine) auditLater(r gatekeeper.AuditRecord) {
	e.beside(func() {
		for sleep(e.ctx, journalRetry) == nil {
			if e.Audit(e.ctx, r) == nil {
				e.log.Info("what was done is recorded now", "what", r.What, "actor", r.Actor)
				return
			}
		}
	})
}

// Audits gives audit records, newest first; see [gatekeeper.Journal].
func (e *Engine) Audits(ctx context.Context, before int64, limit int) ([]gatekeeper.AuditRecord, error) {
	return e.cfg.Journal.Audits(ctx, before, limit)
}

// LastTurn gives the record of the kill switch's last turn; nil: none of the newest 1000 is one.
func (e *Engine) LastTurn(ctx context.Context) (*gatekeeper.AuditRecord, error) {
	return gatekeeper.LastTurn(ctx, e.cfg.Journal, 1000/gatekeeper.MaxAuditPage)
}
