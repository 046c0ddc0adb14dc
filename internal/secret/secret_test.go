package secret

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

func TestRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte(" s3cret\n"), 0o600))
	t.Setenv("GK_TOKEN", "s3cret-too ")
	for reference, want := range map[string]string{file: "s3cret", "env:GK_TOKEN": "s3cret-too"} {
		got, err := Read(reference)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

func TestReadRefuses(t *testing.T) {
	large := filepath.Join(t.TempDir(), "large")
	require.NoError(t, os.WriteFile(large, []byte("s3cret"+strings.Repeat("x", maxSecret)), 0o600))
	t.Setenv("GK_EMPTY", " ")
	t.Setenv("GK_LARGE", "s3cret"+strings.Repeat("x", maxSecret))
	for reference, says := range map[string]string{
		"/none": "/none", large: "larger than", "env:GK_EMPTY": "GK_EMPTY is empty", "env:GK_NONE": "GK_NONE is empty or not set",
		"env:GK_LARGE": "GK_LARGE is larger", "env:": "names no environment variable", "env:$(id)": "names no environment variable",
	} {
		_, err := Read(reference)
		require.ErrorContains(t, err, says)
		require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(err))
		require.NotContains(t, err.Error(), "s3cret")
	}
}
