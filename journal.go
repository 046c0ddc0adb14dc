package gatekeeper

import (
	"context"
	"errors"
	"iter"
)

// The errors by which a [Journal] tells its callers what became of a write. They are wrapped.
var (
	ErrNotFound = errors.New("not in the journal")
	ErrConflict = errors.New("the journal has moved on") // somebody else's facts are there already; read again
	ErrFenced   = errors.New("another Gatekeeper owns the journal now")
	ErrGone     = errors.New("the journal no longer holds changes that old") // watch: start from the present
)

// Entry appends facts to one release. After is the sequence number of the last fact the writer
// has seen: 0 begins a release. The facts' own Seq is ignored and assigned: After+1, After+2, …
type Entry struct {
	Release string
	After   int64
	Facts   []Fact
}

// Change is one committed fact. Revisions rise over the whole journal; the facts of one commit
// share theirs.
type Change struct {
	Revision int64  `json:"revision"`
	Release  string `json:"release"`
	Fact     Fact   `json:"fact"`
}

// Listing selects releases for [Journal.List].
type Listing struct {
	Open  bool   // only those that are not closed
	Limit int    // at most so many, from 1 to 1000
	After string // the id after which to go on (older releases); "" begins with the newest
}

// Journal is the append-only record of facts. Its methods may be called concurrently. The suite
// in internal/journaltest says what an implementation must do, and runs on each.
type Journal interface {
	// Commit appends all entries or none, durably: when it returns nil the facts survive kill -9.
	// [ErrConflict]: an entry's After is not the release's last sequence number. [ErrFenced]: this
	// process lost the journal and must stop acting. Any other error means that it is not known
	// whether the facts were written: read again before going on.
	Commit(ctx context.Context, entries ...Entry) error

	// Facts gives a release's facts in order, or [ErrNotFound].
	Facts(ctx context.Context, release string) ([]Fact, error)

	// List gives the ids of releases, newest first. A release is open from its first fact to the
	// commit that holds a [Closed].
	List(ctx context.Context, q Listing) ([]string, error)

	// Watch gives every change with a revision above after, in order, as it happens, until ctx
	// ends; after < 0 means from now on. It ends with [ErrGone] when after is too old or the reader too slow.
	Watch(ctx context.Context, after int64) iter.Seq2[Change, error]

	// PutFile stores content under its hash (SHA-256, hex), once however often it is put.
	PutFile(ctx context.Context, content []byte) (hash string, err error)

	// File gives the content stored under hash, checked against it, or [ErrNotFound].
	File(ctx context.Context, hash string) ([]byte, error)

	// Audit appends an audit record, durably, and gives it as it is kept; its Seq is ignored and
	// assigned: one more than the last. Errors are as with Commit, but for [ErrConflict]. Neither
	// List nor Watch tells of audit records.
	Audit(ctx context.Context, r AuditRecord) (AuditRecord, error)

	// Audits gives at most limit audit records, from 1 to [MaxAuditPage], newest first: those below
	// the position before; 0 begins with the newest. Fewer than limit are the last ones.
	Audits(ctx context.Context, before int64, limit int) ([]AuditRecord, error)
}
