package backtest

import (
	"context"
	"fmt"
	"slices"
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
	if r.oldest, err = oldest(ctx, file, releases, q, o.Now); err != nil {
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

// stage is one release, ready to be replayed.
type stage struct {
	*runner
	terms
	judges []*judge
	asked  []*samples
}

// replay asks what is needed of one release and replays it every way that was asked for.
func (r *runner) replay(ctx context.Context, release Release) (Result, error) {
	bound, err := r.file.Bind(release.vars())
	if err != nil {
		return Result{}, fmt.Errorf("release %s: %w", release.ID, err)
	}
	s := r.prepare(ctx, release, bound)
	out := Result{Release: release}
	n := s.phases()
	for i := range n {
		d, _ := play(s.terms, s.judges, s.shifts(s.judges, i, n))
		if i == 0 {
			out.Decision = d
		}
		out.Phases.add(d)
	}
	for i := range s.judges {
		one, err := s.rule(i, n)
		if err != nil {
			return Result{}, fmt.Errorf("release %s: %w", release.ID, err)
		}
		out.Rules = append(out.Rules, one)
	}
	for _, asked := range s.asked {
		if err := asked.failure(); err != nil {
			return Result{}, fmt.Errorf("release %s: %w", release.ID, err)
		}
	}
	return s.known(out), ctx.Err()
}

// prepare lays the grids and says where the release ends.
func (r *runner) prepare(ctx context.Context, release Release, bound *rules.Bound) *stage {
	s := &stage{runner: r}
	s.terms = terms{file: r.file, release: release, window: time.Duration(release.Window), limit: r.Now, limitWhy: "its window is not over yet"}
	if s.window == 0 {
		s.window = r.file.Window
	}
	if e := release.Ended; !e.IsZero() && e.Before(s.limit) {
		s.limit, s.limitWhy = e, fmt.Sprintf("the version was taken away %s after the deploy, before its window was over", e.Sub(release.Deployed).Round(time.Second))
	}
	type key struct {
		file, group string
		interval    time.Duration
		offset      time.Duration
	}
	grids := map[key]grid{}
	shared := map[key]*samples{}
	for _, rule := range bound.Rules {
		if r.Rule != "" && rule.Name != r.Rule {
			continue
		}
		k := key{rule.File, rule.Group, rule.Interval, rule.QueryOffset}
		if shared[k] == nil {
			grids[k], shared[k] = s.group(rule, bound)
			s.asked = append(s.asked, shared[k])
		}
		s.judges = append(s.judges, newJudge(ctx, rule, shared[k], grids[k]))
	}
	return s
}

// group gives the grid of a rule's group, with the samples on it: those of the window are fetched
// together, those of its extension and of a hold only when they are needed.
func (s *stage) group(rule *rules.BoundRule, bound *rules.Bound) (grid, *samples) {
	waits := slices.Clone(s.plan.Waits)
	longest := time.Duration(0)
	for _, one := range bound.Rules {
		if one.Group == rule.Group && one.File == rule.File {
			waits = append(waits, one.For)
		}
		longest = max(longest, one.LongestExtension())
	}
	for _, wait := range s.plan.Waits {
		longest = max(longest, 2*wait+2*rule.Interval+rule.Response.Blind)
	}
	phase := s.Phase(s.release.Service, s.release.Environment, rule.Group, rule.Interval)
	end := s.release.Deployed.Add(s.window)
	phases := s.Phases
	if rule.Anchored() {
		phases = 1
	}
	g := gridOf(rule.Interval, phase, waits, phases, s.release.opened(), end)
	last := end.Add(longest + s.runner.file.HoldFor)
	if s.limit.Before(end) {
		end = s.limit
	}
	if s.limit.Before(last) {
		last = s.limit
	}
	asked := &samples{backend: s.q, from: g.start, step: g.step, back: rule.QueryOffset, answers: map[question]*answer{}}
	asked.ends = []time.Time{g.last(end)}
	if more := g.last(last); more.After(asked.ends[0]) {
		asked.ends = append(asked.ends, more)
	}
	return g, asked
}

// phases gives how many phases every group can tell apart.
func (s *stage) phases() int {
	n := s.Phases
	for _, j := range s.judges {
		n = min(n, j.grid.phases)
	}
	return n
}

// shifts gives how much later the slots of each rule lie in the phase numbered i of n.
func (s *stage) shifts(judges []*judge, i, n int) []time.Duration {
	all := make([]time.Duration, len(judges))
	for k, j := range judges {
		all[k] = j.grid.shift(j.interval, i, n)
	}
	return all
}

// rule replays one rule alone: in every phase, and with every pair of the sweep.
func (s *stage) rule(i, n int) (RuleResult, error) {
	j, alone := s.judges[i], s.terms
	alone.alone = true
	one := []*judge{j}
	out := RuleResult{Rule: j.rule.Name, Do: j.rule.Response.Do}
	for k := range n {
		d, by := play(alone, one, s.shifts(one, k, n))
		if k == 0 {
			out.Decision, out.Trail, out.Limit = d, by[0].Trail, by[0].Last.Limit
			out.Coverage = by[0].Track().Coverage()
		}
		out.Phases.add(d)
	}
	if !seen(out.Trail) && !out.Decision.fired() {
		out.Decision = Decision{Verdict: NotKnown, Why: "no selector of the rule has data in its window: the backend has lost it, or never had it"}
		out.Phases = Phases{Of: n}
	}
	var err error
	out.Pairs, err = s.plan.try(j, alone)
	return out, err
}

// seen says whether some slot had data, with traffic or without.
func seen(trail []gatekeeper.Point) bool {
	return slices.ContainsFunc(trail, func(p gatekeeper.Point) bool { return !p.Verdict.Blind() })
}

// known makes unknown what rests on data that the backend has lost.
func (s *stage) known(out Result) Result {
	lost := Decision{Verdict: NotKnown}
	for i := range out.Rules {
		one := &out.Rules[i]
		rule := s.judges[i].rule
		if old := s.oldest[rule.Name]; !old.IsZero() && s.release.Deployed.Add(-rule.Range).Before(old) && one.Decision.Verdict != NotKnown {
			one.Decision = Decision{Verdict: NotKnown, Why: fmt.Sprintf("the backend's oldest sample of the rule is of %s, and the release needs them from %s on",
				old.UTC().Format(time.RFC3339), s.release.Deployed.Add(-rule.Range).UTC().Format(time.RFC3339))}
			one.Phases, one.Pairs = Phases{Of: one.Phases.Of}, lostPairs(one.Pairs)
		}
		if one.Decision.Verdict == NotKnown && rule.Response.Do == rules.Rollback && lost.Why == "" {
			lost.Rules, lost.Why = []string{rule.Name}, one.Decision.Why
		}
	}
	if lost.Why != "" && !trusted(out) {
		out.Decision, out.Phases = lost, Phases{Of: out.Phases.Of}
	}
	return out
}

// trusted says whether what fired is a rule whose data is whole.
func trusted(out Result) bool {
	return out.Decision.fired() && slices.ContainsFunc(out.Rules, func(r RuleResult) bool {
		return r.Decision.fired() && slices.Contains(out.Decision.Rules, r.Rule)
	})
}
