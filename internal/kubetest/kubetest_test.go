package kubetest

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestControlPlaneStartsAndStops(t *testing.T) {
	assets := os.Getenv(Assets)
	if assets == "" {
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
}
