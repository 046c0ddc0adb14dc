package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// Engine runs releases. Its methods may be called concurrently, from [Engine.Run]'s start to its end.
type Engine struct {
	cfg        Config
	follows    bool // slots follow the scrapes
	log        *slog.Logger
	metrics    *metrics
	terms      atomic.Pointer[terms]
	killSwitch *killSwitch
	history    *history

	ctx   context.Context // of Run
	wg    sync.WaitGroup
	opens sync.Mutex // opens are taken one by one, so that a service has one open release

	mu     sync.Mutex
	runs   map[string]*run // the open releases
	ready  bool
	broken error         // why the journal did not take the last write
	failed time.Time     // when that was
	lost   chan struct{} // closed when another Gatekeeper owns the journal
}

// New checks the configuration. It starts nothing.
func New(cfg Config) (*Engine, error) {
	follows := cfg.Phase == nil
	cfg = cfg.withDefaults()
	if cfg.Journal == nil || cfg.Actions == nil {
		return nil, errors.New("engine: needs a journal and a registry of actions")
	}
	t, err := newTerms(cfg)
	if err != nil {
		return nil, err
	}
	e := &Engine{
		cfg:        cfg,
		follows:    follows,
		log:        cfg.Log,
		metrics:    newMetrics(cfg.Registerer),
		killSwitch: newKillSwitch(cfg.KillSwitchFile),
		history:    newHistory(),
		runs:       map[string]*run{},
		lost:       make(chan struct{}),
	}
	e.terms.Store(t)
	e.states(cfg.Registerer)
	return e, nil
}

// Run takes up every open release where its facts end and runs until ctx ends, or until another
// Gatekeeper has taken the journal, which is an error. Releases stay open then; the next Run takes
// them up again.
func (e *Engine) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	e.mu.Lock()
	e.ctx = ctx
	e.mu.Unlock()
	if err := errors.Join(e.readHistory(ctx), e.recover(ctx)); err != nil {
		cancel()
		e.wg.Wait()
		return fmt.Errorf("taking up the open releases: %w", err)
	}
	e.mu.Lock()
	e.ready = true
	e.mu.Unlock()
	e.watchKillSwitch(ctx)
	var err error
	select {
	case <-ctx.Done():
	case <-e.lost:
		err = gatekeeper.Errorf(gatekeeper.CodeUnavailable, "stop one of the two", "this Gatekeeper decides nothing any more: %w", gatekeeper.ErrFenced)
	}
	cancel()
	e.mu.Lock()
	e.ready = false
	e.mu.Unlock()
	e.wg.Wait()
	return err
}

// Ready says whether releases are run: nil, or why not.
func (e *Engine) Ready() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.broken != nil && (errors.Is(e.broken, gatekeeper.ErrFenced) || time.Since(e.failed) < brokenFor):
		hint := cmp.Or(gatekeeper.HintOf(e.broken), "see the log; releases stay as they are until the journal can be written")
		return gatekeeper.Errorf(gatekeeper.CodeUnavailable, hint,
			"the journal can't be written, so nothing is decided: %w", e.broken)
	case !e.ready:
		return gatekeeper.Errorf(gatekeeper.CodeUnavailable, "try again in a moment", "the open releases are being taken up")
	}
	return nil
}

// brokenFor is how long a failed write speaks for the journal. Open releases try again sooner; where
// none is open only the next one can tell.
const brokenFor = 2 * journalTimeout

func (e *Engine) recover(ctx context.Context) error {
	ids, err := e.cfg.Journal.List(ctx, gatekeeper.Listing{Open: true, Limit: 1000})
	for err == nil && len(ids) > 0 {
		for _, id := range ids {
			if err := e.takeUp(ctx, id); err != nil {
				return fmt.Errorf("release %s: %w", id, err)
			}
		}
		ids, err = e.cfg.Journal.List(ctx, gatekeeper.Listing{Open: true, Limit: 1000, After: ids[len(ids)-1]})
	}
	return err
}

func (e *Engine) takeUp(ctx context.Context, id string) error {
	r, err := e.Release(ctx, id)
	if err != nil {
		return err
	}
	u, err := e.newRun(ctx, r)
	if err != nil {
		return err
	}
	e.tellAgain(r)
	e.logOf(r).Info("release taken up again", "state", r.State)
	e.start(u)
	return nil
}

// adopt runs a release that is open in the journal and not run: the answer to the write that opened
// it was lost.
func (e *Engine) adopt(ctx context.Context, id string) error {
	if _, ok := e.find(id); ok {
		return nil
	}
	if r, err := e.Release(ctx, id); err != nil || r.Closed() {
		return err
	}
	return e.takeUp(ctx, id)
}

