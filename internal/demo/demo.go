// Package demo shows two releases of a small shop: a good one, which passes, and a bad one, which
// is taken back. The shop, its customers and their traffic are made up; the daemon that watches
// them, its journal, its metrics and its flags are the real ones, spoken to by its API.
package demo

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/api"
	"github.com/gatekeeper-engine/gatekeeper/internal/client"
	"github.com/gatekeeper-engine/gatekeeper/internal/timeline"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// The versions that the shop has. The last one is bad.
const (
	first = "v1"
	good  = "v2"
	worse = "v3"
)

const (
	flagKey  = "checkout" // decides which customers get the new version
	warmUp   = 4 * time.Second
	coolDown = 3 * time.Second
	patience = 2 * time.Minute // for one release, which takes about 20 s
)

// health is the health file of both releases.
//
//go:embed health.yml
var health string

// Configuration gives the daemon's configuration for the demo: everything in dir, a free port, and
// the shop scraped every second.
func Configuration(dir, shop string) string {
	return fmt.Sprintf(`listen: 127.0.0.1:0
data_dir: %q
log: {level: error} # what happens to the releases is shown anyway
backends:
  local:
    tsdb:
      scrape:
        - {job: shop, interval: 1s, targets: [%q]}
`, filepath.Join(dir, "data"), shop)
}

// Config is what the demo runs on and where it shows itself.
type Config struct {
	Daemon  *client.Client
	URL     string // of Daemon
	Traffic *Traffic
	Out     io.Writer
	Color   bool // ANSI colours
}

// Run runs both releases and says whether they ended as they should. An error is one of the
// demo's machinery or of ctx.
func Run(ctx context.Context, c Config) (worked bool, err error) {
	s := &script{Config: c, screen: newScreen(c.Out, c.Color)}
	s.introduce()
	if err := s.put(ctx, api.Flag{Key: flagKey, On: first, Off: first}); err != nil {
		return false, err
	}
	if err := s.watch(ctx, time.Now(), warmUp, first); err != nil {
		return false, err
	}
	healthy := act{
		id: "demo-good", from: first, to: good, percentage: 50, want: gatekeeper.OutcomePassed,
		title: "1. A good release: half of the customers get " + good,
	}
	if passed, err := s.play(ctx, healthy); err != nil || !passed {
		return false, err
	}
	s.screen.say("\n%s goes to everybody, and is what the next release returns to.", good)
	bad := act{
		id: "demo-bad", from: good, to: worse, percentage: 100, want: gatekeeper.OutcomeRolledBack,
		title: fmt.Sprintf("2. A bad release: everybody gets %s, which leaks connections and fails more and more", worse),
	}
	if worked, err = s.play(ctx, bad); err != nil || !worked {
		return false, err
	}
	return s.sum(), nil
}

// act is one release of the demo.
type act struct {
	id, title string
	from, to  string // versions

	percentage float64 // of the customers that get the new version while it is watched
	want       gatekeeper.Outcome
}

// script is a demo under way. One goroutine uses it.
type script struct {
	Config
	screen  *screen
	flag    api.Flag
	reached time.Time // when the flag was seen back
	pending time.Time // when the bad version was found pending
}

func (s *script) introduce() {
	s.screen.heading("A shop, its customers, and Gatekeeper")
	s.screen.say("Flag %q of Gatekeeper's flag store decides which version a customer gets.", flagKey)
	s.screen.say("Gatekeeper's API is at %s, the shop's metrics are scraped every second.", s.URL)
	s.screen.say("This health file says when a release is bad and what takes it back:\n")
	for line := range strings.Lines(health) {
		s.screen.say("    %s", strings.TrimRight(line, "\n"))
	}
	s.screen.say("\nAll customers get %s:\n", first)
}

// play runs one release to its end and says whether that is the one it should come to.
func (s *script) play(ctx context.Context, a act) (bool, error) {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	s.screen.heading(a.title)
	// Not enabled, everybody gets Off: the version there was.
	if err := s.put(ctx, api.Flag{Key: flagKey, On: a.to, Off: a.from, Percentage: a.percentage}); err != nil {
		return false, err
	}
	_, err := s.Daemon.Open(ctx, api.OpenBody{
		ID: a.id, Version: a.to, PreviousVersion: a.from, Actor: "demo",
		Bundle: &rules.Bundle{Name: "health.yml", File: health},
	})
	if err != nil {
		return false, err
	}
	r, err := s.follow(ctx, a)
	if err != nil {
		return false, err
	}
	s.screen.say("")
	if r.Outcome != a.want {
		s.screen.bad("%s should have ended as %q and ended as %q: %s", a.to, a.want, r.Outcome, r.Why)
		return false, nil
	}
	if r.Outcome == gatekeeper.OutcomePassed {
		s.flag.Percentage = 100
		err = s.put(ctx, s.flag)
	}
	if err == nil {
		err = s.watch(ctx, r.DeployedAt, coolDown, a.to)
	}
	return true, err
}

