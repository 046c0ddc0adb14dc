package promexpr

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// maxInlined is how many bytes of recording rules' expressions one expression is shown with: each may
// use another one twice, and so on.
const maxInlined = 16 << 10

// Recordings are recording rules by the name that they record: what a selector of that name stands
// for. A nil one holds none. It may be read concurrently once it is complete.
type Recordings map[string]*Recorded

// Recorded is what the recording rules of one name come to.
type Recorded struct {
	inlined  parser.Expr       // what is recorded, without recorded names; nil: too long
	size     int               // bytes of inlined
	exact    bool              // inlined has samples where the recorded series has
	labels   map[string]string // that the rule sets
	several  bool              // rules, each with its own labels: their values tell nothing
	interval time.Duration
	reach    time.Duration
	binding  Binding
}

// Add takes a recording rule that may use those before it. Ago is how long before a slot it is asked.
func (r Recordings) Add(name string, e parser.Expr, set map[string]string, interval, ago time.Duration) {
	inlined, exact := r.Inline(e)
	one := &Recorded{
		inlined: inlined, exact: exact, labels: maps.Clone(set), interval: interval,
		reach: Reach(e, r) + interval + ago, binding: BindingOf(e, r),
	}
	if other := r[name]; other != nil { // rules of one name have different labels
		one.exact, one.several = false, true
		if one.labels == nil {
			one.labels = map[string]string{}
		}
		maps.Copy(one.labels, other.labels)
		one.interval = min(one.interval, other.interval)
		one.reach = max(one.reach, other.reach)
		one.binding = max(one.binding, other.binding)
		if one.inlined != nil && other.inlined != nil {
			one.inlined = &parser.BinaryExpr{Op: parser.LOR, LHS: paren(other.inlined), RHS: paren(one.inlined), VectorMatching: &parser.VectorMatching{Card: parser.CardManyToMany}}
		} else {
			one.inlined = nil
		}
	}
	if one.inlined != nil {
		if one.size = len(one.inlined.String()); one.size > maxInlined {
			one.inlined = nil
		}
	}
	r[name] = one
}

// of gives what a selector stands for when it selects one recorded name; nil: it does not.
func (r Recordings) of(vs *parser.VectorSelector) *Recorded { return r[NameOf(vs)] }

// all gives what a selector may find of the recordings, by whatever it says of the name.
func (r Recordings) all(vs *parser.VectorSelector) (found []*Recorded) {
	if one := r.of(vs); one != nil {
		return []*Recorded{one}
	}
	if NameOf(vs) != "" {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(r)) {
		if MatchesName(name, vs.LabelMatchers) {
			found = append(found, r[name])
		}
	}
	return found
}

// NameOf gives the one metric name that a selector selects; "" where it says something else of it.
func NameOf(vs *parser.VectorSelector) string {
	if vs.Name != "" {
		return vs.Name
	}
	for _, m := range vs.LabelMatchers {
		if m.Name == model.MetricNameLabel && m.Type == labels.MatchEqual {
			return m.Value
		}
	}
	return ""
}

// MatchesName says whether matchers let series of a metric name through.
func MatchesName(name string, matchers []*labels.Matcher) bool {
	return !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool {
		return m.Name == model.MetricNameLabel && !m.Matches(name)
	})
}

// Inline gives a copy of an expression in which recording rules' expressions stand in the place of the
// names that they record, as far as that is possible. Exact says that every selector was seen through,
// and that each has samples where its name has: a matcher of what its rule does not keep shows less.
func (r Recordings) Inline(e parser.Expr) (seen parser.Expr, exact bool) {
	i := &inliner{known: r, left: maxInlined, exact: true}
	return i.expr(copied(e)), i.exact
}

type inliner struct {
	known Recordings
	left  int // bytes
	exact bool
}

// expr sees through the selectors of a copy.
func (i *inliner) expr(e parser.Expr) parser.Expr {
	switch e := e.(type) {
	case *parser.VectorSelector:
		return i.instant(e)
	case *parser.MatrixSelector:
		return i.window(e)
	case *parser.AggregateExpr:
		e.Expr = i.expr(e.Expr)
		if e.Param != nil {
			e.Param = i.expr(e.Param)
		}
	case *parser.BinaryExpr:
		e.LHS, e.RHS = i.expr(e.LHS), i.expr(e.RHS)
	case *parser.Call:
		for n, arg := range e.Args {
			e.Args[n] = i.expr(arg)
		}
	case *parser.ParenExpr:
		e.Expr = i.expr(e.Expr)
	case *parser.SubqueryExpr:
		e.Expr = i.expr(e.Expr)
	case *parser.UnaryExpr:
		e.Expr = i.expr(e.Expr)
	}
	return e
}

func (i *inliner) instant(vs *parser.VectorSelector) parser.Expr {
	seen := i.behind(vs)
	if seen == nil {
		return vs
	}
	shift(seen, vs.OriginalOffset)
	return paren(seen)
}

