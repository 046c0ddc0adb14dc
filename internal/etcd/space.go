package etcd

import (
	"context"
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Space is how much room the embedded store takes, in bytes. What was removed and compacted leaves
// room inside the file, which new facts fill; only [Server.Shrink] gives it back to the disk. The
// quota is compared with the size of the file.
type Space struct {
	Size  int64 // of the database file
	InUse int64 // of it
	Quota int64
}

// Space gives how much room the store takes now.
func (s *Server) Space() Space {
	b := s.etcd.Server.Backend()
	return Space{Size: b.Size(), InUse: b.SizeInUse(), Quota: s.quota}
}

// Measure registers gauges of how much room a store takes.
func Measure(reg prometheus.Registerer, space func() Space) {
	gauge := func(name, help string, of func(Space) int64) {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(of(space())) }))
	}
	gauge("gatekeeper_store_size_bytes", "Size of the embedded store's file.", func(s Space) int64 { return s.Size })
	gauge("gatekeeper_store_in_use_bytes", "How much of the embedded store's file is in use; new facts fill the rest first.", func(s Space) int64 { return s.InUse })
	gauge("gatekeeper_store_quota_bytes", "Size at which the embedded store takes no more facts.", func(s Space) int64 { return s.Quota })
}

const (
	worthShrinking = 64 << 20 // bytes that lie free; for less nobody waits
	nearlyFull     = 0.9      // of the quota
)

// shrinkAtStart gives the disk back what lies free in the file, where that is at least half of it.
// Nothing else can use the store meanwhile, so it is done only while no decision is waited for: no
// release is open, or the store is so full that none could be made.
func (s *Server) shrinkAtStart(ctx context.Context) error {
	space := s.Space()
	lies := space.Size - space.InUse
	if lies < s.worthShrinking || lies < space.InUse {
		return nil
	}
	resp, err := call(ctx, s, func(ctx context.Context) (*clientv3.GetResponse, error) {
		return s.client.Get(ctx, openRoot, clientv3.WithPrefix(), clientv3.WithLimit(1), clientv3.WithKeysOnly())
	})
	if err != nil {
		return unavailable("asking whether releases are open", err)
	}
	if len(resp.Kvs) > 0 && float64(space.Size) < nearlyFull*float64(space.Quota) {
		s.log.Info("the store has free space inside, which stays there because releases are open", "size", space.Size, "in_use", space.InUse)
		return nil
	}
	return s.defragment(ctx)
}

// Shrink gives the disk back what was removed, at once: the store's history is compacted up to now,
// so watches can't go back behind it, and the file is written anew. It takes a second for some ten
// MiB, and nothing else can use the store meanwhile.
func (s *Server) Shrink(ctx context.Context) error {
	const doing = "compacting the store"
	now, err := call(ctx, s, func(ctx context.Context) (*clientv3.GetResponse, error) {
		return s.client.Get(ctx, ownerKey, clientv3.WithKeysOnly())
	})
	if err != nil {
		return unavailable(doing, err)
	}
	_, err = call(ctx, s, func(ctx context.Context) (*clientv3.CompactResponse, error) {
		return s.client.Compact(ctx, now.Header.Revision, clientv3.WithCompactPhysical())
	})
	if err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		return unavailable(doing, err)
	}
	if err := s.defragment(ctx); err != nil {
		return err
	}
	return s.alarms(ctx, s.quota)
}

// defragment writes the database file anew, without what lies free in it. The new file takes the
// old one's place when it is whole; until then it needs room beside it.
func (s *Server) defragment(ctx context.Context) error {
	before := s.Space()
	free, err := s.free()
	if err != nil {
		return unavailable("asking for the free space of "+s.dir, err)
	}
	if free < before.InUse+reserve {
		s.log.Warn("the store is not made smaller: its disk has no room for a second file meanwhile", "needs", before.InUse+reserve, "free", free)
		return nil
	}
	_, err = call(ctx, s, func(context.Context) (struct{}, error) { return struct{}{}, s.etcd.Server.Defragment() })
	if err != nil {
		return unavailable("making the store smaller", err)
	}
	s.log.Info("the store was made smaller", "size_before", before.Size, "size", s.Space().Size)
	return nil
}