// deploy gives the customers the new version and tells Gatekeeper of it, as a pipeline
// does.
func (s *script) deploy(ctx context.Context, a act) error {
	s.flag.Enabled = true
	if err := s.put(ctx, s.flag); err != nil {
		return err
	}
	_, err := s.Daemon.Ask(ctx, a.id, "deployed", api.ByBody{Actor: "demo"})
	return err
}

// put stores the flag, whatever it was before: nobody else changes it but Gatekeeper's rollback.
func (s *script) put(ctx context.Context, f api.Flag) error {
	if s.flag.Key == "" { // the first time
		s.flag.Key = f.Key
	} else {
		now, err := s.Daemon.Flag(ctx, f.Key)
		if err != nil {
			return err
		}
		f.Version = now.Version
	}
	f.Description = "which version of the shop a customer gets"
	f.Variants = map[string]any{first: first, good: good, worse: worse}
	stored, err := s.Daemon.PutFlag(ctx, f, api.ByBody{Actor: "demo"})
	if err == nil {
		s.flag = stored
	}
	return err
}

// follow deploys, then shows the release's facts and the customers' errors as they come, until it
// is closed.
func (s *script) follow(ctx context.Context, a act) (gatekeeper.Release, error) {
	ctx, stop := context.WithCancel(ctx)
	facts, ended, gone := make(chan gatekeeper.Fact), make(chan error, 1), make(chan struct{})
	go func() {
		defer close(gone)
		ended <- s.Daemon.Follow(ctx, a.id, 0, patience, func(f gatekeeper.Fact) error {
			select {
			case facts <- f:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	defer func() {
		stop()
		<-gone
	}()
	if err := s.deploy(ctx, a); err != nil {
		return gatekeeper.Release{}, err
	}
	s.Traffic.Take()
	lines := timeline.New(s.Out, a.id, timeline.Options{Color: s.Color, Location: time.Local})
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		select {
		case f := <-facts:
			s.screen.fact()
			if err := lines.Add(f); err != nil {
				return gatekeeper.Release{}, err
			}
			s.note(a, f)
		case now := <-second.C:
			s.screen.traffic(since(lines.Release(), now), a.to, s.Traffic.Take())
		case err := <-ended:
			return lines.Release(), err
		}
	}
}

// note remembers the instants that the sum is made of.
func (s *script) note(a act, f gatekeeper.Fact) {
	if a.to != worse {
		return
	}
	switch b := f.Body.(type) {
	case gatekeeper.Judged:
		if p := b.Track.Pending(); s.pending.IsZero() && !p.IsZero() {
			s.pending = f.At
		}
	case gatekeeper.Reached:
		s.reached = f.At
	default:
	}
}

// watch shows the customers' errors for a while, by the clock that began at start.
func (s *script) watch(ctx context.Context, start time.Time, d time.Duration, version string) error {
	s.Traffic.Take()
	end := time.NewTimer(d)
	defer end.Stop()
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		select {
		case now := <-second.C:
			s.screen.traffic(now.Sub(start), version, s.Traffic.Take())
		case <-end.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sum says what the customers saw of the bad version, and whether they were rid of it once the
// flag was back.
func (s *script) sum() bool {
	seen := s.Traffic.Seen(worse)
	s.screen.heading("What the customers saw")
	s.screen.say("%d requests were answered by %s, and %d of them failed.", seen.Requests, worse, seen.Failed)
	s.screen.say("first error → pending %s · flag back %s after the first error",
		timeline.Span(s.pending.Sub(seen.FirstFailed)), timeline.Span(s.reached.Sub(seen.FirstFailed)))
	if seen.LastAsked.After(s.reached) {
		s.screen.bad("%s still answered a request that was sent after the flag was back.", worse)
		return false
	}
	s.screen.good("No request that was sent after the flag was back was answered by %s.", worse)
	return true
}

// since gives the time that a release's timeline counts.
func since(r gatekeeper.Release, now time.Time) time.Duration {
	switch {
	case !r.DeployedAt.IsZero():
		return now.Sub(r.DeployedAt)
	case !r.OpenedAt.IsZero():
		return now.Sub(r.OpenedAt)
	}
	return 0
}

// Stay says how to look around while everything stays up, and keeps it up until ctx ends.
func Stay(ctx context.Context, c Config) {
	program := os.Args[0]
	s := newScreen(c.Out, c.Color)
	s.heading("It stays up until you press Ctrl-C")
	s.say("The API is at %s. Try, in another terminal:\n", c.URL)
	s.say("    export GATEKEEPER_URL=%s", c.URL)
	for _, try := range []string{"release list", "release show demo-bad", "release show demo-good -o yaml", "flag get " + flagKey} {
		s.say("    %s %s", program, try)
	}
	<-ctx.Done()
}
