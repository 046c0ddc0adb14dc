// Package notifytest is what the tests of every channel begin with: a secret in a file, a
// channel's surroundings, and a release that is told fact by fact.
package notifytest

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/notify"
)

// Secret gives a file that holds a secret.
func Secret(t *testing.T, secret string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(path, []byte(secret+"\n"), 0o600))
	return path
}

// Channel gives what a channel is made with. It logs everything, and people reach Gatekeeper at
// https://gatekeeper.example.
func Channel(t *testing.T, log io.Writer) notify.Channel {
	t.Helper()
	counters, err := notify.NewCounters(nil)
	require.NoError(t, err)
	return notify.Channel{
		Counters: counters, ExternalURL: "https://gatekeeper.example",
		Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

// Teller is a channel.
type Teller interface {
	Tell(r gatekeeper.Release, f gatekeeper.Fact)
	Run(ctx context.Context) error
}

// Run runs a channel; stop ends it, once it has sent what it has.
func Run(t *testing.T, c Teller) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	return func() {
		cancel()
		require.NoError(t, <-done)
	}
}

// Story is a release of shop v2 in production whose facts are told as they happen.
type Story struct {
	t *testing.T

	Channel Teller // who is told
	Release gatekeeper.Release
	Fact    gatekeeper.Fact // the latest
}

// Begin tells that a release was opened, prepared and deployed; its plan sets a flag.
func Begin(t *testing.T, c Teller, id, version string) *Story {
	t.Helper()
	s := &Story{t: t, Channel: c, Release: gatekeeper.Release{ID: id}}
	s.Tell(
		gatekeeper.Opened{Service: "shop", Environment: "production", Version: version, Rungs: []gatekeeper.Rung{{Action: "flag/set"}}},
		gatekeeper.Prepared{Rungs: []gatekeeper.Pinned{{Target: &gatekeeper.Target{Kind: gatekeeper.Set, Says: "flag off"}}}},
		gatekeeper.Deployed{How: "pipeline"},
	)
	return s
}

// Tell has facts happen now.
func (s *Story) Tell(bodies ...gatekeeper.Body) {
	s.t.Helper()
	for _, body := range bodies {
		s.Fact = gatekeeper.Fact{Seq: s.Release.Seq + 1, At: time.Now().UTC(), Body: body}
		var err error
		s.Release, err = s.Release.With(s.Fact)
		require.NoError(s.t, err)
		s.Again()
	}
}

// Again tells the latest fact once more.
func (s *Story) Again() { s.Channel.Tell(s.Release, s.Fact) }

// Direct is a transport that asks a handler without a network, for tests of time.
type Direct struct{ http.Handler }

// RoundTrip has the handler answer.
func (d Direct) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w.Result(), nil
}
