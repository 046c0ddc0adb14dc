package rules

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// MaxRules is how many rules a health file and its rule files may have together: all of them may
// breach at once, and one fact tells of it.
const MaxRules = 300

// Load reads a bundle strictly. Its error is [Problems]: every problem of all the bundle's files.
func Load(b Bundle) (*File, error) {
	l := newLoader(b)
	f := l.load()
	if l.out.failed {
		return nil, l.out.sorted().Errors()
	}
	return f, nil
}

// loader reads one bundle.
type loader struct {
	bundle Bundle
	out    *collector
	rules  []*ruleNode
	routes []*routeNode
	hasTo  bool // there is a respond section
	floor  *ruleNode

	operators  bool // a file of the operator's: recording rules only, and no release for variables
	recordings []*recordingNode
	known      promexpr.Recordings // once all files are read
}

// ruleNode is a rule with the places its parts stand at, for messages.
type ruleNode struct {
	Rule
	r      *reader
	at     *yaml.Node            // the rule's mapping
	nodes  map[string]*yaml.Node // of its keys
	labels map[string]pair       // its own over its group's
	expr   *expression           // nil when it does not parse
}

func newLoader(b Bundle) *loader {
	return &loader{bundle: b, out: &collector{order: map[string]int{b.title(): 0}}}
}

func (l *loader) reader(name, text string) *reader {
	return &reader{src: newSource(name, text), out: l.out}
}

func (l *loader) load() *File {
	f := &File{
		Window: DefaultWindow, StartWithin: DefaultStartWithin, HoldFor: DefaultHoldFor,
		Coverage: DefaultCoverage, OnInconclusive: Close,
	}
	r := l.reader(l.bundle.title(), l.bundle.File)
	if n := l.bundle.size(); n > MaxBundle {
		r.file(checkSyntax, "Split the rules over several services' files.",
			"the health file and its rule files have %d bytes, more than %d", n, MaxBundle)
		return f
	}
	top := r.document(l.bundle.File)
	if top == nil {
		return f
	}
	var ruleFiles, slos *yaml.Node
	r.object(top, "the health file", l.keys(r, f, &ruleFiles, &slos)...)
	f.SLOs = l.slos(r, slos, f.Window)
	l.ruleFiles(r, ruleFiles)
	r.strayVariables(top)
	l.seeThrough(f)
	l.resolve(f)
	if n := len(l.rules) + len(l.recordings); n > MaxRules {
		r.file(checkValue, "Leave out what tells nothing of a release.", "the health file and its rule files have %d rules, more than %d: a decision could not name them all", n, MaxRules)
	}
	if len(l.rules) == 0 && !l.out.failed && !slices.ContainsFunc(l.routes, func(t *routeNode) bool { return t.External }) {
		r.file(checkKey, "Add a rule under groups, slos or rule_files, or a route with external: true.", "the health file has no rule: nothing could be judged")
	}
	return f
}

// later are the keys of a health file that other versions of it have.
const (
	laterBudget = "Leave it out: nothing limits how often a service is rolled back but the cool-down."
	laterChecks = "Write it as a rule with an expr, as in Prometheus."
	laterSteps  = "Leave it out: a release is watched as one step."
)

func (l *loader) keys(r *reader, f *File, ruleFiles, slos **yaml.Node) []key {
	text := func(to *string, what string) func(*yaml.Node) {
		return func(n *yaml.Node) { *to, _ = r.name(n, what) }
	}
	return []key{
		{name: "service", read: text(&f.Service, "service")},
		{name: "environment", read: text(&f.Environment, "environment")},
		{name: "backend", read: text(&f.Backend, "backend")},
		{name: "window", read: func(n *yaml.Node) { r.durationTo(n, "window", leastInterval, &f.Window) }},
		{name: "start_within", read: func(n *yaml.Node) { r.durationTo(n, "start_within", leastInterval, &f.StartWithin) }},
		{name: "hold_for", read: func(n *yaml.Node) { r.durationTo(n, "hold_for", leastInterval, &f.HoldFor) }},
		{name: "min_traffic", read: func(n *yaml.Node) {
			if e := r.expression(n, "min_traffic"); e != nil {
				f.MinTraffic = e.text
				l.floor = floorNode(r, n, e)
			}
		}},
		{name: "coverage", read: func(n *yaml.Node) { f.Coverage = r.share(n, "coverage") }},
		{name: "on_inconclusive", read: func(n *yaml.Node) {
			f.OnInconclusive, _ = r.oneOf(n, "on_inconclusive", Close, Hold, Rollback)
		}},
		{name: "preflight", read: func(n *yaml.Node) { f.Preflight, _ = r.oneOf(n, "preflight", Require) }},
		{name: "dry_run", read: func(n *yaml.Node) { f.DryRun = r.boolean(n, "dry_run") }},
		{name: "rule_files", read: func(n *yaml.Node) { *ruleFiles = n }},
		{name: "groups", read: func(n *yaml.Node) { l.groups(r, n, true) }},
		{name: "slos", read: func(n *yaml.Node) { *slos = n }},
		{name: "respond", read: func(n *yaml.Node) { l.respond(r, n) }},
		{name: "rollback", read: func(n *yaml.Node) { f.Rollback = r.plan(n) }},
		{name: "budget", later: laterBudget},
		{name: "budgets", later: laterBudget},
		{name: "blast_radius", later: laterBudget},
		{name: "checks", later: laterChecks},
		{name: "steps", later: laterSteps},
	}
}

