package etcd

import (
	"bytes"
	"log/slog"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// lines collects what is logged, from any goroutine.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestStartAndCloseAreQuiet(t *testing.T) {
	var said lines
	s, err := Start(t.Context(), Options{Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(&said, nil))})
	require.NoError(t, err)
	require.Empty(t, said.String(), "a new store is no news")
	require.NoError(t, s.Close())
	require.Empty(t, said.String(), "listeners that close are no news")
}
