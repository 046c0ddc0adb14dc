package pagerduty

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/notify"
	"github.com/gatekeeper-engine/gatekeeper/internal/secret"
)

const maxOpen = 4096 // alerts remembered; beyond that a release's first one is forgotten

// PagerDuty pages by one integration. Tell may be called concurrently and before, during and
// after Run.
type PagerDuty struct {
	*notify.Queue[event]
	config  Config
	channel notify.Channel
	client  *http.Client

	mu   sync.Mutex
	open map[string]told // by release: what was last triggered and not resolved
}

// told is an alert as it was last sent.
type told struct {
	event   notify.Event
	summary string
	closed  bool // the release is; remembered so that its end is told once
}

// New gives a channel, or an error that says which setting can't work. It asks nobody, but reads
// the file with the key once, so that a missing one is told at start.
func New(c Config, channel notify.Channel) (*PagerDuty, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if _, err := secret.Read(c.RoutingKeyFile); err != nil {
		return nil, err
	}
	client, err := c.http().New("pagerduty")
	if err != nil {
		return nil, err
	}
	return newPagerDuty(c, channel, client), nil
}

func newPagerDuty(c Config, channel notify.Channel, client *http.Client) *PagerDuty {
	channel.Kind, channel.Name = "pagerduty", c.Name
	p := &PagerDuty{config: c, channel: channel, client: client, open: map[string]told{}}
	p.Queue = notify.NewQueue(channel, p.send)
	return p
}

// Run sends until ctx ends; see [notify.Queue.Run].
func (p *PagerDuty) Run(ctx context.Context) error {
	defer p.client.CloseIdleConnections()
	return p.Queue.Run(ctx)
}

// Tell brings the release's alert up to date after f and returns at once. It looks at what stands,
// not at the fact alone, so a fact told twice changes nothing and a lost one is made good by the
// next. An alert about an ending is not resolved: whoever answered the page does that.
func (p *PagerDuty) Tell(r gatekeeper.Release, f gatekeeper.Fact) {
	if !p.config.Serves(r.Service) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	last, open := p.open[r.ID]
	n, stands := p.urgent(r, f)
	switch {
	case stands && open && last.event == n.Event && last.summary == n.Summary && last.closed == r.Closed():
	case stands:
		p.Push(r, trigger(r, n, notify.Link(p.channel.ExternalURL, r), p.channel.Picture(r, f), time.Now()))
		p.open[r.ID] = told{n.Event, n.Summary, r.Closed()}
		p.bound(r.ID)
	case open && last.event == notify.RecoveryUnknown && outlives(r):
		last.closed = r.Closed()
		p.open[r.ID] = last
	case open || p.mayBeOpen(r, f):
		p.Push(r, resolve(r))
		delete(p.open, r.ID)
	}
}

// urgent gives the worst that stands and that this channel tells of: a question to a person first.
func (p *PagerDuty) urgent(r gatekeeper.Release, f gatekeeper.Fact) (notify.News, bool) {
	standing := notify.Standing(r, f)
	for _, event := range []notify.Event{notify.RollbackFailed, notify.RecoveryUnknown, notify.Held, notify.Breached} {
		i := slices.IndexFunc(standing, func(n notify.News) bool { return n.Event == event })
		if i >= 0 && (len(p.config.Events) == 0 || slices.Contains(p.config.Events, event)) {
			return standing[i], true
		}
	}
	return notify.News{}, false
}

// outlives says whether a page about a recovery that nobody knows of still stands, though nothing
// in the release says so any more.
func outlives(r gatekeeper.Release) bool {
	return r.State == gatekeeper.Verifying || r.Outcome == gatekeeper.OutcomeRolledBack
}

// mayBeOpen says whether the release's alert could have been triggered before a restart: what is
// resolved without having been triggered does no harm.
func (p *PagerDuty) mayBeOpen(r gatekeeper.Release, f gatekeeper.Fact) bool {
	switch f.Body.(type) {
	case gatekeeper.Closed:
		return len(r.Breaches) > 0 && r.Decision == nil
	case gatekeeper.Decided:
		return len(r.Breaches) > 0
	}
	return false
}

// bound forgets alerts where there are too many, of closed releases first. An open release's next
// fact sends its alert again.
func (p *PagerDuty) bound(keep string) {
	if len(p.open) <= maxOpen {
		return
	}
	maps.DeleteFunc(p.open, func(id string, t told) bool { return t.closed && id != keep })
	for id := range p.open {
		if len(p.open) <= maxOpen {
			return
		}
		if id != keep {
			delete(p.open, id)
		}
	}
}

func (p *PagerDuty) send(ctx context.Context, log *slog.Logger, e event) error {
	// Read anew for every event: the file may have been changed.
	key, err := secret.Read(p.config.RoutingKeyFile)
	if err != nil {
		return err
	}
	e.RoutingKey = key
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return notify.Post{
		URL: strings.TrimRight(p.config.http().URL, "/") + "/v2/enqueue", Body: body,
		Judge: func(a notify.Answer) (bool, error) { return judge(a, key) },
	}.Send(ctx, p.client, log)
}

// judge reads an answer: 202 is taken, 400 names what is wrong with the event, 429 and 5xx are
// for trying again (https://developer.pagerduty.com/docs/events-api-v2-overview).
func judge(a notify.Answer, key string) (again bool, err error) {
	if again, err = a.Taken(); err == nil || again {
		return again, err
	}
	var says struct {
		Message string   `json:"message"`
		Errors  []string `json:"errors"`
	}
	if json.Unmarshal(a.Body, &says) != nil {
		return false, err
	}
	text := strings.Join(append([]string{says.Message}, says.Errors...), "; ")
	return false, fmt.Errorf("%w: %s", err, notify.Clip(strings.ReplaceAll(text, key, "(the key)"), 300))
}
