package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// run owns one open release. Everything but inbox, done and the fields above them belongs to its
// goroutine: others send it a function.
type run struct {
	e       *Engine
	id      string
	log     *slog.Logger
	file    *rules.File
	backend string // the name of q

	q        rules.Querier
	done     chan struct{}                      // closed when the run is over
	ready    chan struct{}                      // closed when preparing is over
	previous string                             // the version it returns to
	told     atomic.Pointer[gatekeeper.Release] // what r is, for everybody

	inbox chan func()

	r        gatekeeper.Release
	watches  []*watch         // of the rules, in the file's order
	checks   []*watch         // of the rules bound to what was returned to, while verifying
	actions  []actions.Action // by rung; nil where it can't be opened
	subject  actions.Subject
	purpose  gatekeeper.Purpose
	bound    *rules.Bound
	again    time.Time                            // when to look again; zero: only when something happens
	busy     map[string]bool                      // jobs under way, by name
	check    *targetCheck                         // what the rungs' live states say, for a breach under consideration
	beat     struct{ traffic, prepare time.Time } // when they are tried next
	looked   time.Time                            // when traffic of the new version was last looked for
	hung     map[int]bool                         // rungs whose Apply has not come back
	grace    time.Time                            // until when a breach waits for others of its slot
	ctx      context.Context                      // of the engine's Run
	retryAt  time.Time                            // the journal refused a write: nothing is recorded before
	behind   bool                                 // the journal may hold facts of it that are not known here
	resumed  string                               // why the last hold ended
	stranded error                                // why its health file can't be used any more; nil: it can
	signs    signs                                // of the pipeline's life
	deployed []func(error)                        // who waits to hear that the window has started
}

const (
	journalTimeout = 10 * time.Second
	journalRetry   = time.Second
)

// newRun loads what the release pinned. An error is the journal's: a release whose health file or
// backend can't be used any more is run all the same, see [run.strand] and [absent].
func (e *Engine) newRun(ctx context.Context, r gatekeeper.Release) (*run, error) {
	content, err := e.cfg.Journal.File(ctx, r.File)
	if err != nil {
		return nil, err
	}
	file, err := pinned(content)
	if err == nil {
		var u *run
		if u, err = e.runOf(r, file); err == nil {
			return u, nil
		}
	}
	return e.strand(r, err), nil
}

// pinned reads a health file as it was pinned.
func pinned(content []byte) (*rules.File, error) {
	bundle, err := rules.DecodeBundle(content)
	if err != nil {
		return nil, err
	}
	return rules.Load(bundle)
}

func (e *Engine) runOf(r gatekeeper.Release, file *rules.File) (*run, error) {
	bound, err := file.Bind(vars(r.Opened, r.Version))
	if err != nil {
		return nil, err
	}
	backend, q, err := e.backend(file)
	if err != nil && r.State == gatekeeper.Preparing {
		return nil, err
	} else if err != nil {
		e.logOf(r).Error("an open release's rules can't be judged: it is blind until its backend is configured again", "backend", backend, "err", err)
		q = absent{e, backend, err}
	}
	u := e.bareRun(r)
	u.file, u.bound, u.backend, u.q = file, bound, backend, q
	for _, rule := range bound.Rules {
		u.watches = append(u.watches, newWatch("ask "+rule.Name, rule, u.phase(rule), r.Tracks[rule.Name], r.Latest[rule.Name]))
	}
	return u, nil
}

// bareRun gives a run of r without its rules.
func (e *Engine) bareRun(r gatekeeper.Release) *run {
	u := &run{
		e: e, id: r.ID, r: r, subject: subject(r), purpose: r.Purpose,
		log:   e.logOf(r),
		inbox: make(chan func()), done: make(chan struct{}), ready: make(chan struct{}),
		previous: r.PreviousVersion,
		busy:     map[string]bool{},
		hung:     map[int]bool{},
		signs:    newSigns(r, time.Now()),
	}
	u.told.Store(&r)
	u.actions = e.openRungs(r)
	if r.State != gatekeeper.Preparing {
		close(u.ready)
	}
	return u
}

func (e *Engine) backend(file *rules.File) (name string, q rules.Querier, err error) {
	name = file.Backend
	if name == "" {
		name = e.terms.Load().DefaultBackend
	}
	q, ok := e.terms.Load().Backends[name]
	if !ok {
		return name, nil, gatekeeper.Errorf(gatekeeper.CodeInvalid, "name one of the backends in the daemon's configuration",
			"the health file's backend %q is not configured, so its rules can't be judged", name)
	}
	return name, q, file.CheckBackend(q)
}

