package notify

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/gatekeeper-engine/gatekeeper"
)

const maxTold = 4096 // news remembered; the oldest is forgotten first

// Told remembers what was told, so that a fact that is told again, as when a release is taken up
// by another replica, is no news. The zero Told has told nothing. It may be used concurrently.
type Told struct {
	mu    sync.Mutex
	known map[string]bool
	order []string
}

// First says whether n of r was not told before, and remembers it.
func (t *Told) First(r gatekeeper.Release, f gatekeeper.Fact, n News) bool {
	key := fmt.Sprintf("%s %s %d %s", r.ID, n.Event, f.At.UnixNano(), n.Summary)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known[key] {
		return false
	}
	if t.known == nil {
		t.known = map[string]bool{}
	}
	t.known[key] = true
	if t.order = append(t.order, key); len(t.order) > maxTold {
		delete(t.known, t.order[0])
		t.order = t.order[1:]
	}
	return true
}

// Message is news of a release on its way to people.
type Message struct {
	Release gatekeeper.Release
	Fact    gatekeeper.Fact
	News    News
	Link    string // "" where there is none
	Picture *Picture
}

// Messages tells news one by one: each fact that people are told of becomes a message, once.
type Messages struct {
	*Queue[Message]
	filter Filter
	told   Told
}

// NewMessages gives a channel that sends one message for each news.
func NewMessages(c Channel, f Filter, send func(ctx context.Context, log *slog.Logger, m Message) error) *Messages {
	return &Messages{Queue: NewQueue(c, send), filter: f}
}

// Tell takes a fact and the release after it, and returns at once. Facts may be told again.
func (m *Messages) Tell(r gatekeeper.Release, f gatekeeper.Fact) {
	n, ok := About(r, f)
	if !ok || !m.filter.Wants(r, n) || !m.told.First(r, f, n) {
		return
	}
	m.Push(r, Message{Release: r, Fact: f, News: n, Link: Link(m.channel.ExternalURL, r), Picture: m.channel.Picture(r, f)})
}
