package gatekeeper

import "context"

// MaxRemoved is how many releases [Remover.Remove] takes at once: etcd takes 128 operations.
const MaxRemoved = 20

// Remover is a [Journal] that can forget what is over. Who removes decides what may go: a journal
// only sees to it that nothing open is removed, and nothing by halves.
type Remover interface {
	Journal

	// Remove removes closed releases, at most [MaxRemoved], whole, all of them or none, durably. One
	// that is not there is passed over, so a removal of which it is not known what became of it is
	// repeated. [ErrConflict]: one of them is open. [ErrFenced] as with Commit. Their ids may be used again.
	// A [Journal.Watch] tells nothing of it.
	Remove(ctx context.Context, releases ...string) error

	// Sweep removes the files that no release has pinned, and gives how many. A release that is being
	// opened meanwhile keeps its file, or is refused.
	Sweep(ctx context.Context) (int, error)

	// RemoveAudits removes the audit records up to and including the position through, the oldest
	// first, and gives how many. Those that follow keep their positions.
	RemoveAudits(ctx context.Context, through int64) (int, error)
}
