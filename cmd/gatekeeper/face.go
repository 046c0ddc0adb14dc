package main

import (
	"context"
	"net/http"
	"sync/atomic"

	"github.com/gatekeeper-engine/gatekeeper/internal/api"
)

// face serves by the configuration of the moment.
type face struct{ now atomic.Pointer[shown] }

// shown is the face of one configuration.
type shown struct {
	http.Handler
	end context.CancelFunc // ends its streams
}

// show makes the face of a configuration; nothing is served by it yet.
func (d *daemon) show(s settings) (*shown, error) {
	streams, end := context.WithCancel(context.Background())
	outside := d.outside
	outside.Tokens, outside.Known, outside.Streams = s.tokens, s.web.Known, streams
	var err error
	if outside.Signed, err = d.signed(s.Webhooks); err != nil {
		end()
		return nil, err
	}
	h, err := api.New(outside)
	if err != nil {
		end()
		return nil, err
	}
	return &shown{h, end}, nil
}

// turn serves by next from now on. Calls under way are finished by the last one; its streams end,
// for their readers come back by themselves, and have to show again who they are.
func (f *face) turn(next *shown) {
	if last := f.now.Swap(next); last != nil {
		last.end()
	}
}

// end ends the streams.
func (f *face) end() { f.now.Load().end() }

// ServeHTTP serves a call.
func (f *face) ServeHTTP(w http.ResponseWriter, r *http.Request) { f.now.Load().ServeHTTP(w, r) }
