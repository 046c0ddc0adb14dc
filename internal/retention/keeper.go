package retention

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gatekeeper-engine/gatekeeper"
)

// When [Keeper.Run] prunes: not at once, for open releases are taken up first, and then so often that
// little is to be removed each time.
const (
	First = 5 * time.Minute
	Every = time.Hour
)

// Keeper prunes a journal by age while the daemon runs, and at people's request. Its methods may be
// called concurrently; one pruning runs at a time.
type Keeper struct {
	journal gatekeeper.Remover
	keep    time.Duration
	log     *slog.Logger
	pruned  prometheus.Counter
	files   prometheus.Counter
	failed  prometheus.Counter

	mu sync.Mutex
}

// NewKeeper gives a keeper of releases for the time keep after their last fact; 0 keeps all.
func NewKeeper(j gatekeeper.Remover, keep time.Duration, log *slog.Logger, reg prometheus.Registerer) *Keeper {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	k := &Keeper{
		journal: j, keep: keep, log: log,
		pruned: counter("gatekeeper_store_releases_pruned_total", "Releases removed from the store because of their age."),
		files:  counter("gatekeeper_store_files_pruned_total", "Pinned health files removed from the store because no release needs them any more."),
		failed: counter("gatekeeper_store_prunings_failed_total", "Prunings of the store that ended with an error."),
	}
	reg.MustRegister(k.pruned, k.files, k.failed)
	return k
}

// Run prunes until ctx ends, or another Gatekeeper has taken the journal.
func (k *Keeper) Run(ctx context.Context) {
	if k.keep <= 0 {
		return
	}
	next := time.NewTimer(First)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		}
		if _, err := k.Prune(ctx, time.Now().Add(-k.keep), false); errors.Is(err, gatekeeper.ErrFenced) {
			return
		}
		next.Reset(Every)
	}
}

// Prune prunes the journal now, see [Prune]; what it did is logged and counted.
func (k *Keeper) Prune(ctx context.Context, before time.Time, dryRun bool) (Report, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	began := time.Now()
	r, err := Prune(ctx, k.journal, before, dryRun)
	if dryRun {
		return r, err
	}
	k.pruned.Add(float64(len(r.Releases)))
	k.files.Add(float64(r.Files))
	log := k.log.With("before", r.Before, "releases", len(r.Releases), "files", r.Files, "audit_records", r.Audits, "kept", r.Kept, "took", time.Since(began))
	switch {
	case err != nil && ctx.Err() != nil:
		log.Info("pruning the store was interrupted")
	case err != nil:
		k.failed.Inc()
		log.Error("the store could not be pruned; it is tried again", "err", err)
	case r.changed():
		log.Info("what is old was removed from the store")
	}
	if len(r.Unreadable) > 0 {
		k.log.Error("old releases can't be read, and stay in the store", "releases", r.Unreadable)
	}
	return r, err
}
