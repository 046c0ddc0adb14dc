package main

import (
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper/internal/etcd"
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

// A broken key costs the addresses of pictures, not the daemon.
func TestDaemonStartsWithoutTheKeyOfPictures(t *testing.T) {
	var said log
	s, err := etcd.Start(t.Context(), etcd.Options{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	d := &daemon{store: s, log: slog.New(slog.NewTextHandler(&said, nil))}
	key := d.pictureKey(t.Context())
	require.Equal(t, key, d.pictureKey(t.Context()))
	require.Empty(t, said.String())
	_, err = s.Client().Put(t.Context(), "/gatekeeper/v1/secrets/pictures", "broken")
	require.NoError(t, err)
	other := d.pictureKey(t.Context())
	require.Len(t, other, etcd.SecretSize)
	require.NotEqual(t, key, other)
	require.NotEqual(t, make([]byte, etcd.SecretSize), other)
	require.Contains(t, said.String(), "the key of pictures can't be read")
}
