package flags

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
	"github.com/gatekeeper-engine/gatekeeper/actions/flag"
)

// Serving gives the store as the action flag/set needs it.
func (s *Store) Serving() flag.Store { return serving{s} }

type serving struct{ store *Store }

// Read implements [flag.Store].
func (v serving) Read(ctx context.Context, key string) (flag.State, error) {
	f, err := v.store.Get(ctx, key)
	if err != nil {
		return flag.State{}, err
	}
	return flag.State{
		Version: f.Version, Enabled: f.Enabled, Variant: f.On, Off: f.Off, Percentage: f.Percentage,
		Allow: f.Allow, Variants: slices.Sorted(maps.Keys(f.Variants)),
	}, nil
}

// Write implements [flag.Store].
func (v serving) Write(ctx context.Context, key string, s flag.State) (int64, error) {
	f, err := v.store.Get(ctx, key)
	if err != nil {
		return 0, fmt.Errorf("%w; %w", err, actions.ErrNoEffect)
	}
	f.Version, f.Enabled, f.On, f.Off, f.Percentage, f.Allow = s.Version, s.Enabled, s.Variant, s.Off, s.Percentage, s.Allow
	f, err = v.store.Put(ctx, f, gatekeeper.By{Means: gatekeeper.MeansRollback})
	if err == nil {
		return f.Version, nil
	}
	if gatekeeper.CodeOf(err) != gatekeeper.CodeUnavailable || errors.Is(err, rpctypes.ErrNoSpace) {
		err = fmt.Errorf("%w; %w", err, actions.ErrNoEffect) // refused before anything was written
	}
	return 0, err
}
