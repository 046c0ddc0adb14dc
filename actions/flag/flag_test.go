package flag

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
)

// racing is a flag that somebody else changes before each write.
type racing struct {
	state State
	lost  int // writes still to lose
}

func (r *racing) Read(context.Context, string) (State, error) { return r.state, nil }

func (r *racing) Write(_ context.Context, _ string, s State) (int64, error) {
	if r.lost > 0 {
		r.lost--
		r.state.Version++
	}
	if s.Version != r.state.Version {
		return 0, gatekeeper.Errorf(gatekeeper.CodeConflict, "", "at version %d", r.state.Version)
	}
	s.Version++
	r.state = s
	return s.Version, nil
}

func open(t *testing.T, store Store, with, returnTo string) (actions.Action, error) {
	t.Helper()
	registry, err := actions.NewRegistry(Set(store))
	require.NoError(t, err)
	a, safety, err := registry.Open("flag/set", []byte(with), actions.Binding{Connection: actions.Connection{Name: "flags", Kind: "flags"}, ReturnTo: returnTo})
	if err == nil {
		require.Equal(t, gatekeeper.ByTarget, safety)
	}
	return a, err
}

func TestSettings(t *testing.T) {
	for with, says := range map[string]string{
		`{}`:           "flag",
		`{"flag":"f"}`: "name what to set",
		`{"flag":"f","enabled":false,"restore":true}`: "leave enabled",
		`{"flag":"f","percentage":101}`:               "want 0 to 100",
		`{"flag":"f","enable":false}`:                 "unknown setting",
		`{"flag":"f","enabled":"no"}`:                 "boolean",
	} {
		_, err := open(t, &racing{}, with, "")
		require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(err), with)
		require.ErrorContains(t, err, says)
	}
	_, err := open(t, &racing{}, `{"flag":"f","enabled":false}`, "previous")
	require.Equal(t, gatekeeper.CodeUnsupported, gatekeeper.CodeOf(err))
}

func TestPrepareRefusesAnUnknownVariant(t *testing.T) {
	a, err := open(t, &racing{state: State{Variants: []string{"off", "on"}}}, `{"flag":"f","variant":"blue"}`, "")
	require.NoError(t, err)
	_, err = a.Prepare(t.Context())
	require.ErrorContains(t, err, "off, on")
}

func TestApplyReadsAgainAfterAConflict(t *testing.T) {
	for lost, wins := range map[int]bool{0: true, 2: true, 3: false} {
		store := &racing{state: State{Version: 5, Enabled: true, Variant: "on", Off: "off", Percentage: 40, Variants: []string{"off", "on"}}, lost: lost}
		a, err := open(t, store, `{"flag":"f","enabled":false}`, "")
		require.NoError(t, err)
		target, err := a.Prepare(t.Context())
		require.NoError(t, err)
		_, err = a.Apply(t.Context(), target, "key")
		if !wins {
			require.ErrorIs(t, err, actions.ErrNoEffect)
			require.True(t, store.state.Enabled)
			continue
		}
		require.NoError(t, err)
		require.False(t, store.state.Enabled)
		require.InDelta(t, 40, store.state.Percentage, 0, "only what the settings name is changed")
	}
}

func TestTargetOfANewerVersion(t *testing.T) {
	a, err := open(t, &racing{}, `{"flag":"f","enabled":false}`, "")
	require.NoError(t, err)
	later := gatekeeper.Target{Version: 2, Data: []byte(`{}`)}
	_, err = a.Observe(t.Context(), later)
	require.Error(t, err)
	_, err = a.Apply(t.Context(), later, "key")
	require.ErrorIs(t, err, actions.ErrNoEffect)
}
