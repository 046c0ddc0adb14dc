package etcd

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Whoever asks for a secret gets the same one, before and after a restart; a broken one is told.
func TestSecret(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	first, err := Secret(t.Context(), s.Client(), "pictures")
	require.NoError(t, err)
	require.Len(t, first, SecretSize)
	other, err := Secret(t.Context(), s.Client(), "others")
	require.NoError(t, err)
	require.NotEqual(t, first, other)
	require.NoError(t, s.Close())

	s = start(t, dir)
	again, err := Secret(t.Context(), s.Client(), "pictures")
	require.NoError(t, err)
	require.Equal(t, first, again)
	report, err := Verify(t.Context(), s.Client(), nil)
	require.NoError(t, err)
	require.Empty(t, report.Faults)

	_, err = s.Client().Put(t.Context(), secretRoot+"pictures", "no seal on this")
	require.NoError(t, err)
	_, err = Secret(t.Context(), s.Client(), "pictures")
	require.ErrorContains(t, err, "pictures")
	report, err = Verify(t.Context(), s.Client(), nil)
	require.NoError(t, err)
	require.Len(t, report.Faults, 1)
}
