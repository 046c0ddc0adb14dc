package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/gatekeeper-engine/gatekeeper"
)

const (
	maxStreams   = 256              // streams open at once
	sendTimeout  = 10 * time.Second // for one event
	alive        = 10 * time.Second // between comments that show a reader that the daemon lives
	settle       = time.Second      // until what was committed while a watch began is read again
	goneSettle   = 250 * time.Millisecond
	retryAfterMS = 1000 // what a reader waits before it comes back
)

type factsInput struct {
	ID   string `path:"id" maxLength:"100"`
	Last string `header:"Last-Event-ID" doc:"The seq of the last fact that the reader has: the stream goes on after it."`
}

type changesInput struct {
	Last  string `header:"Last-Event-ID" doc:"The revision of the last change that the reader has; the changes of that revision come again."`
	After int64  `query:"after" default:"-1" minimum:"-1" doc:"For a first request: only changes of later revisions; -1: from now on."`
}

func (s *server) registerEvents(api huma.API) {
	facts := s.operation("follow-release", http.MethodGet, "/releases/{id}/events", "Follow a release's facts as they come", ScopeRead,
		http.StatusNotFound, http.StatusServiceUnavailable)
	facts.Description = "Server-sent events named fact with the fact's seq as id. The stream ends after the closed fact."
	facts.Responses = eventResponse(api, reflect.TypeFor[gatekeeper.Fact](), "fact")
	huma.Register(api, facts, s.followRelease)

	changes := s.operation("follow-all", http.MethodGet, "/events", "Follow everything that happens", ScopeRead,
		http.StatusGone, http.StatusServiceUnavailable)
	changes.Description = "Server-sent events named change with the journal's revision as id. 410: the journal no longer holds changes that old; read the releases and start from now."
	changes.Responses = eventResponse(api, reflect.TypeFor[gatekeeper.Change](), "change")
	huma.Register(api, changes, s.followAll)
}

func eventResponse(api huma.API, t reflect.Type, name string) map[string]*huma.Response {
	return map[string]*huma.Response{"200": {
		Description: "A stream of events whose data is JSON of this schema.",
		Content: map[string]*huma.MediaType{
			"text/event-stream": {Schema: api.OpenAPI().Components.Schemas.Schema(t, true, name)},
		},
	}}
}

func lastEvent(header string, fallback int64) (int64, error) {
	if header == "" {
		return fallback, nil
	}
	n, err := strconv.ParseInt(header, 10, 64)
	if err != nil {
		return 0, newProblem(http.StatusUnprocessableEntity, fmt.Sprintf("the header Last-Event-ID must be a number, not %q", header))
	}
	return n, nil
}

// take reserves one of the streams there may be at once.
func (s *server) take() (release func(), err error) {
	select {
	case s.streams <- struct{}{}:
		return func() { <-s.streams }, nil
	default:
		return nil, refusal(http.StatusServiceUnavailable, "end some, or poll /releases/{id}", fmt.Sprintf("%d streams are open already", maxStreams))
	}
}

// followRelease sends the facts of one release after the one that the reader has.
func (s *server) followRelease(ctx context.Context, in *factsInput) (*huma.StreamResponse, error) {
	last, err := lastEvent(in.Last, 0)
	if err != nil {
		return nil, err
	}
	if err := s.mine(ctx, in.ID); err != nil {
		return nil, err
	}
	facts, err := s.Engine.Facts(ctx, in.ID)
	if err != nil {
		return nil, problemOf(err)
	}
	release, err := s.take()
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		defer release()
		out, err := openStream(hctx)
		if err != nil {
			s.Log.Debug("a stream could not begin", "release", in.ID, "error", err)
			return
		}
		if err := s.sendFacts(hctx.Context(), out, in.ID, facts, last); err != nil {
			s.Log.Debug("a stream ended early", "release", in.ID, "error", err)
		}
	}}, nil
}

// sendFacts sends facts, then those that come. A change wakes it; what it sends is always read
// from the journal in order, so a change missed between reading and watching is only late.
func (s *server) sendFacts(ctx context.Context, out *stream, id string, facts []gatekeeper.Fact, last int64) error {
	ctx, stop := s.streaming(ctx)
	defer stop()
	changes := s.watch(ctx, -1)
	tick := time.NewTimer(settle)
	defer tick.Stop()
	for {
		for _, f := range facts {
			if f.Seq <= last {
				continue
			}
			if err := out.event(f.Seq, "fact", f); err != nil {
				return err
			}
			last = f.Seq
		}
		if n := len(facts); n > 0 && facts[n-1].Body.Kind() == gatekeeper.KindClosed {
			return nil
		}
		var err error
		if facts, err = s.nextFacts(ctx, out, id, last, changes, tick); err != nil {
			return err
		}
	}
}

