package alertmanager

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gatekeeper-engine/gatekeeper"
)

// Sender keeps the alerts of releases and sends them. [Sender.Tell] may be called concurrently
// and before, during and after [Sender.Run].
type Sender struct {
	book    book
	peers   []*peer
	log     *slog.Logger
	dropped prometheus.Counter
}

// New gives a sender, or an error that says which setting can't work. It asks no Alertmanager.
// reg may be nil.
func New(c Config, log *slog.Logger, reg prometheus.Registerer) (*Sender, error) {
	c = c.withDefaults()
	if err := c.Validate(); err != nil {
		return nil, err
	}
	clients := make([]*http.Client, len(c.Alertmanagers))
	for i, one := range c.Alertmanagers {
		client, err := one.New("alertmanager")
		if err != nil {
			return nil, err
		}
		clients[i] = client
	}
	return newSender(c, clients, log, reg)
}

func newSender(c Config, clients []*http.Client, log *slog.Logger, reg prometheus.Registerer) (*Sender, error) {
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "gatekeeper", Subsystem: "alertmanager", Name: name, Help: help}
	}
	counters := counters{
		sent:   prometheus.NewCounterVec(counter("alerts_sent_total", "Alerts that an Alertmanager took, resends among them."), []string{"alertmanager"}),
		errors: prometheus.NewCounterVec(counter("errors_total", "Requests that an Alertmanager did not take as a whole."), []string{"alertmanager"}),
	}
	s := &Sender{
		book:    book{alerts: map[id]*alert{}, external: c.ExternalURL},
		log:     log,
		dropped: prometheus.NewCounter(counter("alerts_dropped_total", "Alerts dropped because too many stood at once.")),
	}
	for i, one := range c.Alertmanagers {
		base, err := one.Base()
		if err != nil {
			return nil, err
		}
		s.peers = append(s.peers, newPeer(base, clients[i], &s.book, c, counters, log))
	}
	if reg == nil {
		return s, nil
	}
	return s, errors.Join(reg.Register(counters.sent), reg.Register(counters.errors), reg.Register(s.dropped))
}

// Tell brings the alerts of r up to date after f and returns at once; Run sends them. It must be
// called with every fact, for an alert ends when a later fact says so, and once with each open
// release when Gatekeeper starts, for nothing of this is kept on disk. When more than 4096 alerts
// stand the oldest is dropped, counted and logged.
func (s *Sender) Tell(r gatekeeper.Release, f gatekeeper.Fact) {
	if len(s.peers) == 0 {
		return
	}
	if dropped := s.book.update(time.Now(), r, f); dropped > 0 {
		s.dropped.Add(float64(dropped))
		s.log.Error("too many alerts stand at once: the oldest were dropped and people are not told of them", "dropped", dropped)
	}
	for _, p := range s.peers {
		select {
		case p.wake <- struct{}{}:
		default: // it is awake already and will see this too
		}
	}
}

// Run sends until ctx ends, to each Alertmanager by itself, so that one that hangs delays no
// other. Before it returns it tries for a moment to send what is new.
func (s *Sender) Run(ctx context.Context) error {
	var all sync.WaitGroup
	for _, p := range s.peers {
		all.Go(func() { p.run(ctx) })
	}
	all.Wait()
	<-ctx.Done() // without Alertmanagers there is nothing else to wait for
	return nil
}