func (i *inliner) window(m *parser.MatrixSelector) parser.Expr {
	vs, ok := m.VectorSelector.(*parser.VectorSelector)
	if !ok {
		return m
	}
	seen := i.behind(vs)
	if seen == nil {
		return m
	}
	return &parser.SubqueryExpr{Expr: paren(seen), Range: m.Range, Step: i.known.of(vs).interval, OriginalOffset: vs.OriginalOffset}
}

// behind gives what a selector stands for; nil: itself.
func (i *inliner) behind(vs *parser.VectorSelector) parser.Expr {
	one := i.known.of(vs)
	if one == nil {
		i.exact = i.exact && len(i.known.all(vs)) == 0
		return nil
	}
	if one.inlined == nil || vs.Timestamp != nil || vs.StartOrEnd != 0 {
		i.exact = false
		return nil
	}
	if i.left -= one.size; i.left < 0 {
		i.exact = false
		return nil
	}
	if one.never(vs) {
		i.exact = false
		return nil
	}
	seen, all := one.narrowed(vs)
	i.exact = i.exact && one.exact && all
	return seen
}

// never says that a selector of the name finds nothing, whatever is read.
func (r *Recorded) never(vs *parser.VectorSelector) bool { return len(r.excluded(vs)) > 0 }

// excluded gives the labels that a selector of the name asks for, and that the rule drops, or sets to
// something else. Where a variable stands, its value decides.
func (r *Recorded) excluded(vs *parser.VectorSelector) (names []string) {
	for _, m := range vs.LabelMatchers {
		if m.Name == model.MetricNameLabel {
			continue
		}
		value, static := r.labels[m.Name]
		if static && !r.several && !strings.Contains(m.Value, "${") && !m.Matches(value) ||
			!static && !m.Matches("") && drops(r.inlined, m.Name) {
			names = append(names, m.Name)
		}
	}
	return names
}

// Excluded gives the labels for which a selector of a recorded name finds nothing, ever: its rule drops
// them, or sets them to other values than the selector asks for.
func (r Recordings) Excluded(vs *parser.VectorSelector) []string {
	if one := r.of(vs); one != nil && one.inlined != nil {
		return one.excluded(vs)
	}
	return nil
}

// narrowed gives what a selector of the name stands for, narrowed by its matchers as far as they can be
// made ones of what is read; all says that each was.
func (r *Recorded) narrowed(vs *parser.VectorSelector) (seen parser.Expr, all bool) {
	seen, all = copied(r.inlined), true
	for _, m := range vs.LabelMatchers {
		if m.Name == model.MetricNameLabel {
			continue
		}
		if value, static := r.labels[m.Name]; static {
			all = all && !r.several && m.Matches(value)
			continue
		}
		if next := copied(seen); push(next, m) {
			seen = next
		} else {
			all = false
		}
	}
	return seen, all
}

// shift moves what an expression reads into the past, but for what is of one instant whenever it is asked.
func shift(e parser.Node, by time.Duration) {
	if by == 0 {
		return
	}
	switch e := e.(type) {
	case *parser.VectorSelector:
		if e.Timestamp == nil {
			e.OriginalOffset += by
		}
	case *parser.SubqueryExpr:
		if e.Timestamp == nil {
			e.OriginalOffset += by
		}
	default:
		for c := range parser.ChildrenIter(e) {
			shift(c, by)
		}
	}
}

func paren(e parser.Expr) parser.Expr {
	if p, ok := e.(*parser.ParenExpr); ok {
		return p
	}
	return &parser.ParenExpr{Expr: e}
}

// copied gives a copy of an expression that shares nothing that is changed here.
func copied(e parser.Expr) parser.Expr {
	switch e := e.(type) {
	case *parser.VectorSelector:
		c := *e
		c.LabelMatchers = slices.Clone(e.LabelMatchers)
		return &c
	case *parser.MatrixSelector:
		c := *e
		c.VectorSelector = copied(e.VectorSelector)
		return &c
	case *parser.AggregateExpr:
		c := *e
		c.Expr = copied(e.Expr)
		if e.Param != nil {
			c.Param = copied(e.Param)
		}
		return &c
	case *parser.BinaryExpr:
		c := *e
		c.LHS, c.RHS = copied(e.LHS), copied(e.RHS)
		return &c
	case *parser.Call:
		c := *e
		c.Args = make(parser.Expressions, len(e.Args))
		for n, arg := range e.Args {
			c.Args[n] = copied(arg)
		}
		return &c
	case *parser.ParenExpr:
		c := *e
		c.Expr = copied(e.Expr)
		return &c
	case *parser.SubqueryExpr:
		c := *e
		c.Expr = copied(e.Expr)
		return &c
	case *parser.UnaryExpr:
		c := *e
		c.Expr = copied(e.Expr)
		return &c
	default: // numbers and strings stay what they are
		return e
	}
}
