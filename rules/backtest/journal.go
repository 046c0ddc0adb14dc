package backtest

import (
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
)

// Journaled gives the past releases among those of a journal: those that were deployed and are
// closed. What passed is good and what was rolled back is bad, unless a person took a passed release
// back later: that was bad, and nobody noted since when.
func Journaled(list []gatekeeper.Release) []Release {
	takenBack := map[string]time.Time{}
	for _, r := range list {
		if r.RollbackOf != "" {
			takenBack[r.RollbackOf] = r.DecidedAt
		}
	}
	var past []Release
	for _, r := range list {
		if !r.Closed() || r.DeployedAt.IsZero() || r.Purpose == gatekeeper.PurposeRollback {
			continue
		}
		one := Release{
			ID: r.ID, Service: r.Service, Environment: r.Environment, Version: r.Version, PreviousVersion: r.PreviousVersion,
			Opened: r.OpenedAt, Deployed: r.DeployedAt, Window: r.Window, Labels: r.Labels,
		}
		one.learn(r)
		if at, ok := takenBack[r.ID]; ok {
			one.Outcome, one.Ended = Bad, at
		}
		past = append(past, one)
	}
	return past
}

// learn takes from a release how it ended.
func (r *Release) learn(from gatekeeper.Release) {
	switch from.Outcome {
	case gatekeeper.OutcomePassed:
		r.Outcome = Good
		return // its version stayed
	case gatekeeper.OutcomeRolledBack, gatekeeper.OutcomeRollbackFailed, gatekeeper.OutcomeBreached:
		r.Outcome = Bad
	default:
		r.Outcome = Unknown
	}
	r.Ended = from.ClosedAt
	if from.Decision == nil {
		return
	}
	r.Ended = from.DecidedAt
	for _, b := range from.Decision.Breaches {
		if r.BadSince.IsZero() || b.Since.Before(r.BadSince) {
			r.BadSince = b.Since
		}
	}
}