// openRungs binds the ladder's actions. One that can't be opened any more is told when its turn comes.
func (e *Engine) openRungs(r gatekeeper.Release) []actions.Action {
	opened := make([]actions.Action, len(r.Rungs))
	for i, rung := range r.Rungs {
		action, _, err := e.openRung(r, rung)
		if err != nil {
			e.logOf(r).Error("a rung of the rollback plan can't be opened", "rung", i+1, "action", rung.Action, "err", err)
			continue
		}
		opened[i] = action
	}
	return opened
}

func (e *Engine) openRung(r gatekeeper.Release, rung gatekeeper.Rung) (actions.Action, gatekeeper.RetrySafety, error) {
	var connection actions.Connection
	if rung.Connection != "" {
		c, ok := e.terms.Load().Connections[rung.Connection]
		if !ok {
			return nil, "", gatekeeper.Errorf(gatekeeper.CodeInvalid, "name one of the connections in the daemon's configuration",
				"there is no connection %q for %s", rung.Connection, rung.Action)
		}
		connection = c
	}
	return e.cfg.Actions.Open(rung.Action, rung.Settings, actions.Binding{Connection: connection, Subject: subject(r), ReturnTo: rung.ReturnTo})
}

func vars(o gatekeeper.Opened, version string) rules.Vars {
	return rules.Vars{Service: o.Service, Environment: o.Environment, Version: version, PreviousVersion: o.PreviousVersion, Labels: o.Labels}
}

func subject(r gatekeeper.Release) actions.Subject {
	return actions.Subject{Release: r.ID, Service: r.Service, Environment: r.Environment, Version: r.Version, PreviousVersion: r.PreviousVersion, Labels: r.Labels}
}

func (u *run) phase(rule *rules.BoundRule) time.Duration {
	return u.e.cfg.Phase(u.r.Service, u.r.Environment, rule.Group, rule.Interval)
}

// loop runs the release until it is closed, the journal is lost or ctx ends.
func (u *run) loop(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	u.ctx = ctx
	defer cancel()
	timer := time.NewTimer(0)
	defer timer.Stop()
	// Closed would copy the release onto this frame, and twice the stack of every open release stay in use.
	for u.r.State != gatekeeper.Ended && ctx.Err() == nil {
		u.step(time.Now())
		if u.r.State == gatekeeper.Ended {
			break
		}
		if u.again.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(max(time.Until(u.again), 0))
		}
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case f := <-u.inbox:
			f()
		}
	}
}

// step takes the steps of the release's states until none leads to another.
func (u *run) step(now time.Time) {
	if now.Before(u.retryAt) {
		u.again = u.retryAt
		return
	}
	if err := u.catchUp(); err != nil {
		u.failed(now, err)
		return
	}
	for {
		u.again = time.Time{}
		seq := u.r.Seq
		err := u.missPipeline(now)
		if f := u.turn(); err == nil && f != nil {
			err = f(u, now)
		}
		if err != nil {
			u.failed(now, err)
			return
		}
		if u.r.Seq == seq || u.r.Closed() {
			return
		}
	}
}

// failed says that a step could not be recorded, and when to try again.
func (u *run) failed(now time.Time, err error) {
	u.retryAt = now.Add(journalRetry)
	u.again = u.retryAt
	u.log.Error("the release stays as it is: its facts can't be written", "state", u.r.State, "err", err)
}

// wake asks for the next look at t at the latest.
func (u *run) wake(t time.Time) {
	if !t.IsZero() && (u.again.IsZero() || t.Before(u.again)) {
		u.again = t
	}
}

// record appends facts about now; the release has changed when it returns nil.
func (u *run) record(bodies ...gatekeeper.Body) error { return u.recordBy("", time.Now(), bodies...) }

func (u *run) recordBy(actor string, at time.Time, bodies ...gatekeeper.Body) error {
	if err := u.recordAhead(bodies); err != nil {
		return err
	}
	next, entry, err := u.draft(actor, at, bodies...)
	if err != nil {
		return err
	}
	if err := u.e.commit(u.ctx, entry); err != nil {
		u.reread(err)
		return err
	}
	u.took(next, entry.Facts)
	return nil
}

// draft gives the release and the entry that the facts would make, with the evidence before them.
func (u *run) draft(actor string, at time.Time, bodies ...gatekeeper.Body) (gatekeeper.Release, gatekeeper.Entry, error) {
	entry := gatekeeper.Entry{Release: u.id, After: u.r.Seq}
	next := u.r
	add := func(actor string, body gatekeeper.Body) (err error) {
		f := gatekeeper.Fact{Seq: next.Seq + 1, At: at.UTC().Round(0), Actor: actor, Body: body}
		if next, err = next.With(f); err == nil {
			entry.Facts = append(entry.Facts, f)
		}
		return err
	}
	for _, judged := range u.evidence(bodies) {
		if err := add("", judged); err != nil {
			return u.r, entry, err
		}
	}
	for _, body := range bodies {
		if err := add(actor, body); err != nil {
			return u.r, entry, err
		}
	}
	return next, entry, nil
}

