package rules

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"

	"github.com/gatekeeper-engine/gatekeeper/internal/yamlnode"
	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// The defaults and bounds of an SLO.
const (
	DefaultSLOPeriod = 30 * 24 * time.Hour
	DefaultSLOBudget = 0.01 // share of the period's errors that a release may spend

	longestBurn  = time.Hour       // a release is over before anything longer tells
	shortestBurn = time.Minute     // four scrapes of the usual 15 s
	longestShort = 5 * time.Minute // a longer one would take a young version's traffic for less than it is
)

// SLO is a service level objective as a health file names it, and what became of it: rules that
// breach when the release spends more than its share of the errors that the objective allows.
type SLO struct {
	Name      string
	Objective float64       // share of good events, in (0, 1)
	Period    time.Duration // over which the objective is promised
	Budget    float64       // share of the period's allowed errors that the release may spend, in (0, 1]
	Burns     []Burn        // one for each rule, the slow one first
}

// Burn is one rule of an SLO. It breaches when Share of the period's allowed errors was spent
// within Long, and errors still come as fast within Short. A release that fails at the ratio p
// is decided after about Long·Ratio/p, and its `for`.
type Burn struct {
	Rule  string // the alert's name
	Long  time.Duration
	Short time.Duration
	Share float64 // of the period's allowed errors
	Rate  float64 // how many times faster than allowed that is, if it takes all of Long
	Ratio float64 // the error ratio that this is, in (0, 1)
}

// sloNode is an SLO with what its rules are made of.
type sloNode struct {
	SLO
	errors, total parser.Expr
	interval      time.Duration
	labels        *yaml.Node
	at            *yaml.Node // its name
}

// slos reads the SLOs and makes rules of them. window is the release's: it is known when all keys
// of the file have been read.
func (l *loader) slos(r *reader, n *yaml.Node, window time.Duration) []SLO {
	var all []SLO
	if n == nil {
		return nil
	}
	lines := map[string]int{}
	for _, one := range r.list(n, "slos") {
		s, ok := r.slo(one)
		if !ok {
			continue
		}
		if first, dup := lines[s.Name]; dup {
			r.fail(s.at, checkDuplicate, "Give it another name.", "SLO %q stands in line %d already", s.Name, first)
			continue
		}
		lines[s.Name] = s.at.Line
		s.Burns = burns(s.SLO, window)
		if slow := s.Burns[0]; slow.Ratio >= 1 {
			r.fail(s.at, checkValue, "Set a smaller budget, or take a longer window.",
				"SLO %q can never breach: nothing but errors for %s spends %s of what %s allows in %s, and a release may spend %s",
				s.Name, model.Duration(slow.Long), percent(slow.Share/slow.Ratio), percent(s.Objective), model.Duration(s.Period), percent(s.Budget))
			continue
		}
		for i, b := range s.Burns {
			l.rule(r, group{name: "slo:" + s.Name, interval: s.interval}, s.rule(b), i, true)
			l.rules[len(l.rules)-1].SLO = s.Name
		}
		all = append(all, s.SLO)
	}
	return all
}

func (r *reader) slo(n *yaml.Node) (*sloNode, bool) {
	s := &sloNode{SLO: SLO{Period: DefaultSLOPeriod, Budget: DefaultSLOBudget}, interval: DefaultInterval}
	r.object(n, "the SLO",
		key{name: "name", must: true, read: func(n *yaml.Node) { s.at = yamlnode.Follow(n); s.Name, _ = r.name(n, "the SLO's name") }},
		key{name: "objective", must: true, read: func(n *yaml.Node) {
			if s.Objective = r.percentage(n, "objective"); s.Objective == 1 {
				r.fail(n, checkValue, "Promise less than everything, such as 99.9%.", "an objective of 100%% allows no error: it has no budget")
			}
		}},
		key{name: "errors", must: true, read: func(n *yaml.Node) { s.errors = r.events(n, "errors") }},
		key{name: "total", must: true, read: func(n *yaml.Node) { s.total = r.events(n, "total") }},
		key{name: "period", read: func(n *yaml.Node) { r.durationTo(n, "period", 24*time.Hour, &s.Period) }},
		key{name: "budget", read: func(n *yaml.Node) { s.Budget = r.percentage(n, "budget") }},
		key{name: "interval", read: func(n *yaml.Node) { r.durationTo(n, "interval", leastInterval, &s.interval) }},
		key{name: "labels", read: func(n *yaml.Node) { s.labels = n }},
	)
	return s, s.Name != "" && s.Objective > 0 && s.Objective < 1 && s.Budget > 0 && s.errors != nil && s.total != nil
}

// percentage reads a share, as 99.9% or 0.999.
func (r *reader) percentage(n *yaml.Node, what string) float64 {
	text, ok := r.filled(n, what)
	if !ok {
		return 0
	}
	number, percent := strings.CutSuffix(strings.TrimSpace(text), "%")
	v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if percent {
		v /= 100
	}
	if err != nil || !(v > 0 && v <= 1) {
		r.fail(n, checkValue, "Write 99.9%, or 0.999.", "%s is %q; it must be above 0%% and at most 100%%", what, text)
		return 0
	}
	return v
}

// events reads an expression of counters: selectors, added and subtracted. Rates and sums are put
// around each of them later, for every window anew.
func (r *reader) events(n *yaml.Node, what string) parser.Expr {
	e := r.expression(n, what)
	if e == nil {
		return nil
	}
	if part := beyondCounters(e.ast); part != nil {
		at := part.PositionRange()
		r.tellAt(Error, yamlnode.Follow(n), int(at.Start), int(at.End-at.Start), checkValue,
			`Write counters alone, as in http_requests_total{service="${service}", status=~"5.."}, several with + and -: the rates and sums of each window are put around them.`,
			"%s of an SLO must be counters", what)
		return nil
	}
	return e.ast
}

