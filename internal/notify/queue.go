package notify

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gatekeeper-engine/gatekeeper"
)

const (
	maxQueued = 512              // messages; the oldest goes when there would be more
	patience  = 15 * time.Minute // how long a message is worth being sent
	atLeast   = time.Minute      // that a message gets though it waited long behind others
	lastWords = 3 * time.Second  // at the end, for everything that is left
)

// Counters count what channels send. They are shared by all channels.
type Counters struct{ sent, failed, dropped *prometheus.CounterVec }

// NewCounters registers the counters; reg may be nil.
func NewCounters(reg prometheus.Registerer) (*Counters, error) {
	vec := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "gatekeeper", Subsystem: "notification", Name: name, Help: help},
			[]string{"channel", "name"})
	}
	c := &Counters{
		sent:    vec("messages_sent_total", "Messages that a channel took."),
		failed:  vec("messages_failed_total", "Messages that a channel did not take in the end: people were not told."),
		dropped: vec("messages_dropped_total", "Messages dropped because too many waited."),
	}
	if reg == nil {
		return c, nil
	}
	return c, errors.Join(reg.Register(c.sent), reg.Register(c.failed), reg.Register(c.dropped))
}

// Channel is what every channel is made with.
type Channel struct {
	Kind        string   // "slack"
	Name        string   // the operator's, among the channels of the kind
	ExternalURL string   // where people reach Gatekeeper; "": messages have no link
	Pictures    Pictures // nil: messages have none
	Counters    *Counters
	Log         *slog.Logger
}

// Queue holds the messages of one channel and sends them one after the other, the oldest first.
// [Queue.Push] may be called concurrently and before and during [Queue.Run].
type Queue[M any] struct {
	send    func(ctx context.Context, log *slog.Logger, m M) error
	channel Channel
	log     *slog.Logger
	wake    chan struct{}
	closed  chan struct{}

	mu      sync.Mutex
	waiting []queued[M]
}

type queued[M any] struct {
	message M
	at      time.Time
	log     *slog.Logger // names the release
}

// NewQueue gives a queue; send tries until the message was taken, can't be taken, or ctx ends. Its
// log names the channel and the message's release.
func NewQueue[M any](c Channel, send func(ctx context.Context, log *slog.Logger, m M) error) *Queue[M] {
	return &Queue[M]{send: send, channel: c, log: c.Log.With("channel", c.Kind, "name", c.Name), wake: make(chan struct{}, 1), closed: make(chan struct{})}
}

// Push puts a message about r at the end and returns at once. Where 512 wait already the oldest is
// dropped, counted and logged.
func (q *Queue[M]) Push(r gatekeeper.Release, m M) {
	next := queued[M]{m, time.Now(), q.log.With("release", r.ID, "service", r.Service, "version", r.Version)}
	q.mu.Lock()
	q.waiting = append(q.waiting, next)
	full, oldest := len(q.waiting) > maxQueued, q.waiting[0]
	if full {
		q.waiting = q.waiting[1:]
	}
	q.mu.Unlock()
	if full {
		q.channel.Counters.dropped.WithLabelValues(q.channel.Kind, q.channel.Name).Inc()
		oldest.log.Error("too many messages wait: the oldest was dropped and people are not told of it")
	}
	select {
	case q.wake <- struct{}{}:
	default: // it is awake already and will see this too
	}
}

// Close lets Run end once every message that waits was sent or has become too old. It is called
// once, and nothing is pushed after it.
func (q *Queue[M]) Close() { close(q.closed) }

// Run sends until ctx ends. Then it tries for a moment to send what is left: what was decided a
// moment ago is told by nobody else. After [Queue.Close] it takes the time that this takes.
func (q *Queue[M]) Run(ctx context.Context) error {
	sending, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(lastWords):
			cancel()
		case <-sending.Done():
		}
	})
	defer stop()
	for {
		q.sendAll(sending)
		select {
		case <-q.wake:
		case <-q.closed:
			q.sendAll(sending)
			return nil
		case <-ctx.Done():
			q.sendAll(sending)
			return nil
		}
	}
}

func (q *Queue[M]) sendAll(ctx context.Context) {
	for {
		next, ok := q.next()
		if !ok {
			return
		}
		q.sendOne(ctx, next)
	}
}

func (q *Queue[M]) next() (queued[M], bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		return queued[M]{}, false
	}
	next := q.waiting[0]
	q.waiting = q.waiting[1:]
	return next, true
}

func (q *Queue[M]) sendOne(ctx context.Context, m queued[M]) {
	until := m.at.Add(patience)
	if soonest := time.Now().Add(atLeast); until.Before(soonest) {
		until = soonest
	}
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	if err := q.send(ctx, m.log, m.message); err != nil {
		q.channel.Counters.failed.WithLabelValues(q.channel.Kind, q.channel.Name).Inc()
		m.log.Error("a message could not be sent: people are not told by this channel", "err", err)
		return
	}
	q.channel.Counters.sent.WithLabelValues(q.channel.Kind, q.channel.Name).Inc()
}
