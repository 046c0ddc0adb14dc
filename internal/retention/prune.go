// Package retention decides which releases a store may forget, and has it forget them: those that
// are over and whose last fact is old enough. What the engine reads back stays, whatever its age, so
// a pruned store leads to the same decisions as a whole one.
package retention

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
)

// Removed is a release that was removed, or would be.
type Removed struct {
	ID          string             `json:"id"`
	Service     string             `json:"service"`
	Environment string             `json:"environment"`
	Version     string             `json:"version"`
	Outcome     gatekeeper.Outcome `json:"outcome"`
	Last        time.Time          `json:"last"` // when its last fact was
	Facts       int                `json:"facts"`
}

// Report is what a pruning removed, or would have removed.
type Report struct {
	Before     time.Time `json:"before"` // releases whose last fact is at or after it stay
	DryRun     bool      `json:"dry_run"`
	Releases   []Removed `json:"releases"` // oldest first
	Files      int       `json:"files"`    // pinned health files that nobody needs any more; not known in a dry run
	Audits     int       `json:"audits"`   // audit records; not known in a dry run
	Kept       int       `json:"kept"`     // releases that are old enough, but read back by the engine
	Unreadable []string  `json:"unreadable,omitempty"`
}

// changed says whether anything was removed.
func (r Report) changed() bool { return len(r.Releases)+r.Files+r.Audits > 0 }

// LeastAge is the age at which a release is removed: people may still look at what is just over, and
// event streams tell of it.
const LeastAge = 24 * time.Hour

// Check says whether releases may be removed at that age.
func Check(age time.Duration) error {
	if age < LeastAge {
		return gatekeeper.Errorf(gatekeeper.CodeInvalid, "choose 24h or more", "releases can't be removed at an age of %s: what is just over must stay for people to look at", age)
	}
	return nil
}

// maxFacts is how many facts one transaction removes, give or take those of one release: the writes
// of open releases wait behind it for a few milliseconds.
const maxFacts = 1000

// Prune removes every audit record from before an instant, and every release that is over and whose
// last fact is before it, the oldest first, but for these: what an open release refers to, and of each
// service and environment the newest release of those that say which version is live, and the newest
// that was rolled back. A release
// that can't be read stays, for verify and people to look at, and so does every file, for it is not
// known which one it needs. With dryRun nothing is removed. On an
// error the report tells what was removed until then.
func Prune(ctx context.Context, j gatekeeper.Remover, before time.Time, dryRun bool) (Report, error) {
	r := Report{Before: before.UTC(), DryRun: dryRun, Releases: []Removed{}}
	old, err := r.find(ctx, j)
	if err != nil {
		return r, err
	}
	if dryRun {
		r.Releases = old
		return r, nil
	}
	for len(old) > 0 {
		n := batch(old)
		if err := remove(ctx, j, old[:n]); err != nil {
			return r, err
		}
		r.Releases, old = append(r.Releases, old[:n]...), old[n:]
	}
	var unswept error
	if r.Files, unswept = j.Sweep(ctx); unswept != nil && !unreadable(unswept) {
		return r, unswept
	}
	through, err := oldAudits(ctx, j, r.Before)
	if err == nil && through > 0 {
		r.Audits, err = j.RemoveAudits(ctx, through)
	}
	return r, errors.Join(unswept, err)
}

// batch says how many of the releases go at once.
func batch(old []Removed) int {
	facts := 0
	for i, one := range old {
		facts += one.Facts
		if i == gatekeeper.MaxRemoved || i > 0 && facts > maxFacts {
			return i
		}
	}
	return len(old)
}

func remove(ctx context.Context, j gatekeeper.Remover, old []Removed) error {
	ids := make([]string, len(old))
	for i, one := range old {
		ids[i] = one.ID
	}
	return j.Remove(ctx, ids...)
}

// found is a release that is over and old enough, unless it is kept.
type found struct {
	Removed
	keep bool
}

