package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// The daemon's address is a page that shows the release which the command line has opened.
func TestDaemonServesPages(t *testing.T) {
	dir := t.TempDir()
	health := filepath.Join(dir, "health.yml")
	require.NoError(t, os.WriteFile(health, []byte(withFlag), 0o600))
	stop, said := begin(t, dir, "")
	gk(t, 0, "flag", "set", "new-checkout", "--enabled")
	gk(t, 0, "release", "open", "--version", "2", "--previous-version", "1", "-f", health, "--id", "r1")
	for path, says := range map[string]string{"/": `href="./releases/r1"`, "/releases/r1": "The new version is not seen yet.", "/kill-switch": "Turn it on"} {
		res, err := http.Get(os.Getenv("GATEKEEPER_URL") + path)
		require.NoError(t, err)
		text, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, http.StatusOK, res.StatusCode, "%s", text)
		require.Contains(t, string(text), says)
	}
	require.Equal(t, 0, stop(), "%s", said)
}
