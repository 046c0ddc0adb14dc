package engine

import (
	"context"
	"strings"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// strand gives the run of a release whose pinned health file can't be used any more, as after a
// restart with a version that refuses it: one such release must not keep the others from being
// watched. Nothing more can be told of it, so it ends inconclusive, or breached where a breach stood;
// a rollback under way goes on, and the recovery stays unknown.
func (e *Engine) strand(r gatekeeper.Release, why error) *run {
	u := e.bareRun(r)
	u.file, u.bound, u.q, u.stranded = &rules.File{}, &rules.Bound{}, absent{e, "", why}, why
	u.log.Error("an open release's health file can't be used any more", "state", r.State, "err", why)
	return u
}

// turn gives the step that the release's state asks for.
func (u *run) turn() func(*run, time.Time) error {
	if u.stranded != nil && u.r.State != gatekeeper.Applying && u.r.State != gatekeeper.Verifying {
		return (*run).giveUp
	}
	return steps[u.r.State]
}

// giveUp ends a stranded release. A breach that it was held for, or that only was told, stood.
func (u *run) giveUp(time.Time) error {
	why := "Gatekeeper was started again and can't use the release's health file any more, so nothing watches it: " + u.stranded.Error()
	if h := u.r.Hold; u.r.Due || h != nil && len(h.Breaches) > 0 {
		stood := strings.Join(sortedKeys(u.r.Breaches), ", ")
		return u.record(gatekeeper.Closed{Outcome: gatekeeper.OutcomeBreached, Why: capped(stood + " stood, and nothing was rolled back; " + why)})
	}
	return u.record(gatekeeper.Closed{Outcome: gatekeeper.OutcomeInconclusive, Why: capped(why)})
}

// absent is a backend that was not configured when Gatekeeper started. Until a reload brings it,
// what asks it is blind.
type absent struct {
	e    *Engine
	name string
	why  error
}

func (a absent) backend() (rules.Querier, error) {
	if q, ok := a.e.terms.Load().Backends[a.name]; ok {
		return q, nil
	}
	return nil, a.why
}

// Query asks the backend when it is there, and else gives the reason as an error.
func (a absent) Query(ctx context.Context, expr string, at time.Time) (rules.Vector, error) {
	q, err := a.backend()
	if err != nil {
		return rules.Vector{}, err
	}
	return q.Query(ctx, expr, at)
}

// QueryRange asks the backend when it is there, and else gives the reason as an error.
func (a absent) QueryRange(ctx context.Context, expr string, from, to time.Time, step time.Duration) (rules.Matrix, error) {
	q, err := a.backend()
	if err != nil {
		return rules.Matrix{}, err
	}
	return q.QueryRange(ctx, expr, from, to, step)
}

// WithRecordings gives the backend with recording rules when it is there, and else the reason as an error.
func (a absent) WithRecordings(all []rules.Recording) (rules.Querier, error) {
	q, err := a.backend()
	if err != nil {
		return nil, err
	}
	return rules.WithRecordings(q, all)
}
