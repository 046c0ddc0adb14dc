package api

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/gatekeeper-engine/gatekeeper/internal/retention"
)

// Store is what the API needs of the store behind the journal. Snapshot gives its state at one
// instant with a checksum at the end, Prune removes old releases (see [retention.Prune]); errors carry
// their code.
type Store interface {
	Snapshot(ctx context.Context) (io.ReadCloser, error)
	Prune(ctx context.Context, before time.Time, dryRun bool) (retention.Report, error)
}

func (s *server) registerStore(api huma.API) {
	if s.Store == nil {
		return
	}
	s.registerPrune(api)
	op := s.operation("snapshot-store", http.MethodGet, "/store/snapshot", "Take a snapshot of the store", ScopeOperate, http.StatusServiceUnavailable)
	op.Description = "The state of the store at one instant: etcd's database followed by its SHA-256, as etcdctl snapshot save writes it. It holds every release, flag, audit record and pinned health file. An answer whose checksum does not fit was cut off."
	op.Responses = map[string]*huma.Response{"200": {
		Description: "The snapshot.",
		Content: map[string]*huma.MediaType{
			"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}},
		},
	}}
	huma.Register(api, op, func(ctx context.Context, _ *struct{}) (*huma.StreamResponse, error) {
		if err := everywhere(ctx, "a snapshot"); err != nil {
			return nil, err
		}
		in, err := s.Store.Snapshot(ctx)
		if err != nil {
			return nil, problemOf(err)
		}
		return &huma.StreamResponse{Body: func(hctx huma.Context) { s.sendSnapshot(hctx, in) }}, nil
	})
}

// sendSnapshot sends a snapshot for as long as its reader goes on reading. One that breaks off
// breaks the connection too, so that nobody takes it for a whole one.
func (s *server) sendSnapshot(hctx huma.Context, in io.ReadCloser) {
	defer in.Close()
	_, w := humago.Unwrap(hctx)
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Cache-Control", "no-store")
	if _, err := io.CopyBuffer(patient{w, http.NewResponseController(w)}, onlyReader{in}, make([]byte, 256<<10)); err != nil {
		s.Log.Warn("a snapshot of the store broke off", "err", err)
		panic(http.ErrAbortHandler)
	}
}

// patient gives every piece that is written its own time.
type patient struct {
	w  io.Writer
	rc *http.ResponseController
}

// Write sends a piece.
func (p patient) Write(b []byte) (int, error) {
	now := time.Now()
	if err := p.rc.SetReadDeadline(now.Add(2 * sendTimeout)); err != nil { // or the request would be cancelled
		return 0, err
	}
	if err := p.rc.SetWriteDeadline(now.Add(sendTimeout)); err != nil {
		return 0, err
	}
	return p.w.Write(b)
}

// onlyReader hides what else a reader can do, so that it is read in pieces.
type onlyReader struct{ io.Reader }
