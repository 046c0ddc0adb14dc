package memory

import (
	"context"
	"fmt"
	"slices"

	"github.com/gatekeeper-engine/gatekeeper"
)

var _ gatekeeper.Remover = (*Journal)(nil)

// Remove removes closed releases, all of them or none. Watch still tells of them what it told
// before.
func (j *Journal) Remove(ctx context.Context, ids ...string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(ids) > gatekeeper.MaxRemoved {
		return gatekeeper.Errorf(gatekeeper.CodeInvalid, "", "at most %d releases are removed at once, not %d", gatekeeper.MaxRemoved, len(ids))
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.fenced(); err != nil {
		return err
	}
	for _, id := range ids {
		if r, ok := j.releases[id]; ok && !r.closed {
			return fmt.Errorf("release %s is open: %w", id, gatekeeper.ErrConflict)
		}
	}
	for _, id := range ids {
		delete(j.releases, id)
	}
	j.order = slices.DeleteFunc(j.order, func(id string) bool { return j.releases[id] == nil })
	for place, id := range j.order {
		j.releases[id].place = place
	}
	return nil
}

// Sweep removes the files that no release has pinned.
func (j *Journal) Sweep(ctx context.Context) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.fenced(); err != nil {
		return 0, err
	}
	pinned := map[string]bool{}
	for _, r := range j.releases {
		pinned[r.file] = true
	}
	swept := 0
	for hash := range j.files {
		if !pinned[hash] {
			delete(j.files, hash)
			swept++
		}
	}
	return swept, nil
}

// RemoveAudits removes the audit records up to and including the position through.
func (j *Journal) RemoveAudits(ctx context.Context, through int64) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.fenced(); err != nil {
		return 0, err
	}
	removed := 0
	for i := range j.audits[:min(through, int64(len(j.audits)))] {
		if j.audits[i] != nil {
			j.audits[i] = nil
			removed++
		}
	}
	return removed, nil
}
