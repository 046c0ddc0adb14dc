package api

import (
	"context"
	"iter"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/engine"
)

// Engine is what the API needs of the engine; the meanings are those of [engine.Engine]. Its
// methods may be called concurrently.
type Engine interface {
	Ready() error
	Open(ctx context.Context, req engine.OpenRequest) (gatekeeper.Release, error)
	File(ctx context.Context, hash string) ([]byte, error)
	Audit(ctx context.Context, r gatekeeper.AuditRecord) error
	Reader
	Rules
	Verbs
	Switch
}

// Reader reads what is in the journal.
type Reader interface {
	Release(ctx context.Context, id string) (gatekeeper.Release, error)
	Facts(ctx context.Context, id string) ([]gatekeeper.Fact, error)
	List(ctx context.Context, q gatekeeper.Listing) ([]gatekeeper.Release, error)
	Watch(ctx context.Context, after int64) iter.Seq2[gatekeeper.Change, error]
	Audits(ctx context.Context, before int64, limit int) ([]gatekeeper.AuditRecord, error)
}

// Verbs are what persons and pipelines ask of one release.
type Verbs interface {
	Deployed(ctx context.Context, id string, by engine.By) (gatekeeper.Release, error)
	Approve(ctx context.Context, id string, by engine.By) (gatekeeper.Release, error)
	Veto(ctx context.Context, id string, by engine.By) (gatekeeper.Release, error)
	Hold(ctx context.Context, id string, by engine.By) (gatekeeper.Release, error)
	Resume(ctx context.Context, id string, by engine.By) (gatekeeper.Release, error)
	Rollback(ctx context.Context, id string, by engine.By) (gatekeeper.Release, error)
	Close(ctx context.Context, id string, by engine.By) (gatekeeper.Release, error)
	Mark(ctx context.Context, id string, by engine.By) (gatekeeper.Release, error)
	Heartbeat(ctx context.Context, id string, by engine.By) (gatekeeper.Release, error)
	Extend(ctx context.Context, id string, d time.Duration, by engine.By) (gatekeeper.Release, error)
}

// Switch is the kill switch.
type Switch interface {
	KillSwitch() engine.KillSwitch
	SetKillSwitch(ctx context.Context, on bool, by engine.By) (engine.KillSwitch, error)
}
