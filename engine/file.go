package engine

import "context"

// File gives a health file as a release pinned it, by its hash: see [gatekeeper.Journal].
func (e *Engine) File(ctx context.Context, hash string) ([]byte, error) {
	return e.cfg.Journal.File(ctx, hash)
}