// find gives what may go. Releases are listed by when they were opened, so it ends at the first
// that is too young to have ended before the instant.
func (r *Report) find(ctx context.Context, j gatekeeper.Journal) ([]Removed, error) {
	ids, err := all(ctx, j, gatekeeper.Listing{})
	if err != nil {
		return nil, err
	}
	var old []found
	live := map[[3]string]int{} // the newest of each service and environment, by what it tells
	for _, id := range slices.Backward(ids) {
		facts, release, err := read(ctx, j, id)
		switch {
		case errors.Is(err, gatekeeper.ErrNotFound): // removed by somebody else meanwhile
			continue
		case unreadable(err):
			r.Unreadable = append(r.Unreadable, id)
			continue
		case err != nil:
			return nil, err
		}
		if !facts[0].At.Before(r.Before) {
			break
		}
		one := found{Removed: Removed{
			ID: id, Service: release.Service, Environment: release.Environment, Version: release.Version,
			Outcome: release.Outcome, Last: facts[len(facts)-1].At, Facts: len(facts),
		}}
		one.keep = !release.Closed() || !one.Last.Before(r.Before)
		for _, what := range tells(release) {
			of := [3]string{what, release.Service, release.Environment}
			live[of] = len(old)
		}
		old = append(old, one)
	}
	return r.choose(ctx, j, old, live)
}

func (r *Report) choose(ctx context.Context, j gatekeeper.Journal, old []found, live map[[3]string]int) ([]Removed, error) {
	referred, err := referredTo(ctx, j, len(old) > 0)
	if err != nil {
		return nil, err
	}
	kept := map[int]bool{}
	for _, i := range live {
		kept[i] = true
	}
	out := []Removed{}
	for i, one := range old {
		switch {
		case one.keep:
		case kept[i] || referred[one.ID]:
			r.Kept++
		default:
			out = append(out, one.Removed)
		}
	}
	return out, nil
}

// tells says what the engine learns from a closed release when it starts: which version is live,
// and when the service was rolled back last.
func tells(r gatekeeper.Release) []string {
	switch {
	case !r.Closed():
		return nil
	case r.Outcome == gatekeeper.OutcomePassed:
		return []string{"version"}
	case r.Outcome == gatekeeper.OutcomeRolledBack && r.PreviousVersion != "":
		return []string{"version", "rollback"}
	case r.Outcome == gatekeeper.OutcomeRolledBack:
		return []string{"rollback"}
	}
	return nil
}

// referredTo gives the releases that open ones refer to.
func referredTo(ctx context.Context, j gatekeeper.Journal, needed bool) (map[string]bool, error) {
	if !needed {
		return nil, nil
	}
	open, err := all(ctx, j, gatekeeper.Listing{Open: true})
	if err != nil {
		return nil, err
	}
	referred := map[string]bool{}
	for _, id := range open {
		_, release, err := read(ctx, j, id)
		switch {
		case errors.Is(err, gatekeeper.ErrNotFound):
			continue
		case err != nil:
			return nil, fmt.Errorf("what the open release %s needs is not known, so nothing is removed: %w", id, err)
		}
		referred[release.Supersedes], referred[release.RollbackOf] = true, true
	}
	return referred, nil
}

// unreadable says that a release's facts are there and can't be trusted; other errors are the store's.
func unreadable(err error) bool {
	said, ok := errors.AsType[*gatekeeper.Error](err)
	return ok && said.Code == gatekeeper.CodeInternal
}

// read gives a release with its facts.
func read(ctx context.Context, j gatekeeper.Journal, id string) ([]gatekeeper.Fact, gatekeeper.Release, error) {
	facts, err := j.Facts(ctx, id)
	if err != nil {
		return nil, gatekeeper.Release{}, err
	}
	release, err := gatekeeper.Replay(id, facts)
	if err != nil {
		err = gatekeeper.Errorf(gatekeeper.CodeInternal, "", "release %s can't be replayed: %w", id, err)
	}
	return facts, release, err
}

// all gives the ids of a listing, newest first.
func all(ctx context.Context, j gatekeeper.Journal, q gatekeeper.Listing) ([]string, error) {
	var ids []string
	for q.Limit = 1000; ; q.After = ids[len(ids)-1] {
		page, err := j.List(ctx, q)
		if q.After != "" && errors.Is(err, gatekeeper.ErrNotFound) { // somebody else prunes, too
			return all(ctx, j, gatekeeper.Listing{Open: q.Open})
		}
		if err != nil {
			return nil, err
		}
		ids = append(ids, page...)
		if len(page) < q.Limit {
			return ids, nil
		}
	}
}
