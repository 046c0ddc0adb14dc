package lint

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/parser/posrange"

	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// Spec says what one check is.
type Spec struct {
	Name   string // stable: comments and pipelines name it
	Finds  string // what it finds, for the list of checks
	Why    string // what that means for a release, in one sentence
	Online bool   // it asks a backend

	floor bool // it looks at min_traffic too

	rule  func(*rule) []finding
	file  func(*file) []finding
	asked func(context.Context, *online) ([]finding, error)
}

// specs are the checks, in the order of the documentation.
var specs = []*Spec{
	// the rule says something else than it seems to
	checkRate, checkAlways, checkImpossible, checkNaN, checkCounter, checkMatching, checkHistogramLE,
	checkQuantileAverage, checkRatioAverage, checkIrate, checkTopk, checkOffset,
	// it is blind
	checkLopsided, checkBorn, checkRange, checkVectorZero, checkAbsent, checkNoData,
	// it sees others' harm
	checkUnboundService, checkUnboundVersion, checkTail, checkTraffic,
	// it is too slow, or made for something else than a release
	checkLag, checkLongRange, checkFor, checkKeepFiringFor, checkLimit,
	// what it says to people, and how it is written
	checkValueLabel, checkTemplateLabel, checkAnnotations, checkSameRule, checkRegexp, checkIgnore,
	// what the metrics say
	checkSeries, checkLabels, checkType, checkRetention, checkBuckets, checkCost,
}

// Specs gives every check in the order of the documentation.
func Specs() []*Spec { return slices.Clone(specs) }

// Names gives the checks' names, sorted.
func Names() []string {
	var names []string
	for _, s := range specs {
		names = append(names, s.Name)
	}
	slices.Sort(names)
	return names
}

// DefaultScrapeInterval is taken where nobody says how often the metrics are scraped, but for groups
// that look more often: nobody asks more often than there is something new.
const DefaultScrapeInterval = 15 * time.Second

// Options say how to look.
type Options struct {
	// ScrapeInterval is how often the metrics are scraped; 0: as [DefaultScrapeInterval] says.
	ScrapeInterval time.Duration
	// Disabled checks by name, each with the reason.
	Disabled map[string]string
	// Backend answers the online checks; nil: they are left out.
	Backend Backend
	// Now is the instant at which the backend is asked.
	Now time.Time
	// Records says whether the backend of a file's releases evaluates the file's recording rules, as
	// the embedded one does; nil: none does. Else they are errors.
	Records func(*rules.File) bool
}

// Report is what was found in a bundle.
type Report struct {
	File     *rules.File // nil when it can't be used
	Problems rules.Problems
	Lags     []Lag  // of the rules whose lag can be computed, in their order
	Costs    []Cost // of the rules, where a backend was asked

	fixes []fix
}

// Fixable is how many findings [Fix] would mend.
func (r *Report) Fixable() int { return len(r.fixes) }

// maxFindings is how many findings of one bundle are told.
const maxFindings = 500

// Check reads a bundle and runs the checks on it. An error means that the backend did not answer, or
// that the options name a check that there is not; what is wrong with the files is in the report.
func Check(ctx context.Context, b rules.Bundle, o Options) (*Report, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	p := rules.Parse(b)
	report := &Report{Problems: p.Problems}
	if p.Usable {
		report.File = p.File
	}
	if len(p.Unrecordable) > 0 && (o.Records == nil || !o.Records(p.File)) {
		report.File, report.Problems = nil, append(slices.Clone(p.Problems), p.Unrecordable...)
	}
	run := &run{parsed: p, options: o, report: report, comments: readComments(p), measured: map[*rules.ParsedRule]time.Duration{}}
	if o.Backend == nil || !p.Usable {
		run.offline()
	} else if err := run.asking(ctx); err != nil {
		return nil, err
	}
	run.commentProblems()
	sortProblems(p.Bundle, report.Problems)
	report.Problems = once(report.Problems)
	if len(report.Problems) > maxFindings {
		report.Problems = report.Problems[:maxFindings]
	}
	return report, nil
}

// run is one run of the checks over a bundle.
type run struct {
	parsed   *rules.Parsed
	options  Options
	report   *Report
	comments []*comment
	measured map[*rules.ParsedRule]time.Duration // between two samples, where a backend told
}

// asking runs all checks, those that need no backend with what it says of the time between samples.
func (r *run) asking(ctx context.Context) error {
	a, err := newAsker(ctx, r.options.Backend, r.options.Now)
	if err != nil {
		return err
	}
	for _, p := range r.parsed.Expressions() {
		every, ok, err := a.scrapeInterval(ctx, r.parsed.File, p)
		if err != nil {
			return err
		}
		if ok {
			r.measured[p] = every
		}
	}
	r.offline()
	return r.online(ctx, a)
}

// scrape is the time between two samples of what a rule reads.
func (r *run) scrape(p *rules.ParsedRule) time.Duration {
	if every, ok := r.measured[p]; ok {
		return every
	}
	if r.options.ScrapeInterval > 0 {
		return r.options.ScrapeInterval
	}
	return min(DefaultScrapeInterval, p.Interval)
}

// file is what a check of a whole bundle looks at.
type file struct{ *rules.Parsed }

