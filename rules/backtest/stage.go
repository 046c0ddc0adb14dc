package backtest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// stage is one release, ready to be replayed.
type stage struct {
	*runner
	terms
	judges []*judge
	asked  []*rules.Samples
}

// replay asks what is needed of one release and replays it every way that was asked for.
func (r *runner) replay(ctx context.Context, release Release) (Result, error) {
	bound, err := r.file.Bind(release.vars())
	if err != nil {
		return r.unbound(release, err), nil
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
		if err := asked.Err(); err != nil && !refused(err) {
			return Result{}, fmt.Errorf("release %s: %w", release.ID, err)
		}
	}
	return s.known(out), ctx.Err()
}

// unbound is what comes of a release that lacks a value that the rules need, such as a previous version.
func (r *runner) unbound(release Release, why error) Result {
	unknown := Decision{Verdict: NotKnown, Why: why.Error()}
	out := Result{Release: release, Decision: unknown}
	for _, rule := range r.file.Rules {
		if r.Rule == "" || rule.Name == r.Rule {
			pairs := lostPairs(make([]Tried, len(r.plan.Pairs[rule.Name])))
			out.Rules = append(out.Rules, RuleResult{Rule: rule.Name, Do: rule.Response.Do, Decision: unknown, Pairs: pairs})
		}
	}
	return out
}

// refused says whether the backend can't ever answer what it was asked: the fault is the expression's,
// and the rule is as blind as it would have been in the daemon.
func refused(err error) bool { return gatekeeper.CodeOf(err) == gatekeeper.CodeInvalid }

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
	shared := map[key]*rules.Samples{}
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
func (s *stage) group(rule *rules.BoundRule, bound *rules.Bound) (grid, *rules.Samples) {
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
	ends := []time.Time{g.last(end).Add(-rule.QueryOffset)}
	if more := g.last(last).Add(-rule.QueryOffset); more.After(ends[0]) {
		ends = append(ends, more)
	}
	return g, rules.NewSamples(s.q, g.start.Add(-rule.QueryOffset), g.step, ends...)
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
	var by *follower
	for k := range n {
		d, all := play(alone, one, s.shifts(one, k, n))
		if k == 0 {
			by = all[0]
			out.Decision, out.Trail, out.Limit, out.Coverage = d, by.Trail, by.Last.Limit, by.Track().Coverage()
		}
		out.Phases.add(d)
	}
	if !seen(out.Trail) && !out.Decision.fired() {
		out.Decision = Decision{Verdict: NotKnown, Why: "no selector of the rule has data in its window: the backend has lost it, or never had it"}
		if detail := by.Last.Detail; by.Last.Verdict == gatekeeper.NoAnswer {
			out.Decision.Why = "the backend can't answer the rule: " + detail
		}
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