// took makes committed facts the run's own and tells of them.
func (u *run) took(next gatekeeper.Release, facts []gatekeeper.Fact) {
	r := u.r
	u.r = next
	u.told.Store(&next)
	if r.State == gatekeeper.Preparing && next.State != gatekeeper.Preparing {
		close(u.ready)
	}
	for _, f := range facts {
		u.wrote(r, f)
		r, _ = r.With(f) // drafted with the same facts
		u.seen(r, f)
	}
}

func (u *run) seen(r gatekeeper.Release, f gatekeeper.Fact) {
	u.e.metrics.fact(r, f)
	u.say(f)
	switch b := f.Body.(type) {
	case gatekeeper.Closed:
		u.e.history.note(r)
	case gatekeeper.Resumed:
		u.resumed = b.Why
	case gatekeeper.NotRecovered:
		u.checks = nil // the next rung is checked anew
	}
	if u.e.cfg.Tell != nil {
		u.e.cfg.Tell(r, f)
	}
}

// reread takes the release from the journal after a write of which it is not known what became.
func (u *run) reread(err error) {
	if errors.Is(err, gatekeeper.ErrFenced) {
		return
	}
	u.behind = true
	if err := u.catchUp(); err != nil {
		u.log.Error("it is not known what became of a write", "err", err)
	}
}

// catchUp takes what the journal holds beyond the release, where that may be something. An error is
// that it can't be read: the next step tries again.
func (u *run) catchUp() error {
	if !u.behind {
		return nil
	}
	ctx, cancel := context.WithTimeout(u.ctx, journalTimeout)
	defer cancel()
	facts, err := u.e.cfg.Journal.Facts(ctx, u.id)
	if err != nil {
		return err
	}
	u.behind = false
	if int64(len(facts)) <= u.r.Seq {
		return nil
	}
	r := u.r
	for _, f := range facts[u.r.Seq:] {
		if r, err = r.With(f); err != nil {
			u.log.Error("the journal holds a fact that the release can't take", "err", err)
			return nil
		}
	}
	u.took(r, facts[u.r.Seq:])
	return nil
}

// commit writes to the journal within a deadline and remembers whether it could. A write that is
// there although its answer was lost is a write.
func (e *Engine) commit(ctx context.Context, entries ...gatekeeper.Entry) error {
	ctx = context.WithoutCancel(ctx)
	within, cancel := context.WithTimeout(ctx, journalTimeout)
	defer cancel()
	err := e.cfg.Journal.Commit(within, entries...)
	if err != nil && !errors.Is(err, gatekeeper.ErrFenced) && e.landed(ctx, entries[0]) {
		err = nil
	}
	e.journalState(err)
	return err
}

// landed says whether the journal is known to hold the entry's facts; a commit holds all of its
// entries or none.
func (e *Engine) landed(ctx context.Context, entry gatekeeper.Entry) bool {
	ctx, cancel := context.WithTimeout(ctx, journalTimeout)
	defer cancel()
	facts, err := e.cfg.Journal.Facts(ctx, entry.Release)
	if err != nil || int64(len(facts)) < entry.After+int64(len(entry.Facts)) {
		return false
	}
	there, err := json.Marshal(facts[entry.After : entry.After+int64(len(entry.Facts))])
	wrote, werr := json.Marshal(entry.Facts)
	return err == nil && werr == nil && bytes.Equal(there, wrote)
}

// send has f run on the run's goroutine. It reports false when the run is over.
func (u *run) send(f func()) bool {
	select {
	case u.inbox <- f:
		return true
	case <-u.done:
		return false
	}
}

func (u *run) poke() { go u.send(func() {}) }

// do has f run on the run's goroutine and waits for it.
func (u *run) do(ctx context.Context, f func() error) error {
	result := make(chan error, 1)
	select {
	case u.inbox <- func() { result <- f() }:
		return <-result
	case <-u.done:
		return errRunOver
	case <-ctx.Done():
		return ctx.Err()
	}
}

var errRunOver = errors.New("the release is no longer run")

// job runs work beside the run, at most once at a time by its name, and then after on the run's
// goroutine. It says whether the job is new.
func (u *run) job(name string, limit time.Duration, work func(ctx context.Context), after func()) bool {
	if u.busy[name] {
		return false
	}
	u.busy[name] = true
	go func() {
		ctx, cancel := context.WithTimeout(u.ctx, limit)
		defer cancel()
		work(ctx)
		u.send(func() {
			delete(u.busy, name)
			after()
		})
	}()
	return true
}