// nextFacts waits for something new about a release.
func (s *server) nextFacts(ctx context.Context, out *stream, id string, last int64, changes <-chan watched, tick *time.Timer) ([]gatekeeper.Fact, error) {
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case c, ok := <-changes:
			switch {
			case !ok:
				return nil, errors.New("the watch ended")
			case c.err != nil:
				return nil, c.err
			case c.Release != id || c.Fact.Seq <= last:
				continue
			case c.Fact.Seq == last+1:
				return []gatekeeper.Fact{c.Fact}, nil
			}
			return s.Engine.Facts(ctx, id)
		case <-tick.C:
			tick.Reset(alive)
			if err := out.alive(); err != nil {
				return nil, err
			}
			return s.Engine.Facts(ctx, id)
		}
	}
}

// followAll sends every change after the one that the reader has.
func (s *server) followAll(ctx context.Context, in *changesInput) (*huma.StreamResponse, error) {
	// The changes of one commit share a revision, and the reader may have got only some of them:
	// after a broken stream the last revision's come again, which their seq tells.
	last, err := lastEvent(in.Last, in.After+1)
	if err != nil {
		return nil, err
	}
	after := last - 1
	release, err := s.take()
	if err != nil {
		return nil, err
	}
	ctx, stop := s.streaming(ctx)
	changes := s.confined(ctx, s.watch(ctx, after))
	// A watch that can't begin says so at once: then the answer is an error, not an empty stream.
	var first *watched
	select {
	case c, ok := <-changes:
		if ok && c.err != nil {
			stop()
			release()
			return nil, problemOf(c.err)
		}
		if ok {
			first = &c
		}
	case <-time.After(goneSettle):
	}
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		defer release()
		defer stop()
		out, err := openStream(hctx)
		if err == nil {
			err = sendChanges(ctx, out, first, changes)
		}
		if err != nil {
			s.Log.Debug("a stream ended early", "error", err)
		}
	}}, nil
}

func sendChanges(ctx context.Context, out *stream, first *watched, changes <-chan watched) error {
	if first != nil {
		if err := out.event(first.Revision, "change", first.Change); err != nil {
			return err
		}
	}
	tick := time.NewTicker(alive)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case c, ok := <-changes:
			switch {
			case !ok:
				return errors.New("the watch ended")
			case c.err != nil:
				return c.err // the reader comes back and is told that it is gone
			}
			if err := out.event(c.Revision, "change", c.Change); err != nil {
				return err
			}
		case <-tick.C:
			if err := out.alive(); err != nil {
				return err
			}
		}
	}
}

// streaming gives a context that ends with the request's or with all streams.
func (s *server) streaming(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := context.WithCancel(ctx)
	detach := context.AfterFunc(s.Streams, stop)
	return ctx, func() { detach(); stop() }
}

// watched is what a watch gives: a change, or why there are no more.
type watched struct {
	gatekeeper.Change
	err error
}

// watch gives the journal's changes until ctx ends, which closes the channel.
func (s *server) watch(ctx context.Context, after int64) <-chan watched {
	out := make(chan watched)
	go func() {
		defer close(out)
		for c, err := range s.Engine.Watch(ctx, after) {
			select {
			case out <- watched{c, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return out
}

// confined passes on what the caller may know of.
func (s *server) confined(ctx context.Context, changes <-chan watched) <-chan watched {
	who := callerOf(ctx)
	if len(who.services) == 0 {
		return changes
	}
	out, all := make(chan watched), services{}
	go func() {
		defer close(out)
		for c := range changes {
			service := ""
			if c.err == nil {
				service, c.err = all.of(c.Change, func(id string) (gatekeeper.Release, error) { return s.Engine.Release(ctx, id) })
			}
			if errors.Is(c.err, gatekeeper.ErrNotFound) || c.err == nil && !who.sees(service) {
				continue // removed by retention meanwhile, or of others
			}
			select {
			case out <- c:
			case <-ctx.Done():
				return
			}
			if c.err != nil {
				return
			}
		}
	}()
	return out
}

// stream writes server-sent events
// (https://html.spec.whatwg.org/multipage/server-sent-events.html).
type stream struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func openStream(ctx huma.Context) (*stream, error) {
	_, w := humago.Unwrap(ctx)
	s := &stream{w: w, rc: http.NewResponseController(w)}
	if err := s.rc.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would keep events back
	return s, s.send(fmt.Appendf(nil, "retry: %d\n\n", retryAfterMS))
}

func (s *stream) event(id int64, name string, data any) error {
	body, err := json.Marshal(data)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "id: %d\nevent: %s\ndata: %s\n\n", id, name, body)
	return s.send(b.Bytes())
}

func (s *stream) alive() error { return s.send([]byte(": alive\n\n")) }

func (s *stream) send(b []byte) error {
	if err := s.rc.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	if _, err := s.w.Write(b); err != nil {
		return err
	}
	return s.rc.Flush()
}