// beyondCounters gives the first part of an expression that is neither a selector nor adds or
// subtracts some; nil: there is none.
func beyondCounters(e parser.Expr) parser.Expr {
	switch e := promexpr.Unparen(e).(type) {
	case *parser.VectorSelector:
		return nil
	case *parser.BinaryExpr:
		if e.Op != parser.ADD && e.Op != parser.SUB {
			return e
		}
		if part := beyondCounters(e.LHS); part != nil {
			return part
		}
		return beyondCounters(e.RHS)
	default:
		return e
	}
}

// burns gives the windows for a release: all that it may spend within its own window, and four
// tenths of that within a sixth of it, as the Site Reliability Workbook has 5% in 6 hours and 2% in
// one (chapter 5, "Alerting on SLOs"). Where a sixth is too short to be measured, or to spend that
// with nothing but errors, only the first.
func burns(s SLO, window time.Duration) []Burn {
	long := min(window, longestBurn)
	all := []Burn{newBurn(s, s.Name+"SlowBurn", long, s.Budget)}
	if fast := newBurn(s, s.Name+"FastBurn", long/6, 0.4*s.Budget); long/6 >= 2*shortestBurn && fast.Ratio < 1 {
		all = append(all, fast)
	}
	return all
}

func newBurn(s SLO, rule string, long time.Duration, share float64) Burn {
	b := Burn{Rule: rule, Long: long.Round(time.Second), Share: share}
	b.Short = min(max(b.Long/12, shortestBurn), longestShort, b.Long).Round(time.Second)
	b.Rate = share * float64(s.Period) / float64(b.Long)
	b.Ratio = b.Rate * (1 - s.Objective)
	return b
}

// rule gives a burn as the rule that a person could have written. Its operand is the share of the
// period's allowed errors that was spent within the long window: errors of the long window over
// what the present traffic would allow in a period. Traffic is taken from the short window, for
// a version that is younger than the long one would seem to have had less of it; one that is younger
// than the short one is judged as if it were that old.
func (s *sloNode) rule(b Burn) *yaml.Node {
	allowed := (1 - s.Objective) * float64(s.Period) / float64(b.Long)
	spent := fmt.Sprintf("%s / (%s * %s) > %s", s.errorRates(b.Long), s.totalRates(b.Short), number(allowed), number(b.Share))
	burning := fmt.Sprintf("%s / %s > %s", s.errorRates(b.Short), s.totalRates(b.Short), number(b.Ratio))
	pairs := []*yaml.Node{
		s.scalar("alert"), s.scalar(b.Rule),
		s.scalar("expr"), s.scalar(spent + "\n  and\n" + burning),
		s.scalar("for"), s.scalar(model.Duration(2 * s.interval).String()),
		s.scalar("annotations"), s.mapping(s.scalar("summary"), s.scalar(fmt.Sprintf(
			"{{ $value | humanizePercentage }} of the errors that %s (%s) allows in %s were spent within %s; a release may spend %s",
			s.Name, percent(s.Objective), model.Duration(s.Period), model.Duration(b.Long), percent(b.Share)))),
	}
	if s.labels != nil {
		pairs = append(pairs, s.scalar("labels"), s.labels)
	}
	return s.mapping(pairs...)
}

// scalar gives a text that stands where the SLO's name does.
func (s *sloNode) scalar(text string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text, Line: s.at.Line, Column: s.at.Column}
}

func (s *sloNode) mapping(pairs ...*yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: pairs, Line: s.at.Line, Column: s.at.Column}
}

// errorRates is the rate of the errors. Where there is traffic, a counter among several that has no
// series yet, such as that of an error which never happened or of successes of a version that has
// none, is 0: a sum with nothing would be nothing, and the worst release would look well.
func (s *sloNode) errorRates(window time.Duration) string {
	return rates(s.errors, window, rates(s.total, window, ""))
}

// totalRates is the rate of all events, where one counter of several has a series at least.
func (s *sloNode) totalRates(window time.Duration) string { return rates(s.total, window, "") }

// rates puts sum(rate(…[window])) around every counter of an expression. One that has no series is 0
// where there is whole; where that is empty, where there is the counter that it is added to.
func rates(e parser.Expr, window time.Duration, whole string) string {
	e = promexpr.Unparen(e)
	b, ok := e.(*parser.BinaryExpr)
	if !ok {
		return fmt.Sprintf("sum(rate(%s[%s]))", e, model.Duration(window))
	}
	left, right := rates(b.LHS, window, whole), rates(b.RHS, window, whole)
	if whole != "" {
		return fmt.Sprintf("(%s %s %s)", orNone(b.LHS, left, whole), b.Op, orNone(b.RHS, right, whole))
	}
	return fmt.Sprintf("(%s %s %s)", orNone(b.LHS, left, right), b.Op, orNone(b.RHS, right, left))
}

// orNone is 0 in the place of text, the rates of e, where that is empty and whole is not. A histogram
// has all its buckets from its first sample on.
func orNone(e parser.Expr, text, whole string) string {
	vs, ok := promexpr.Unparen(e).(*parser.VectorSelector)
	if text == whole || ok && strings.HasSuffix(vs.Name, "_bucket") {
		return text
	}
	return fmt.Sprintf("(%s or 0 * %s)", text, whole)
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }

func percent(share float64) string { return strconv.FormatFloat(100*share, 'g', 6, 64) + "%" }
