package engine

import (
	"context"
	"sync"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
)

// history remembers of each service and environment what passed last and when it was rolled back
// last. It is rebuilt from the journal when the engine starts.
type history struct {
	mu       sync.Mutex
	versions map[[2]string]string
	rollback map[[2]string]time.Time
}

// historyDepth is how many releases are read at start: more than any freeze or cool-down needs.
const historyDepth = 500

func newHistory() *history {
	return &history{versions: map[[2]string]string{}, rollback: map[[2]string]time.Time{}}
}

func (e *Engine) readHistory(ctx context.Context) error {
	ids, err := e.cfg.Journal.List(ctx, gatekeeper.Listing{Limit: historyDepth})
	if err != nil {
		return err
	}
	for i := len(ids) - 1; i >= 0; i-- { // oldest first, so that the newest has the last word
		r, err := e.Release(ctx, ids[i])
		if gatekeeper.CodeOf(err) == gatekeeper.CodeNotFound {
			continue // removed by retention meanwhile
		}
		if err != nil {
			return err
		}
		e.history.note(r)
	}
	return nil
}

// note remembers how a release ended.
func (h *history) note(r gatekeeper.Release) {
	if !r.Closed() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	of := [2]string{r.Service, r.Environment}
	switch r.Outcome {
	case gatekeeper.OutcomePassed:
		h.versions[of] = r.Version
	case gatekeeper.OutcomeRolledBack:
		h.rollback[of] = r.ClosedAt
		if r.PreviousVersion != "" {
			h.versions[of] = r.PreviousVersion
		}
	default: // the others say nothing of what is live
	}
}

func (h *history) passed(service, environment string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.versions[[2]string{service, environment}]
}

// lastRollback says when the service was rolled back last.
func (e *Engine) lastRollback(service, environment string) (time.Time, bool) {
	e.history.mu.Lock()
	defer e.history.mu.Unlock()
	at, ok := e.history.rollback[[2]string{service, environment}]
	return at, ok
}
