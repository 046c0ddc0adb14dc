package retention

import (
	"context"
	"errors"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
)

// Requested prunes at somebody's request, which is recorded by record first; once more, as refused,
// where it fails before anything is removed. A store that is too
// full to take the record is pruned all the same, for that makes room, and the record is made up
// for; where that fails, too, it is an error.
func Requested(ctx context.Context, record func(context.Context, gatekeeper.AuditRecord) error, by gatekeeper.By, before time.Time, prune func() (Report, error)) (Report, error) {
	r := gatekeeper.AuditRecord{
		At: time.Now(), By: by, What: gatekeeper.StorePruned, Subject: "releases that are over",
		After: gatekeeper.AuditState(map[string]any{"before": before.UTC()}), Outcome: gatekeeper.Accepted,
	}
	full := record(ctx, r)
	if errors.Is(full, gatekeeper.ErrFenced) {
		return Report{}, full
	}
	report, err := prune()
	switch {
	case full == nil && (err == nil || report.changed()):
		return report, err
	case full == nil:
		r.At = time.Now()
		return report, errors.Join(err, record(context.WithoutCancel(ctx), r.Refuse(err)))
	}
	if lost := record(context.WithoutCancel(ctx), r); lost != nil {
		err = errors.Join(err, gatekeeper.Errorf(gatekeeper.CodeUnavailable, gatekeeper.HintOf(lost),
			"%d releases were removed, and who asked for that can't be recorded: %w", len(report.Releases), lost))
	}
	return report, err
}
