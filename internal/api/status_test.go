package api

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

func TestStatusIsAlwaysOneWordAndASentence(t *testing.T) {
	r := gatekeeper.Release{ID: "r1", State: gatekeeper.Watching}
	r.Service, r.Version, r.Environment = "shop", "2", "production"
	require.Equal(t, Status{"r1", "watching", "shop 2 in production is watching"}, statusOf(r))
	r.State, r.Hold = gatekeeper.Holding, &gatekeeper.Held{Says: "a freeze asks to hold"}
	require.Equal(t, Status{"r1", "held", "shop 2 in production is held: a freeze asks to hold"}, statusOf(r))
	r.State, r.Outcome, r.Why = gatekeeper.Ended, gatekeeper.OutcomeRolledBack, "well again"
	require.Equal(t, Status{"r1", "rolled_back", "shop 2 in production: rolled_back, well again"}, statusOf(r))
}

func TestStatusOverTheAPI(t *testing.T) {
	f := serve(t, Config{Engine: newScripted()})
	require.Equal(t, 404, f.problem("GET", "/api/v1/releases/none/status", "").Status)
}