// rule is what a check of one rule looks at.
type rule struct {
	*rules.ParsedRule
	file     *rules.File
	scrape   time.Duration       // between two samples
	measured bool                // in a backend; else assumed
	operand  *promexpr.Operand   // nil where it compares nothing
	recorded promexpr.Recordings // of the file
}

// finding is what a check has to say about a rule or a place.
type finding struct {
	severity rules.Severity
	place    rules.Place
	rule     *rules.ParsedRule // nil: of the file
	message  string
	hint     string
	rewrite  string    // the expression as it could stand instead
	edits    []replace // that make it so, where that is safe
}

// replace puts a text in the place of bytes of an expression.
type replace struct {
	from, to int
	text     string
}

func (r *run) offline() {
	f := &file{r.parsed}
	for _, p := range r.parsed.Bare() {
		one := r.rule(p)
		for _, s := range specs {
			if s.rule != nil && s.floor && (p == r.parsed.Floor || s != checkUnboundService) { // whoever uses what is recorded may bind it
				r.add(s, s.rule(one))
			}
		}
	}
	for _, p := range r.parsed.Rules {
		one := r.rule(p)
		if lag, ok := lagOf(one); ok {
			r.report.Lags = append(r.report.Lags, lag)
		}
		for _, s := range specs {
			if s.rule != nil && (p.SLO == "" || s == checkLag) { // nobody wrote the expression of an SLO's rule
				r.add(s, s.rule(one))
			}
		}
	}
	for _, s := range specs {
		if s.file != nil {
			r.add(s, s.file(f))
		}
	}
}

func (r *run) rule(p *rules.ParsedRule) *rule {
	one := &rule{ParsedRule: p, file: r.parsed.File, scrape: r.scrape(p), recorded: r.parsed.Recorded}
	_, one.measured = r.measured[p]
	if o, ok := promexpr.FindOperand(p.AST); ok {
		one.operand = &o
	}
	return one
}

// seen gives an expression with recorded names seen through. Through says that there were some: what is
// seen then has no place in the rule's text.
func (r *rule) seen(e parser.Expr) (seen parser.Expr, through bool) {
	if !slices.ContainsFunc(promexpr.Selectors(e), r.recordedBy) {
		return e, false
	}
	seen, _ = r.recorded.Inline(e)
	return seen, true
}

// recordedBy says whether a selector is of a name that the file records.
func (r *rule) recordedBy(vs *parser.VectorSelector) bool {
	return r.recorded[promexpr.NameOf(vs)] != nil
}

// longest is how far back the rule's ranges reach.
func (r *rule) longest() time.Duration {
	seen, _ := r.seen(r.AST)
	return longestRange(seen)
}

// add takes a check's findings into the report, but for those that somebody disabled.
func (r *run) add(s *Spec, found []finding) {
	if _, off := r.options.Disabled[s.Name]; off {
		return
	}
	for _, f := range found {
		if r.ignored(s.Name, f.place) {
			continue
		}
		p := rules.Problem{
			File: f.place.File, Line: f.place.Line, Column: f.place.Column, Length: f.place.Length,
			Severity: f.severity, Check: s.Name, Message: f.message, Why: s.Why, Hint: f.hint, Rewrite: f.rewrite,
		}
		if len(f.edits) > 0 && f.rule != nil {
			if p.Rewrite == "" {
				p.Rewrite = oneLine(apply(f.rule.Source, f.edits))
			}
			if edits, ok := fileEdits(f.rule, f.edits); ok {
				p.Fixable = true
				r.report.fixes = append(r.report.fixes, fix{rule: f.rule, edits: edits, want: apply(f.rule.Source, f.edits)})
			}
		}
		r.report.Problems = append(r.report.Problems, p)
	}
}

// at is a finding about a part of the rule's expression.
func (r *rule) at(s rules.Severity, part posrange.PositionRange, message, hint string) finding {
	return finding{severity: s, place: r.Part(int(part.Start), int(part.End)), rule: r.ParsedRule, message: message, hint: hint}
}

// about is a finding about one of the rule's keys.
func (r *rule) about(s rules.Severity, key, message, hint string) finding {
	return finding{severity: s, place: r.Key(key), rule: r.ParsedRule, message: message, hint: hint}
}

// text gives an expression as the file has it.
func (r *rule) text(e parser.Expr) string {
	part := e.PositionRange()
	return r.Source[part.Start:part.End]
}

// instead gives the rule's expression with another text in the place of a part of it.
func (r *rule) instead(part posrange.PositionRange, text string) string {
	return oneLine(apply(r.Source, []replace{{int(part.Start), int(part.End), text}}))
}

// once leaves out what was told before: rules that share an expression by an anchor say the same of it.
func once(all rules.Problems) rules.Problems {
	told := map[rules.Problem]bool{}
	return slices.DeleteFunc(all, func(p rules.Problem) bool {
		before := told[p]
		told[p] = true
		return before
	})
}

// sortProblems puts problems in the order of the bundle's files and of their positions.
func sortProblems(b rules.Bundle, all rules.Problems) {
	order := map[string]int{}
	for i, name := range b.Files() {
		order[name] = i
	}
	slices.SortStableFunc(all, func(x, y rules.Problem) int {
		return cmp.Or(cmp.Compare(order[x.File], order[y.File]), cmp.Compare(x.Line, y.Line), cmp.Compare(x.Column, y.Column))
	})
}
