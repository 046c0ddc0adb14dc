package engine_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/engine"
)

// A client that is confined to services opens releases of no other, also by the health file's name.
func TestOpenOfOtherServicesIsRefused(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		confined := func(globs ...string) func(*engine.OpenRequest) {
			return func(r *engine.OpenRequest) { r.Token, r.Services, r.ID = "ci", globs, "r1" }
		}
		_, err := w.e.Open(t.Context(), request(confined("basket", "shop-*")))
		require.Equal(t, gatekeeper.CodeRefused, gatekeeper.CodeOf(err))
		require.ErrorContains(t, err, "the token ci is not for service checkout")
		ids, err := w.journal.List(t.Context(), gatekeeper.Listing{Limit: 10})
		require.NoError(t, err)
		require.Empty(t, ids)

		r, err := w.e.Open(t.Context(), request(confined("check*")))
		require.NoError(t, err)
		require.Equal(t, "r1", r.ID)
		_, err = w.e.Open(t.Context(), request(confined("basket")))
		require.Equal(t, gatekeeper.CodeRefused, gatekeeper.CodeOf(err), "nor attaches to what is open")
		_, err = w.e.Open(t.Context(), request(func(r *engine.OpenRequest) { r.ID = "r1" }))
		require.NoError(t, err, "the same request of somebody else")
	})
}
