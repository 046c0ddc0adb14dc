package rehearsal

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
	"github.com/gatekeeper-engine/gatekeeper/engine"
	"github.com/gatekeeper-engine/gatekeeper/internal/memory"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

const (
	look      = 15 * time.Second    // how often is looked whether every release is closed
	farthest  = 14 * 24 * time.Hour // of virtual time; every release has ended by its own deadlines before
	maxEvents = 10_000
)

// Run plays a script to its end: everything in it has happened and every release is closed, or
// two weeks are over. An error is one of the script or of Gatekeeper itself; what the engine refuses is
// part of the story. A script whose ctx ends is given up.
func Run(ctx context.Context, s Script) (Story, error) {
	if s.Start.IsZero() {
		s.Start = Epoch
	}
	if s.Start.Before(Epoch) {
		return Story{}, gatekeeper.Errorf(gatekeeper.CodeInvalid, "Leave the start out, or let it be later.",
			"releases can't be rehearsed at %s: the earliest instant is %s", s.Start.Format(time.RFC3339), Epoch.Format(time.RFC3339))
	}
	var story Story
	var failed error
	over := ctx.Done() // of the world outside of the bubble, so it can be asked but not waited for
	err := virtually(func() {
		inside, cancel := context.WithCancel(context.Background())
		defer cancel()
		p := &play{script: s, ctx: inside, stage: newStage(s.Start), journal: memory.New(), story: Story{Start: s.Start}}
		failed = p.run(func() bool { return closed(over) })
		story = p.story
	})
	return story, errors.Join(err, failed)
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// play is a script under way.
type play struct {
	script  Script
	ctx     context.Context
	stage   *stage
	journal *memory.Journal
	cfg     engine.Config
	deeds   sync.WaitGroup

	mu     sync.Mutex
	engine *engine.Engine
	stop   func() error
	story  Story
}

func (p *play) run(interrupted func() bool) error {
	if err := p.configure(); err != nil {
		return err
	}
	events, err := p.events()
	if err != nil {
		return err
	}
	if len(events) == 0 {
		return nil
	}
	if events[0].at < -lead {
		return gatekeeper.Errorf(gatekeeper.CodeInvalid, "", "the script begins %s before its time 0, more than %s", -events[0].at, lead)
	}
	settled(p.script.Start.Add(events[0].at))
	if err := p.boot(); err != nil {
		return err
	}
	err = p.through(events, interrupted)
	p.mu.Lock()
	stop := p.stop
	p.mu.Unlock()
	err = errors.Join(err, stop())
	p.deeds.Wait()
	p.story.End = time.Now().UTC()
	return errors.Join(err, p.tell())
}

// through lets every event happen at its time, and then waits until all releases are closed.
func (p *play) through(events []event, interrupted func() bool) error {
	for _, e := range events {
		settled(p.script.Start.Add(e.at))
		if interrupted() {
			return context.Canceled
		}
		if e.beside {
			p.deeds.Go(func() { _ = e.do() }) // what it was told is in the story
		} else if err := e.do(); err != nil {
			return err
		}
	}
	for end := p.script.Start.Add(farthest); time.Now().Before(end); settled(time.Now().Add(look)) {
		settled(time.Now())
		ids, err := p.journal.List(p.ctx, gatekeeper.Listing{Open: true, Limit: 1})
		if err != nil || len(ids) == 0 {
			return err
		}
		if interrupted() {
			return context.Canceled
		}
	}
	return nil
}

func (p *play) configure() error {
	specs := make([]actions.Spec, len(p.script.Actions))
	kinds := map[string]string{}
	for i, spec := range p.script.Actions {
		specs[i] = spec.Scripted(p.stage.open(spec))
		kinds[spec.Name] = spec.Connection
	}
	registry, err := actions.NewRegistry(specs...)
	if err != nil {
		return err
	}
	p.cfg = engine.Config{
		Backends:    map[string]rules.Querier{},
		Actions:     registry,
		Connections: map[string]actions.Connection{},
		Phase:       func(string, string, string, time.Duration) time.Duration { return p.script.Phase },
	}
	asked := &backend{inner: p.script.Backend, start: p.script.Start, faults: p.script.Faults}
	p.cfg.Backends[""] = asked
	for i, f := range p.script.Freezes {
		freeze, err := p.freeze(i, f)
		if err != nil {
			return err
		}
		p.cfg.Freezes = append(p.cfg.Freezes, freeze)
	}
	for i := range p.script.Releases {
		file, err := rules.Load(*p.script.Releases[i].Request.Bundle)
		if err != nil {
			return err
		}
		p.cfg.Backends[file.Backend] = asked
		for _, rung := range file.Rollback {
			if rung.Connection != "" {
				p.cfg.Connections[rung.Connection] = actions.Connection{Name: rung.Connection, Kind: kinds[rung.Action]}
			}
		}
	}
	return nil
}

// freeze writes a span as the engine's schedule of freezes has it.
func (p *play) freeze(i int, f Freeze) (engine.Freeze, error) {
	if f.To <= f.From || f.From%time.Minute != 0 || f.To%time.Minute != 0 {
		return engine.Freeze{}, gatekeeper.Errorf(gatekeeper.CodeInvalid, "Give a from and a later to, both in whole minutes.", "freeze %d can't be from %s to %s", i+1, f.From, f.To)
	}
	from := p.script.Start.Add(f.From).UTC()
	return engine.Freeze{
		Name:          fmt.Sprintf("freeze %d", i+1),
		Schedule:      fmt.Sprintf("%d %d %d %d *", from.Minute(), from.Hour(), from.Day(), int(from.Month())),
		Duration:      f.To - f.From,
		HoldRollbacks: f.HoldRollbacks,
	}, nil
}

// boot starts a Gatekeeper on the journal; one before it has lost it.
func (p *play) boot() error {
	cfg := p.cfg
	cfg.Journal = p.journal
	e, err := engine.New(cfg)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(p.ctx)
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	settled(time.Now())
	if err := e.Ready(); err != nil {
		cancel()
		return errors.Join(err, <-done)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.engine = e
	p.stop = sync.OnceValue(func() error { cancel(); return <-done })
	return nil
}

// kill ends the engine as kill -9 would: nothing more of it reaches the journal.
func (p *play) kill() error {
	p.journal = p.journal.Reopen()
	if err := p.stop(); err != nil && !errors.Is(err, gatekeeper.ErrFenced) {
		return err
	}
	return nil
}

// now gives the engine that runs now.
func (p *play) now() *engine.Engine {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.engine
}

// tell reads from the journal what happened.
func (p *play) tell() error {
	for i, told := range p.story.Releases {
		facts, err := p.journal.Facts(p.ctx, told.ID)
		if err != nil && !errors.Is(err, gatekeeper.ErrNotFound) {
			return err
		}
		p.story.Releases[i].Facts = facts
	}
	return nil
}
