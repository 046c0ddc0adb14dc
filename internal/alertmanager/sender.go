package alertmanager

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/httpclient"
	"github.com/gatekeeper-engine/gatekeeper/internal/notify"
)

// Sender keeps the alerts of releases and sends them. [Sender.Tell] may be called concurrently
// and before, during and after [Sender.Run].
type Sender struct {
	book     book
	peers    notify.Group
	config   Config
	log      *slog.Logger
	counters counters
	dropped  prometheus.Counter
}

// New gives a sender, or an error that says which setting can't work. It asks no Alertmanager.
// reg may be nil.
func New(c Config, log *slog.Logger, reg prometheus.Registerer) (*Sender, error) {
	c = c.withDefaults()
	if err := c.Validate(); err != nil {
		return nil, err
	}
	s, err := newSender(c, log, reg)
	if err != nil {
		return nil, err
	}
	use, err := s.Prepare(c.Alertmanagers)
	if err != nil {
		return nil, err
	}
	use()
	return s, nil
}

func newSender(c Config, log *slog.Logger, reg prometheus.Registerer) (*Sender, error) {
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "gatekeeper", Subsystem: "alertmanager", Name: name, Help: help}
	}
	s := &Sender{
		book:   book{alerts: map[id]*alert{}, channel: notify.Channel{ExternalURL: c.ExternalURL, Pictures: c.Pictures}},
		config: c,
		log:    log,
		counters: counters{
			sent:   prometheus.NewCounterVec(counter("alerts_sent_total", "Alerts that an Alertmanager took, resends among them."), []string{"alertmanager"}),
			errors: prometheus.NewCounterVec(counter("errors_total", "Requests that an Alertmanager did not take as a whole."), []string{"alertmanager"}),
		},
		dropped: prometheus.NewCounter(counter("alerts_dropped_total", "Alerts dropped because too many stood at once.")),
	}
	if reg == nil {
		return s, nil
	}
	return s, errors.Join(reg.Register(s.counters.sent), reg.Register(s.counters.errors), reg.Register(s.dropped))
}

// Prepare makes ready for other Alertmanagers; use has the alerts sent to them from then on. Those
// that stand go on: an Alertmanager whose settings did not change is kept with what it has got, a
// new one gets them all, and one that is left out gets what is new to it and no more, so that its
// alerts end by themselves. An error, or a use that is not called, changes nothing.
func (s *Sender) Prepare(all []httpclient.Config) (use func(), err error) {
	return s.prepare(all, func(c httpclient.Config) (*http.Client, error) { return c.New("alertmanager") })
}

func (s *Sender) prepare(all []httpclient.Config, client func(httpclient.Config) (*http.Client, error)) (use func(), err error) {
	wanted := make([]notify.Wanted, len(all))
	for i, one := range all {
		wanted[i] = notify.Wanted{Settings: one, Make: func() (notify.Teller, error) {
			c, err := client(one)
			if err != nil {
				return nil, err
			}
			base, err := one.Base()
			if err != nil {
				return nil, err
			}
			return newPeer(base, c, &s.book, s.config, s.counters, s.log), nil
		}}
	}
	next, err := s.peers.Plan(wanted)
	return func() {
		if s.peers.Empty() {
			s.book.clear() // nobody has kept it up since the last Alertmanager was left out
		}
		s.peers.Replace(next)
	}, err
}

// Tell brings the alerts of r up to date after f and returns at once; Run sends them. It must be
// called with every fact, for an alert ends when a later fact says so, and once with each open
// release when Gatekeeper starts, for nothing of this is kept on disk. When more than 4096 alerts
// stand the oldest is dropped, counted and logged.
func (s *Sender) Tell(r gatekeeper.Release, f gatekeeper.Fact) {
	if s.peers.Empty() {
		return
	}
	if dropped := s.book.update(time.Now(), r, f); dropped > 0 {
		s.dropped.Add(float64(dropped))
		s.log.Error("too many alerts stand at once: the oldest were dropped and people are not told of them", "dropped", dropped)
	}
	s.peers.Tell(r, f)
}

// Run sends until ctx ends, to each Alertmanager by itself, so that one that hangs delays no
// other. Before it returns it tries for a moment to send what is new.
func (s *Sender) Run(ctx context.Context) error { return s.peers.Run(ctx) }