// floorNode is min_traffic as a rule that has only an expression.
func floorNode(r *reader, n *yaml.Node, e *expression) *ruleNode {
	const name = "min_traffic"
	return &ruleNode{
		Rule: Rule{
			Name: name, Alert: name, Expr: e.text, Interval: DefaultInterval,
			File: r.src.name, Line: n.Line,
		},
		r: r, at: n, nodes: map[string]*yaml.Node{"expr": n}, expr: e,
	}
}

// ruleFiles reads the Prometheus rule files that the health file names.
func (l *loader) ruleFiles(r *reader, n *yaml.Node) {
	named := map[string]bool{}
	if n != nil {
		for _, one := range r.list(n, "rule_files") {
			path, ok := r.filled(one, "an entry of rule_files")
			if !ok {
				continue
			}
			text, there := l.bundle.RuleFiles[path]
			switch {
			case named[path]:
				r.fail(one, checkRuleFile, "Name it once.", "rule_files names %q twice", path)
			case !localPath(path):
				r.fail(one, checkRuleFile, "Name it relative to the health file, as in alerts/release.yml; it lies in that folder or below.", "the rule file %q is outside the health file's folder", path)
			case !there && strings.ContainsAny(path, "*?["):
				r.fail(one, checkUnsupported, "Name each rule file.", "patterns in rule_files are not supported yet")
			case !there:
				r.fail(one, checkRuleFile, "Paths are relative to the health file; whoever opens the release sends the rule files with it.", "there is no rule file %q", path)
			default:
				l.ruleFile(path, text)
			}
			named[path] = true
		}
	}
	for _, path := range slices.Sorted(maps.Keys(l.bundle.RuleFiles)) {
		if !named[path] {
			r.file(checkRuleFile, "Name it under rule_files, or leave it out.", "the bundle has a rule file %q that the health file does not name", path)
		}
	}
}

func (l *loader) ruleFile(path, text string) {
	r := l.reader(l.bundle.titleOf(path), text)
	l.out.order[r.src.name] = len(l.out.order)
	top := r.document(text)
	if top == nil {
		return
	}
	r.object(top, "the rule file", key{name: "groups", read: func(n *yaml.Node) { l.groups(r, n, false) }})
	r.strayVariables(top)
}

// resolve names the rules and says what a breach of each does.
func (l *loader) resolve(f *File) {
	f.routed = l.hasTo
	for _, t := range l.routes {
		f.routes = append(f.routes, t.route)
	}
	alerts := map[string]int{}
	for _, r := range l.rules {
		alerts[r.Alert]++
	}
	first := map[string]*ruleNode{}
	for _, r := range l.rules {
		static := r.static()
		full := ruleName(r.Alert, static)
		if r.Name = r.Alert; alerts[r.Alert] > 1 {
			r.Name = full
		}
		if prior, ok := first[full]; ok && r.Alert != "" {
			r.r.fail(r.nodes["alert"], checkDuplicate, "Give one of them another name or another label.",
				"alert %s stands in %s:%d already, with the same labels", full, prior.r.src.name, prior.Line)
		} else {
			first[full] = r
		}
		r.Response = l.route(r, static)
		f.Rules = append(f.Rules, r.Rule)
	}
}

// name reads a name that is used in queries, paths and messages.
func (r *reader) name(n *yaml.Node, what string) (string, bool) {
	s, ok := r.filled(n, what)
	if ok && len(s) > 253 {
		r.fail(n, checkValue, "", "%s has more than 253 characters", what)
		return "", false
	}
	return s, ok
}

// share reads a number above 0 and up to 1.
func (r *reader) share(n *yaml.Node, what string) float64 {
	v, ok := r.number(n, what)
	if ok && !(v > 0 && v <= 1) {
		r.fail(n, checkValue, "Write 80% as 0.8.", "%s is %v; it must be above 0 and at most 1", what, v)
	}
	return v
}

func ruleName(alert string, labels map[string]string) string {
	if len(labels) == 0 {
		return alert
	}
	return fmt.Sprintf("%s%s", alert, identity(labels))
}
