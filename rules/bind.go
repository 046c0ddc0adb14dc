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
}

// BoundRule is a rule with a release's values in it; its Expr is what the backend can be asked.
type BoundRule struct {
	Rule
	condition *condition
	floor     *floor
	ratio     *promexpr.Ratio // nil where what is compared is no division
	less      []less          // what is compared is empty where one of them lacks its part
	probes    []string        // one per selector
	newest    string          // asks for the newest sample; "": it can't be told
	anchored  bool            // must be asked instant by instant
	external  external
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
	if f.MinTraffic != "" {
		ast, bound := b.expr("min_traffic", f.MinTraffic)
		if b.err == nil {
			out.floor = &floor{condition: newCondition(ast), filters: promexpr.Filters(ast), versionBound: bound}
		}
	}
	for _, rule := range f.Rules {
		ast, _ := b.expr(rule.Name, rule.Expr)
		if b.err != nil {
			break
		}
		rule.Expr = ast.String()
		one := &BoundRule{Rule: rule, condition: newCondition(ast), floor: out.floor, probes: promexpr.Probes(ast), newest: promexpr.Newest(ast), anchored: promexpr.Anchored(ast), external: outside}
		if o := one.condition.operand; o != nil {
			one.ratio = promexpr.FindRatio(o.Expr, o.Falling())
			for _, d := range promexpr.Differences(o.Expr) {
				one.less = append(one.less, less{promexpr.Unparen(d.Whole).String(), promexpr.Probes(d.Part)})
			}
		}
		out.Rules = append(out.Rules, one)
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
	missing map[string][]string // the rules that use a variable without a value, by variable
	signals []signal
	err     error
}

func (b *binder) expr(user, text string) (ast parser.Expr, versionBound bool) {
	ast, err := parsed(text)
	if err != nil {
		b.err = err
		return nil, false
	}
	versionBound = promexpr.BindingOf(ast) == promexpr.BoundToVersion
	released := map[*parser.VectorSelector]bool{}
	for _, vs := range promexpr.Selectors(ast) {
		released[vs] = promexpr.SelectorBinding(vs) == promexpr.BoundToVersion
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
	b.signals = append(b.signals, signalsOf(ast, released)...)
	return ast, versionBound
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
