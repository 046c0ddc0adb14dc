package rules

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/yamlnode"
	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// RecordingQuerier is a [Querier] that can evaluate a health file's recording rules along with what it is
// asked. Nothing is written: a release that opened a moment ago has recorded series of any age, releases
// don't see each other's, and whoever asks for an instant again gets the same answer.
type RecordingQuerier interface {
	Querier

	// WithRecordings gives a Querier whose questions see what the rules record, each rule from those before
	// it: a question at t finds samples of a rule at t - QueryOffset, an Interval before that, and so on, as
	// far back as it looks; of a range, counted from its first instant. QueryOffset may be negative. What the
	// backend itself has by a recorded name is hidden. A rule that can't be evaluated at one of these instants
	// is an error of the question. The error of WithRecordings is that what is behind it can't do so.
	WithRecordings(all []Recording) (Querier, error)
}

// WithRecordings gives the backend with recording rules, or an error where it can't evaluate any.
func WithRecordings(q Querier, all []Recording) (Querier, error) {
	if len(all) == 0 {
		return q, nil
	}
	able, ok := q.(RecordingQuerier)
	if !ok {
		return nil, gatekeeper.Errorf(gatekeeper.CodeInvalid, whereToRecord,
			"%s:%d: the health file has the recording rule %q, and its backend can't evaluate it for one release", all[0].File, all[0].Line, all[0].Record)
	}
	return able.WithRecordings(all)
}

const whereToRecord = "Put it into a rule file of Prometheus itself: an alert here can use what it records. Or name an embedded backend, which evaluates it for each release."

// CheckBackend is an error where a backend can't judge by the file, for it has recording rules.
func (f *File) CheckBackend(q Querier) error {
	_, err := WithRecordings(q, f.Recordings)
	return err
}

// over gives the backend as the rule's questions see it: with the file's recording rules, and what of
// their query_offset is more than the rule's own, which the questions keep already.
func (r *BoundRule) over(q Querier) (Querier, error) { return over(q, r.recordings, r.QueryOffset) }

func over(q Querier, all []Recording, offset time.Duration) (Querier, error) {
	if len(all) == 0 {
		return q, nil
	}
	all = slices.Clone(all)
	for i := range all {
		all[i].QueryOffset -= offset
	}
	with, err := WithRecordings(q, all)
	if err != nil {
		return nil, err
	}
	return &inStep{with, all}, nil
}

// inStep asks ranges so that each of their instants sees what is recorded as if it were asked alone: as
// one range where the step is a multiple of every rule's interval, else as several with longer steps.
type inStep struct {
	Querier
	recordings []Recording
}

// QueryRange gives what Query gives at each instant.
func (s *inStep) QueryRange(ctx context.Context, expr string, from, to time.Time, step time.Duration) (Matrix, error) {
	parts := s.parts(step, to.Sub(from)/step+1)
	if parts <= 1 {
		return s.Querier.QueryRange(ctx, expr, from, to, step)
	}
	var whole Matrix
	index := map[string]int{}
	for n := range parts {
		part, err := s.Querier.QueryRange(ctx, expr, from.Add(n*step), to, parts*step)
		if err != nil {
			return Matrix{}, err
		}
		whole.add(part, index)
	}
	for _, one := range whole.Series {
		slices.SortFunc(one.Points, func(a, b Point) int { return a.At.Compare(b.At) })
	}
	return whole, nil
}

// parts is how many ranges are asked for one of so many instants, each of its own.
func (s *inStep) parts(step, instants time.Duration) time.Duration {
	for parts := time.Duration(1); parts < instants; parts++ {
		if !slices.ContainsFunc(s.recordings, func(r Recording) bool { return parts*step%r.Interval != 0 }) {
			return parts
		}
	}
	return instants
}

// add takes the points of another answer; index has the series by their labels.
func (m *Matrix) add(part Matrix, index map[string]int) {
	for _, w := range part.Warnings {
		if !slices.Contains(m.Warnings, w) {
			m.Warnings = append(m.Warnings, w)
		}
	}
	for _, one := range part.Series {
		key := identity(one.Labels)
		at, known := index[key]
		if !known {
			at = len(m.Series)
			index[key] = at
			m.Series = append(m.Series, Series{Labels: one.Labels})
		}
		m.Series[at].Points = append(m.Series[at].Points, one.Points...)
	}
}

