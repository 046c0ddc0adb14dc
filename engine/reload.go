package engine

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// terms is the part of the configuration that [Engine.Reload] replaces as a whole. It doesn't change.
type terms struct {
	Backends       map[string]rules.Querier
	DefaultBackend string
	Connections    map[string]actions.Connection
	Plans          map[string][]rules.RungSpec
	HealthFiles    func(name string) (rules.Bundle, error)
	Policy         Policy
	DryRun         bool
	DryRunServices gatekeeper.Globs
	CoolDown       time.Duration
	freezes        []freeze
}

func newTerms(cfg Config) (*terms, error) {
	if _, ok := cfg.Backends[cfg.DefaultBackend]; !ok {
		return nil, gatekeeper.Errorf(gatekeeper.CodeInvalid, "name one of the configured backends as default_backend",
			"there is no metric backend %q: health files that name none could not be judged", cfg.DefaultBackend)
	}
	freezes, err := parseFreezes(cfg.Freezes)
	if err != nil {
		return nil, err
	}
	t := &terms{
		Backends: cfg.Backends, DefaultBackend: cfg.DefaultBackend,
		Connections: cfg.Connections, Plans: cfg.Plans, HealthFiles: cfg.HealthFiles, Policy: cfg.Policy,
		DryRun: cfg.DryRun, DryRunServices: cfg.DryRunServices, CoolDown: cfg.CoolDown, freezes: freezes,
	}
	if t.HealthFiles == nil {
		t.HealthFiles = noHealthFiles
	}
	return t, nil
}

func noHealthFiles(name string) (rules.Bundle, error) {
	return rules.Bundle{}, gatekeeper.Errorf(gatekeeper.CodeNotFound, "send the health file with the request, or set health_files in the daemon's configuration",
		"health file %q was named, but the operator configured no folder of health files", name)
}

// Reload takes from cfg what may change while releases run: Backends, DefaultBackend, Connections,
// Plans, HealthFiles, Policy, DryRun, DryRunServices, Freezes and CoolDown; the rest stays as it
// was. An opening is wholly before or after it. Open releases keep their rules, their backend, their
// plan and their connections until the engine runs again, so a backend that one of them asks can't
// be left out; freezes that hold rollbacks and the cool-down hold for them from now on. Before it is in
// force it is recorded as r. An error changes nothing. Open releases for which something else holds
// now have it noted.
func (e *Engine) Reload(ctx context.Context, cfg Config, r gatekeeper.AuditRecord) error {
	next, err := newTerms(cfg)
	if err != nil {
		return err
	}
	last, err := e.take(next, func() error { return e.Audit(ctx, r) })
	if err != nil {
		return err
	}
	if last.CoolDown != next.CoolDown || !slices.EqualFunc(last.freezes, next.freezes, sameFreeze) {
		e.noteAll(r.By, "the configuration was reloaded: other freezes or another cool-down hold from now on")
	}
	return nil
}

// take has next in force, once that is recorded, and gives what was.
func (e *Engine) take(next *terms, record func() error) (last *terms, err error) {
	e.opens.Lock()
	defer e.opens.Unlock()
	for name := range e.terms.Load().Backends {
		if _, ok := next.Backends[name]; ok {
			continue
		}
		if err := e.spare(name); err != nil {
			return nil, err
		}
	}
	if err := record(); err != nil {
		return nil, gatekeeper.Errorf(gatekeeper.CodeUnavailable, gatekeeper.HintOf(err), "the configuration is not changed, for that can't be recorded: %w", err)
	}
	return e.terms.Swap(next), nil
}

// spare says whether no open release asks a backend.
func (e *Engine) spare(backend string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.ready {
		return gatekeeper.Errorf(gatekeeper.CodeUnavailable, "try again in a moment", "the open releases are being taken up, so it is not known whether one asks the backend %q", backend)
	}
	var asking []string
	for id, u := range e.runs {
		if u.backend == backend {
			asking = append(asking, id)
		}
	}
	if len(asking) == 0 {
		return nil
	}
	slices.Sort(asking)
	return gatekeeper.Errorf(gatekeeper.CodeConflict, "keep it until they are closed, or close them",
		"the backend %q can't be left out: its answers judge the open releases %s", backend, strings.Join(asking, ", "))
}

// TellAgain tells of every open release as it is: to whoever is told by another configuration
// from now on, and may know nothing of what stands. It returns when all of it is told.
func (e *Engine) TellAgain() {
	if e.cfg.Tell == nil {
		return
	}
	var told sync.WaitGroup
	e.each(func(u *run) {
		told.Go(func() {
			_ = u.do(context.Background(), func() error { e.tellAgain(u.r); return nil }) // one that is over was told of
		})
	})
	told.Wait()
}

// tellAgain tells of what stands for r by a fact that is there already, or changes nothing.
func (e *Engine) tellAgain(r gatekeeper.Release) {
	f := gatekeeper.Fact{Seq: r.Seq, At: time.Now(), Body: gatekeeper.Noted{}}
	if r.Hold != nil {
		f.At, f.Body = r.HeldAt, *r.Hold
	}
	if e.cfg.Tell != nil {
		e.cfg.Tell(r, f)
	}
}

func sameFreeze(a, b freeze) bool { return reflect.DeepEqual(a.Freeze, b.Freeze) }

// noteAll notes in every open release what was done that concerns it, and by whom, and has it look again.
func (e *Engine) noteAll(by By, text string) {
	e.each(func(u *run) {
		go u.send(func() {
			if err := u.recordBy(by.Actor, time.Now(), gatekeeper.Noted{Text: join2(text, by.Why)}); err != nil {
				u.log.Error("it could not be noted what was done", "what", text, "actor", by.Actor, "err", err)
			}
		})
	})
}
