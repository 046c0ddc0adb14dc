package backtest

import (
	"context"
	"sync"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// Options says how to replay. The zero value replays in the daemon's phase alone.
type Options struct {
	Now         time.Time // what is later is not known; zero: now
	Phases      int       // how many slot phases are tried, the daemon's included; less than 2: that alone
	Concurrency int       // releases at once; default 4
	Sweep       Sweep
	Rule        string // replay this rule alone; "": all

	// Phase shifts the slots of a rule group; nil spreads them as the daemon does.
	Phase func(service, environment, group string, interval time.Duration) time.Duration
	// Done is called after each release, by one goroutine at a time; an error ends the run.
	Done func(Result) error
	// Known gives what an earlier run found of a release; nil: nothing.
	Known func(id string) (Result, bool)
}

func (o Options) withDefaults() Options {
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	if o.Concurrency < 1 {
		o.Concurrency = 4
	}
	if o.Phase == nil {
		o.Phase = rules.HashPhase
	}
	o.Phases = max(o.Phases, 1)
	return o
}

// Result is what would have become of one release.
type Result struct {
	Release  Release      `json:"release"`
	Decision Decision     `json:"decision"`
	Phases   Phases       `json:"phases"`
	Rules    []RuleResult `json:"rules"`
}

// RuleResult is what one rule would have said of a release, were it the only one.
type RuleResult struct {
	Rule     string   `json:"rule"`
	Do       string   `json:"do"` // what its route does
	Decision Decision `json:"decision"`
	Coverage float64  `json:"coverage"` // share of the slots with data
	Phases   Phases   `json:"phases"`
	Pairs    []Tried  `json:"pairs,omitempty"` // of the sweep, in the order of [Plan.Pairs]

	Trail []gatekeeper.Point `json:"-"` // what it said slot by slot, up to the decision
	Limit string             `json:"-"` // of the latest reading, such as "> 0.01"
}

// Phases tells how much hangs on where the slots lie.
type Phases struct {
	Of    int       `json:"of"`    // how many were tried
	Fired int       `json:"fired"` // in how many something would have happened
	First time.Time `json:"first,omitzero"`
	Last  time.Time `json:"last,omitzero"`
}

func (p *Phases) add(d Decision) {
	p.Of++
	if !d.fired() {
		return
	}
	p.Fired++
	if p.First.IsZero() || d.At.Before(p.First) {
		p.First = d.At
	}
	if d.At.After(p.Last) {
		p.Last = d.At
	}
}

// Split says whether some phases would have done something and others nothing.
func (p Phases) Split() bool { return p.Fired > 0 && p.Fired < p.Of }

// Run replays a health file over releases. It gives the results in their order; with an error it gives
// those that there are. It asks the backend for some range queries for each release, and waits for
// all of them before it returns.
func Run(ctx context.Context, file *rules.File, releases []Release, q rules.Querier, o Options) ([]Result, error) {
	o = o.withDefaults()
	if len(file.Rules) == 0 {
		return nil, gatekeeper.Errorf(gatekeeper.CodeInvalid, "alerts that others send can't be replayed", "the health file has no rule that could be replayed")
	}
	plan, err := o.Sweep.plan(file, releases)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &runner{file: file, q: q, Options: o, plan: plan, results: make([]*Result, len(releases)), cancel: cancel}
	if r.oldest, err = oldest(ctx, file, o.Rule, releases, q, o.Now); err != nil {
		return nil, err
	}
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(o.Concurrency, len(releases)) {
		workers.Go(func() {
			for i := range next {
				r.one(ctx, i, releases[i])
			}
		})
	}
	for i := range releases {
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	workers.Wait()
	var done []Result
	for _, one := range r.results {
		if one != nil {
			done = append(done, *one)
		}
	}
	if r.err == nil && len(done) < len(releases) {
		r.err = context.Cause(ctx)
	}
	return done, r.err
}

// runner is a run under way.
type runner struct {
	Options
	file   *rules.File
	q      rules.Querier
	plan   Plan
	oldest map[string]time.Time // by rule: the backend holds nothing before; zero: it does
	cancel context.CancelFunc

	mu      sync.Mutex
	results []*Result
	err     error // the first
}

func (r *runner) one(ctx context.Context, i int, release Release) {
	var result Result
	var err error
	known := false
	if r.Known != nil {
		result, known = r.Known(release.ID)
	}
	if !known {
		result, err = r.replay(ctx, release)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil && r.err == nil {
		r.results[i] = &result
		if r.Done != nil {
			err = r.Done(result)
		}
	}
	if err != nil && r.err == nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		r.err = err
		r.cancel()
	}
}