// seeThrough notes what the rules read when what they use of the file's recording rules is seen through.
// These come in their order, so that each can be evaluated from those before it.
func (l *loader) seeThrough(f *File) {
	l.known = promexpr.Recordings{}
	l.recordingOrder()
	for _, r := range l.recordings {
		f.Recordings = append(f.Recordings, r.Recording)
		if r.expr != nil && r.Record != "" {
			l.known.Add(r.Record, r.expr.ast, r.Labels, r.Interval, r.QueryOffset)
		}
	}
	rules := l.rules
	if l.floor != nil {
		rules = append(slices.Clone(rules), l.floor)
	}
	for _, r := range rules {
		if r.expr != nil {
			r.Range = promexpr.Reach(r.expr.ast, l.known)
			r.VersionBound = promexpr.BindingOf(r.expr.ast, l.known) == promexpr.BoundToVersion
		}
	}
}

// recordingOrder refuses recording rules that use what they, or rules behind them, record: there is
// nothing of it when they are evaluated. So are two that would record the same series.
func (l *loader) recordingOrder() {
	last, first := map[string]int{}, map[string]*recordingNode{}
	for i, r := range l.recordings {
		last[r.Record] = i
		full := ruleName(r.Record, r.Labels)
		if prior := first[full]; prior != nil && r.Record != "" {
			r.r.fail(r.name, checkDuplicate, "Give one of them another name or another label.",
				"%s is recorded in %s:%d already", full, prior.r.src.name, prior.Line)
		} else {
			first[full] = r
		}
	}
	for i, r := range l.recordings {
		if r.expr == nil {
			continue
		}
		for _, vs := range promexpr.Selectors(r.expr.ast) {
			name := promexpr.NameOf(vs)
			if j, recorded := last[name]; recorded && j >= i {
				at, where := vs.PositionRange(), fmt.Sprintf("further down, in line %d", l.recordings[j].Line)
				if j == i {
					where = "by this very rule"
				}
				r.r.tellAt(Error, yamlnode.Follow(r.exprNode), int(at.Start), int(at.End-at.Start), checkRecording,
					"Rules are evaluated in the file's order: put this one behind what it uses.",
					"the recording rule %q uses %q, which is recorded %s", r.Record, name, where)
			}
		}
	}
}

// bindRecordings puts the release's values into the recording rules.
func (b *binder) bindRecordings(all []Recording) (bound []Recording) {
	b.known, b.valued = promexpr.Recordings{}, promexpr.Recordings{}
	for _, r := range all {
		written, err := parsed(r.Expr)
		if err != nil {
			b.err = err
			return nil
		}
		b.known.Add(r.Record, written, r.Labels, r.Interval, r.QueryOffset)
		ast, ok := b.substituted(r.Record, r.Expr)
		if !ok {
			return nil
		}
		b.valued.Add(r.Record, ast, r.Labels, r.Interval, r.QueryOffset)
		r.Expr = ast.String()
		r.Labels = maps.Clone(r.Labels)
		bound = append(bound, r)
	}
	return bound
}

// Behind gives the recording rules that an expression uses, and those that these use, in the file's order.
func (f *File) Behind(expr string) (used []Recording) {
	var read []*parser.VectorSelector
	note := func(text string) {
		if e, err := promexpr.Parser.ParseExpr(text); err == nil { // it was parsed when the file was loaded
			read = append(read, promexpr.Selectors(e)...)
		}
	}
	note(expr)
	for _, r := range slices.Backward(f.Recordings) { // each uses those before it only
		if slices.ContainsFunc(read, func(vs *parser.VectorSelector) bool { return promexpr.MatchesName(r.Record, vs.LabelMatchers) }) {
			used = append(used, r)
			note(r.Expr)
		}
	}
	slices.Reverse(used)
	return used
}

// node is the recording rule as a rule that has only an expression.
func (r *recordingNode) node() *ruleNode {
	return &ruleNode{
		Rule: Rule{
			Name: r.Record, Alert: r.Record, Group: r.Group, Expr: r.Expr, Interval: r.Interval, QueryOffset: r.QueryOffset,
			Limit: r.Limit, Labels: r.Labels, File: r.File, Line: r.Line, Place: r.Place,
		},
		r: r.r, at: r.at, nodes: map[string]*yaml.Node{"alert": r.name, "expr": r.exprNode}, expr: r.expr,
	}
}

// problem says where a recording rule belongs that the backend can't evaluate.
func (r *recordingNode) problem() Problem {
	return r.r.node(cmp.Or(r.name, r.at)).problem(Error, checkRecording, whereToRecord,
		"the recording rule "+strconv.Quote(r.Record)+" needs a backend that evaluates it for each release by itself: the embedded one does, Prometheus doesn't")
}