// settle finds out what became of an opening of which it is not known whether it was written.
func (e *Engine) settle(r gatekeeper.Release) {
	for sleep(e.ctx, journalRetry) == nil {
		e.opens.Lock()
		err := e.adopt(e.ctx, r.ID)
		e.opens.Unlock()
		if err == nil || gatekeeper.CodeOf(err) == gatekeeper.CodeNotFound {
			return
		}
		e.logOf(r).Error("it is not known whether a release is open", "err", err)
	}
}

// beside runs f in a goroutine that Run waits for; not when Run ends already, or has not begun.
func (e *Engine) beside(f func()) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx == nil || e.ctx.Err() != nil {
		return false
	}
	e.wg.Go(f)
	return true
}

// start runs a release; when the engine stops meanwhile, the next one takes it up.
func (e *Engine) start(u *run) {
	e.mu.Lock()
	e.runs[u.id] = u
	e.metrics.open.Set(float64(len(e.runs)))
	e.mu.Unlock()
	over := func() {
		e.mu.Lock()
		delete(e.runs, u.id)
		e.metrics.open.Set(float64(len(e.runs)))
		e.mu.Unlock()
		close(u.done)
	}
	if !e.beside(func() { u.loop(e.ctx); over() }) {
		over()
	}
}

// each calls f with every open release's run.
func (e *Engine) each(f func(*run)) {
	for _, u := range e.open() {
		f(u)
	}
}

func (e *Engine) open() []*run {
	e.mu.Lock()
	defer e.mu.Unlock()
	open := make([]*run, 0, len(e.runs))
	for _, u := range e.runs {
		open = append(open, u)
	}
	return open
}

func (e *Engine) find(id string) (*run, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	u, ok := e.runs[id]
	return u, ok
}

// journalState remembers whether the journal took the last write.
func (e *Engine) journalState(err error) {
	if err != nil && (errors.Is(err, gatekeeper.ErrConflict) || errors.Is(err, context.Canceled)) {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if errors.Is(e.broken, gatekeeper.ErrFenced) {
		return
	}
	e.broken, e.failed = err, time.Now()
	if errors.Is(err, gatekeeper.ErrFenced) {
		close(e.lost)
	}
}

// Release gives a release as its facts make it, or an error with [gatekeeper.CodeNotFound].
func (e *Engine) Release(ctx context.Context, id string) (gatekeeper.Release, error) {
	facts, err := e.Facts(ctx, id)
	if err != nil {
		return gatekeeper.Release{}, err
	}
	return gatekeeper.Replay(id, facts)
}

// Facts gives a release's facts in order.
func (e *Engine) Facts(ctx context.Context, id string) ([]gatekeeper.Fact, error) {
	facts, err := e.cfg.Journal.Facts(ctx, id)
	if errors.Is(err, gatekeeper.ErrNotFound) {
		return nil, &gatekeeper.Error{
			Code: gatekeeper.CodeNotFound, Message: fmt.Sprintf("there is no release %q", id),
			Hint: "list them with: gatekeeper release list; old ones are removed by the store's retention", Err: err,
		}
	}
	return facts, err
}

// List gives releases, newest first. Of those that are open the facts need not be read again.
func (e *Engine) List(ctx context.Context, q gatekeeper.Listing) ([]gatekeeper.Release, error) {
	ids, err := e.cfg.Journal.List(ctx, q)
	if err != nil {
		return nil, err
	}
	releases := make([]gatekeeper.Release, 0, len(ids))
	for _, id := range ids {
		if u, ok := e.find(id); ok {
			releases = append(releases, *u.told.Load())
			continue
		}
		r, err := e.Release(ctx, id)
		if gatekeeper.CodeOf(err) == gatekeeper.CodeNotFound {
			continue // removed by retention meanwhile
		}
		if err != nil {
			return nil, err
		}
		releases = append(releases, r)
	}
	return releases, nil
}

// Watch gives every change of the journal after a revision, as it happens; see [gatekeeper.Journal].
func (e *Engine) Watch(ctx context.Context, after int64) iter.Seq2[gatekeeper.Change, error] {
	return e.cfg.Journal.Watch(ctx, after)
}

func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&c.QueryTimeout, 10*time.Second)
	def(&c.ActionTimeout, 30*time.Second)
	if c.MaxBundle <= 0 {
		c.MaxBundle = 1 << 20
	}
	if c.Phase == nil {
		c.Phase = rules.HashPhase
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}
