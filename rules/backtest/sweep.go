package backtest

import (
	"maps"
	"math"
	"slices"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// Caps on a sweep.
const (
	maxPairs = 1000 // of one rule
	maxWait  = 24 * time.Hour
)

// Sweep asks for other thresholds and times of `for`.
type Sweep struct {
	On         bool
	Thresholds []float64       // empty: factors of each rule's own
	Waits      []time.Duration // empty: from 0 to 10 minutes; each rule's own is added
}

// The factors of a rule's own threshold, and the times of `for`, that are tried unless others are
// given.
var (
	factors = []float64{0.1, 0.2, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10}
	usual   = []time.Duration{0, 30 * time.Second, time.Minute, 2 * time.Minute, 3 * time.Minute, 5 * time.Minute, 10 * time.Minute}
)

// Pair is a threshold with a `for`.
type Pair struct {
	Threshold float64             `json:"threshold"`
	For       gatekeeper.Duration `json:"for"`
}

// Tried is what a pair would have done to one release.
type Tried struct {
	Verdict Verdict   `json:"verdict"`
	At      time.Time `json:"at,omitzero"`
}

// Plan is what a sweep tries, rule by rule.
type Plan struct {
	Waits []time.Duration
	Pairs map[string][]Pair // by rule, thresholds first
	Own   map[string]Pair   // what the rule has
	Not   map[string]string // rules that can't be swept, and why
	Op    map[string]string // how the rule compares
}

// plan says what to try of each rule. Thresholds are the file's: no release's values change them.
func (s Sweep) plan(file *rules.File, releases []Release) (Plan, error) {
	p := Plan{Pairs: map[string][]Pair{}, Own: map[string]Pair{}, Not: map[string]string{}, Op: map[string]string{}}
	if !s.On || len(releases) == 0 {
		return p, nil
	}
	var bound *rules.Bound
	var err error
	for _, r := range releases { // one may lack a value that the rules need
		if bound, err = file.Bind(r.vars()); err == nil {
			break
		}
	}
	if err != nil {
		return p, err
	}
	p.Waits = s.Waits
	if len(p.Waits) == 0 {
		p.Waits = usual
	}
	for _, wait := range p.Waits {
		if wait < 0 || wait > maxWait || wait%time.Millisecond != 0 {
			return p, gatekeeper.Errorf(gatekeeper.CodeInvalid, "give whole milliseconds up to a day", "a `for` of %s can't be tried", wait)
		}
	}
	for _, rule := range bound.Rules {
		if err := p.add(rule, s.Thresholds); err != nil {
			return p, err
		}
	}
	return p, nil
}

func (p *Plan) add(rule *rules.BoundRule, thresholds []float64) error {
	own, err := rule.Threshold()
	switch {
	case err != nil:
		p.Not[rule.Name] = err.Error()
		return nil
	case rule.Anchored():
		p.Not[rule.Name] = "the rule must be asked instant by instant"
		return nil
	case len(thresholds) == 0 && own.Value == 0:
		p.Not[rule.Name] = "its threshold is 0, which has no multiples: name the thresholds"
		return nil
	case len(thresholds) == 0:
		thresholds = around(own)
	}
	thresholds = sorted(append(slices.Clone(thresholds), own.Value))
	waits := slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(p.Waits), rule.For))))
	if n := len(thresholds) * len(waits); n > maxPairs {
		return gatekeeper.Errorf(gatekeeper.CodeInvalid, "name fewer thresholds or times", "%d pairs are more than %d", n, maxPairs)
	}
	for _, t := range thresholds {
		for _, wait := range waits {
			p.Pairs[rule.Name] = append(p.Pairs[rule.Name], Pair{t, gatekeeper.Duration(wait)})
		}
	}
	p.Own[rule.Name], p.Op[rule.Name] = Pair{own.Value, gatekeeper.Duration(rule.For)}, own.Operator
	return nil
}

// around gives multiples of a threshold; of a success ratio the share of failures is multiplied.
func around(own rules.Threshold) []float64 {
	var all []float64
	for _, f := range factors {
		v := own.Value * f
		if own.Success {
			v = 1 - (1-own.Value)*f
		}
		if !own.Success || v > 0 {
			all = append(all, rounded(v))
		}
	}
	return all
}

// rounded takes away what binary fractions leave of decimal ones.
func rounded(v float64) float64 {
	const digits = 1e12
	if r := math.Round(v*digits) / digits; r != 0 && math.Abs(v) < 1e3 {
		return r
	}
	return v
}

func sorted(all []float64) []float64 {
	known := map[float64]bool{}
	for _, v := range all {
		known[v] = true
	}
	return slices.Sorted(maps.Keys(known))
}

// try replays a rule with every pair. Each threshold is judged once, for every `for`: that changes
// no reading.
func (p Plan) try(j *judge, alone terms) ([]Tried, error) {
	var all []Tried
	var at *judge
	none := []time.Duration{0}
	for i, pair := range p.Pairs[j.rule.Name] {
		if i == 0 || pair.Threshold != p.Pairs[j.rule.Name][i-1].Threshold {
			rule, err := j.rule.WithThreshold(pair.Threshold, time.Duration(pair.For))
			if err != nil {
				return nil, err
			}
			at = newJudge(j.ctx, rule, j.samples, j.grid)
			if pair.Threshold == p.Own[j.rule.Name].Threshold {
				at = j
			}
		}
		d, by := play(alone, []*judge{at.with(time.Duration(pair.For))}, none)
		if !d.fired() && !seen(by[0].Trail) {
			d = Decision{Verdict: NotKnown}
		}
		all = append(all, Tried{d.Verdict, d.At})
	}
	return all, nil
}

// lostPairs is what a sweep says where the data is lost.
func lostPairs(pairs []Tried) []Tried {
	for i := range pairs {
		pairs[i] = Tried{Verdict: NotKnown}
	}
	return pairs
}
