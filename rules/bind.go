package rules

import (
	"net/url"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// Bound is a health file with a release's values in it. It does not change and may be used
// concurrently.
type Bound struct {
	Rules   []*BoundRule // in the file's order
	floor   *floor       // nil without min_traffic
	signals []string     // queries that give a sample when ${version} has traffic, the broadest first

	recordings []Recording // the file's, with the values in them
}

// BoundRule is a rule with a release's values in it; its Expr is what the backend can be asked.
type BoundRule struct {
	Rule
	condition *condition
	hidden    *promexpr.Operand // what a recording rule compares for it; nil: nothing
	floor     *floor
	ratio     *promexpr.Ratio // nil where what is compared is no division
	less      []less          // what is compared is empty where one of them lacks its part
	probes    []string        // one per selector
	newest    string          // asks for the newest sample; "": it can't be told
	anchored  bool            // must be asked instant by instant
	external  external

	recordings []Recording // the file's, which the rule may use
}

// Bind puts the values where the file has variables. A variable without a value, and a query that
// is too long with its value, are errors.
func (f *File) Bind(v Vars) (*Bound, error) {
	b := &binder{vars: v, missing: map[string][]string{}}
	out := &Bound{}
	address, err := url.Parse(v.ExternalURL)
	if err != nil {
		return nil, gatekeeper.Errorf(gatekeeper.CodeInvalid, "", "the external URL can't be read: %w", err)
	}
	outside := external{labels: v.ExternalLabels, address: v.ExternalURL, url: address}
	out.recordings = b.bindRecordings(f.Recordings)
	if f.MinTraffic != "" && b.err == nil {
		if e, ok := b.expr("min_traffic", f.MinTraffic); ok {
			out.floor = &floor{condition: newCondition(e.ast), filters: promexpr.Filters(e.ast), versionBound: e.versionBound}
		}
	}
	for _, rule := range f.Rules {
		if b.err != nil {
			break
		}
		if e, ok := b.expr(rule.Name, rule.Expr); ok {
			one := b.rule(rule, e)
			one.floor, one.external, one.recordings = out.floor, outside, out.recordings
			out.Rules = append(out.Rules, one)
		}
	}
	if err := b.failure(); err != nil {
		return nil, err
	}
	out.signals = b.trafficSignals()
	return out, nil
}

// binder gathers what the expressions of a file need.
type binder struct {
	vars    Vars
	known   promexpr.Recordings // the file's recording rules as they are written
	valued  promexpr.Recordings // the same with the values in them
	missing map[string][]string // the rules that use a variable without a value, by variable
	signals []signal
	err     error
}

// boundExpr is an expression with the release's values in it.
type boundExpr struct {
	ast          parser.Expr
	seen         parser.Expr // ast with recorded names seen through
	exact        bool        // what seen reads is what ast reads
	versionBound bool
}

// expr puts the values into an expression; ok is false when that failed.
func (b *binder) expr(user, text string) (e boundExpr, ok bool) {
	written, err := parsed(text)
	if err != nil {
		b.err = err
		return e, false
	}
	if e.ast, ok = b.substituted(user, text); !ok {
		return e, false
	}
	e.versionBound = promexpr.BindingOf(written, b.known) == promexpr.BoundToVersion
	e.seen, e.exact = b.valued.Inline(e.ast)
	asWritten, _ := b.known.Inline(written)
	released := map[*parser.VectorSelector]bool{}
	for _, vs := range promexpr.Selectors(asWritten) {
		released[vs] = promexpr.SelectorBinding(vs, b.known) == promexpr.BoundToVersion
	}
	if _, b.err = b.vars.substitute(asWritten); b.err != nil {
		return e, false
	}
	b.signals = append(b.signals, signalsOf(asWritten, released)...)
	return e, true
}

// rule is a rule of which the backend can be asked.
func (b *binder) rule(rule Rule, e boundExpr) *BoundRule {
	rule.Expr = e.ast.String()
	one := &BoundRule{Rule: rule, condition: newCondition(e.ast), probes: promexpr.Probes(e.seen), anchored: promexpr.Anchored(e.seen)}
	if e.exact {
		one.newest = promexpr.Newest(e.seen)
	}
	o, compared := one.condition.operand, e.ast
	if o != nil {
		compared = o.Expr
	}
	// where only a part of what is recorded is asked for, nothing can be told of what it is a ratio of
	operand, exact := b.valued.Inline(compared)
	if !exact {
		return one
	}
	if inner, found := promexpr.FindOperand(operand); found {
		one.hidden, o, operand = &inner, &inner, inner.Expr
	}
	if o == nil {
		return one
	}
	one.ratio = promexpr.FindRatio(operand, o.Falling())
	for _, d := range promexpr.Differences(operand) {
		one.less = append(one.less, less{promexpr.Unparen(d.Whole).String(), promexpr.Probes(d.Part)})
	}
	return one
}

// substituted is an expression with the values in it; the names of variables without one are noted.
func (b *binder) substituted(user, text string) (ast parser.Expr, ok bool) {
	ast, err := parsed(text)
	if err != nil {
		b.err = err
		return nil, false
	}
	missing, err := b.vars.substitute(ast)
	if err != nil {
		b.err = err
		return nil, false
	}
	for _, name := range missing {
		if !slices.Contains(b.missing[name], user) {
			b.missing[name] = append(b.missing[name], user)
		}
	}
	if n := len(ast.String()); n > maxQuery {
		b.err = gatekeeper.Errorf(gatekeeper.CodeInvalid, "Use shorter values for the release's labels and versions.",
			"%s: the query has %d bytes with the release's values in it, more than %d", user, n, maxQuery)
		return nil, false
	}
	return ast, true
}

func (b *binder) failure() error {
	if b.err != nil {
		return b.err
	}
	if len(b.missing) == 0 {
		return nil
	}
	var names, uses []string
	for name, users := range b.missing {
		names = append(names, name)
		uses = append(uses, name+" (in "+strings.Join(users, ", ")+")")
	}
	slices.Sort(names)
	slices.Sort(uses)
	return gatekeeper.Errorf(gatekeeper.CodeInvalid,
		"Name them when the release is opened: "+strings.Join(names, ", ")+".",
		"the release has no value for %s: its rules can't be asked", strings.Join(uses, ", "))
}
