package rules

import (
	"time"

	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	"github.com/gatekeeper-engine/gatekeeper/internal/yamlnode"
)

// leastInterval keeps a half trusted file from making the daemon busy.
const leastInterval = time.Second

// group is what the rules of a group share.
type group struct {
	name        string
	interval    time.Duration
	queryOffset time.Duration
	limit       int
	labels      map[string]pair
	rules       *yaml.Node
}

// groups reads a list of rule groups as Prometheus has it (model/rulefmt); inline ones may have
// keys of Gatekeeper's own.
func (l *loader) groups(r *reader, n *yaml.Node, inline bool) {
	lines := map[string]int{}
	for _, one := range r.list(n, "groups") {
		g := group{interval: DefaultInterval}
		r.object(one, "the group",
			key{name: "name", must: true, read: func(n *yaml.Node) {
				g.name, _ = r.filled(n, "the group's name")
				if first, dup := lines[g.name]; dup && g.name != "" {
					r.fail(n, checkDuplicate, "Give it another name, or put its rules into the first.", "group %q stands in line %d already", g.name, first)
				}
				lines[g.name] = n.Line
			}},
			key{name: "interval", read: func(n *yaml.Node) {
				if s := yamlnode.Follow(n); s.Value != "0" && s.Value != "0s" { // which means the default
					r.durationTo(n, "interval", leastInterval, &g.interval)
				}
			}},
			key{name: "query_offset", read: func(n *yaml.Node) { r.durationTo(n, "query_offset", 0, &g.queryOffset) }},
			key{name: "labels", read: func(n *yaml.Node) { g.labels = r.labels(n, "the group's labels") }},
			key{name: "rules", read: func(n *yaml.Node) { g.rules = n }},
			key{name: "limit", read: func(n *yaml.Node) { g.limit = r.whole(n, "limit") }},
		)
		if g.rules == nil {
			continue
		}
		for i, n := range r.list(g.rules, "rules") {
			if has(n, "record") {
				l.record(r, g, n, i)
			} else {
				l.rule(r, g, n, i, inline)
			}
		}
	}
}

// rule reads one alerting rule, the place-th of its group.
func (l *loader) rule(r *reader, g group, n *yaml.Node, place int, inline bool) {
	rule := &ruleNode{
		Rule: Rule{
			Group: g.name, Interval: g.interval, QueryOffset: g.queryOffset, Limit: g.limit,
			File: r.src.name, Line: yamlnode.Follow(n).Line, Place: place,
		},
		r: r, at: n, nodes: map[string]*yaml.Node{}, labels: map[string]pair{},
	}
	own, annotations := map[string]pair{}, map[string]pair{}
	keys := []key{
		{name: "alert", read: func(n *yaml.Node) { rule.Alert, _ = r.name(n, "the alert's name") }},
		{name: "expr", must: true, read: func(n *yaml.Node) { rule.expr = r.expression(n, "expr") }},
		{name: "for", read: func(n *yaml.Node) { r.durationTo(n, "for", 0, &rule.For) }},
		{name: "labels", read: func(n *yaml.Node) { own = r.labels(n, "the rule's labels") }},
		{name: "annotations", read: func(n *yaml.Node) { annotations = r.templates(n, "the annotations") }},
		{name: "keep_firing_for", read: func(n *yaml.Node) { r.durationTo(n, "keep_firing_for", 0, &rule.KeepFiringFor) }},
	}
	keys = append(keys, rule.own(inline)...)
	r.object(n, "the rule", noting(rule.nodes, keys)...)
	rule.Labels, rule.Annotations = rule.merge(g.labels, own), values(annotations)
	if rule.expr != nil {
		rule.Expr = rule.expr.text
	}
	switch {
	case rule.Alert != "" && l.operators:
		r.fail(rule.nodes["alert"], checkRecording, "Alerting rules are judged for a release: put them into its health file.", "a file of recording rules can't hold the alert %q", rule.Alert)
	case rule.Alert != "":
		l.rules = append(l.rules, rule)
	case rule.nodes["alert"] == nil && yamlnode.Follow(n).Kind == yaml.MappingNode:
		r.fail(n, checkKey, `Add "alert" to it: the name of what is wrong when the expression gives a sample.`, `the rule has no "alert"`)
	}
}

// has says whether a mapping has a key.
func has(n *yaml.Node, name string) bool {
	for i, c := range yamlnode.Follow(n).Content {
		if i%2 == 0 && c.Value == name {
			return true
		}
	}
	return false
}

// own gives the keys that only rules of the health file itself have.
func (rule *ruleNode) own(inline bool) []key {
	r := rule.r
	const later = "Write it as an expr, as in Prometheus."
	keys := []key{{name: "slo", later: later}, {name: "compare", later: later}, {name: "above", later: later}, {name: "below", later: later}}
	own := []key{
		{name: "warm_up", read: func(n *yaml.Node) { r.durationTo(n, "warm_up", 0, &rule.WarmUp) }},
		{name: "missing_success", read: func(n *yaml.Node) {
			if s, ok := r.oneOf(n, "missing_success", MissingUnhealthy, MissingNoData); ok && s == MissingUnhealthy {
				rule.MissingSuccess = s
			}
		}},
		{name: "dry_run", read: func(n *yaml.Node) { rule.DryRun = r.boolean(n, "dry_run") }},
	}
	if inline {
		return append(keys, own...)
	}
	for _, k := range own {
		keys = append(keys, key{name: k.name, read: func(n *yaml.Node) {
			r.fail(n, checkKey, "Prometheus would refuse the file. Put the rule under groups of the health file itself.", "%q can't stand in a rule file", k.name)
		}})
	}
	return keys
}

// merge puts the rule's labels over its group's.
func (rule *ruleNode) merge(group, own map[string]pair) map[string]string {
	for _, labels := range []map[string]pair{group, own} {
		for name, p := range labels {
			rule.labels[name] = p
		}
	}
	return values(rule.labels)
}

// static gives the labels without templates: those that routes can match and names can hold.
func (rule *ruleNode) static() map[string]string {
	static := map[string]string{}
	for name, value := range rule.Labels {
		if !isTemplate(value) {
			static[name] = value
		}
	}
	return static
}

// labels reads labels of alerts, which may be templates.
func (r *reader) labels(n *yaml.Node, what string) map[string]pair {
	all := r.labelPairs(n, what, "an alert")
	for _, p := range all {
		r.template(p.value)
	}
	return all
}

// labelPairs reads the labels of something.
func (r *reader) labelPairs(n *yaml.Node, what, of string) map[string]pair {
	all := r.texts(n, what)
	for name, p := range all {
		if name == model.MetricNameLabel || !model.UTF8Validation.IsValidLabelName(name) {
			r.fail(p.key, checkValue, "", "%q can't be a label of %s", name, of)
		}
	}
	return all
}

// templates reads a mapping of texts that may be templates.
func (r *reader) templates(n *yaml.Node, what string) map[string]pair {
	all := r.texts(n, what)
	for _, p := range all {
		r.template(p.value)
	}
	return all
}

func (r *reader) durationTo(n *yaml.Node, what string, least time.Duration, to *time.Duration) {
	if d, ok := r.duration(n, what, least); ok {
		*to = d
	}
}

func values(pairs map[string]pair) map[string]string {
	if len(pairs) == 0 {
		return nil
	}
	all := make(map[string]string, len(pairs))
	for name, p := range pairs {
		all[name] = p.value.Value
	}
	return all
}
