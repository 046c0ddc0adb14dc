package kubetest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestControlPlaneStartsAndStops(t *testing.T) {
	assets, ok := Assets()
	if !ok {
		t.Skip("make test-kubernetes runs this")
	}
	c, err := Start(assets)
	require.NoError(t, err)
	c.Stop()
	for _, p := range c.processes {
		require.True(t, p.ended(), p.name)
	}
	require.NoDirExists(t, c.dir)

	_, err = Start(t.TempDir())
	require.ErrorContains(t, err, "etcd")
	t.Setenv("KUBEBUILDER_ASSETS", t.TempDir())
	_, ok = Assets()
	require.False(t, ok, "what envtest brings is not all")
}
