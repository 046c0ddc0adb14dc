package rules

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/prometheus/alertmanager/matcher/parse"
	"github.com/prometheus/alertmanager/pkg/labels"
	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	"github.com/gatekeeper-engine/gatekeeper/internal/yamlnode"
)

// route is an entry of respond.
type route struct {
	Response
	matchers labels.Matchers
}

// routeNode is a route with its place.
type routeNode struct {
	route
	reader *reader
	nodes  map[string]*yaml.Node // of its keys
}

// respond reads the routes.
func (l *loader) respond(r *reader, n *yaml.Node) {
	l.hasTo = true
	for _, one := range r.list(n, "respond") {
		t := &routeNode{route: route{Response: Response{Blind: DefaultBlind}}, reader: r, nodes: map[string]*yaml.Node{}}
		policy := func(to *string, what string) func(*yaml.Node) {
			return func(n *yaml.Node) { *to, _ = r.oneOf(n, what, Hold, Rollback, Ignore) }
		}
		keys := []key{
			{name: "matchers", read: func(n *yaml.Node) { t.matchers = r.matchers(n) }},
			{name: "do", must: true, read: func(n *yaml.Node) { t.Do, _ = r.oneOf(n, "do", Rollback, Hold, Notify) }},
			{name: "veto", read: func(n *yaml.Node) { r.durationTo(n, "veto", 0, &t.Veto) }},
			{name: "no_data", read: policy(&t.NoData, "no_data")},
			{name: "on_error", read: policy(&t.OnError, "on_error")},
			{name: "blind", read: func(n *yaml.Node) { r.durationTo(n, "blind", leastInterval, &t.Blind) }},
			{name: "external", read: func(n *yaml.Node) { t.External = r.boolean(n, "external") }},
		}
		r.object(one, "the route", noting(t.nodes, keys)...)
		if veto := t.nodes["veto"]; veto != nil && t.Do != Rollback && t.Do != "" {
			r.fail(veto, checkValue, "Leave it out.", "veto is the time to cancel a rollback; this route does %q", t.Do)
		}
		t.Response = t.filled()
		l.routes = append(l.routes, t)
	}
}

// filled gives the response with the policies that it does not name: a rule that only notifies
// holds nothing when it goes blind.
func (a Response) filled() Response {
	policy := Hold
	if a.Do == Notify {
		policy = Ignore
	}
	if a.NoData == "" {
		a.NoData = policy
	}
	if a.OnError == "" {
		a.OnError = policy
	}
	return a
}

// position is how the matcher parser begins its errors: the columns of what it could not read.
var position = regexp.MustCompile(`^(\d+):(\d+): `)

// matchers reads a list of matchers in Alertmanager's syntax.
func (r *reader) matchers(n *yaml.Node) labels.Matchers {
	var all labels.Matchers
	for _, one := range r.list(n, "matchers") {
		text, ok := r.filled(one, "a matcher")
		if !ok {
			continue
		}
		ms, err := parse.Matchers(text)
		if err == nil && len(ms) == 0 {
			err = fmt.Errorf("no matcher")
		}
		if err != nil {
			offset, length, message := 0, len(text), err.Error()
			if m := position.FindStringSubmatch(message); m != nil {
				from, _ := strconv.Atoi(m[1])
				to, _ := strconv.Atoi(m[2])
				offset, length, message = byteAt(text, from), byteAt(text, to)-byteAt(text, from), message[len(m[0]):]
			}
			r.tellAt(Error, yamlnode.Follow(one), offset, length, checkMatcher,
				`Matchers are Alertmanager's: 'severity="critical"', 'team=~"shop|pay"', 'env!="test"'.`, "bad matcher: %s", message)
			continue
		}
		all = append(all, ms...)
	}
	return all
}

// byteAt gives the offset of a text's character.
func byteAt(s string, character int) int {
	for offset := range s {
		if character == 0 {
			return offset
		}
		character--
	}
	return len(s)
}

// route says what a breach of the rule does.
func (l *loader) route(rule *ruleNode, static map[string]string) Response {
	if !l.hasTo {
		return Response{Do: Rollback, Blind: DefaultBlind}.filled()
	}
	set := labelSet(static)
	set[model.AlertNameLabel] = model.LabelValue(rule.Alert)
	for _, t := range l.routes {
		for _, m := range t.matchers {
			if p, ok := rule.labels[m.Name]; ok && isTemplate(p.value.Value) {
				rule.r.tell(Error, rule.at, checkMatcher,
					fmt.Sprintf("Give label %q a fixed value, or match on another label.", m.Name),
					"routes are found when the file is loaded: respond can't match on label %q of %s, whose value is a template", m.Name, rule.Alert)
				return t.Response
			}
		}
		if t.matchers.Matches(set) {
			return t.Response
		}
	}
	return unmatched
}

// unmatched is the response to what no route matches.
var unmatched = Response{Do: Notify, NoData: Ignore, OnError: Ignore, Blind: DefaultBlind}

// Route gives the response to an alert with these labels and whether a route matches them. For an
// external alert only the routes with external: true count, and without one nothing may be done.
func (f *File) Route(labels map[string]string, external bool) (Response, bool) {
	if !f.routed && !external {
		return Response{Do: Rollback, Blind: DefaultBlind}.filled(), true
	}
	set := labelSet(labels)
	for _, t := range f.routes {
		if (t.External || !external) && t.matchers.Matches(set) {
			return t.Response, true
		}
	}
	return unmatched, false
}

func labelSet(labels map[string]string) model.LabelSet {
	set := make(model.LabelSet, len(labels)+1)
	for name, value := range labels {
		set[model.LabelName(name)] = model.LabelValue(value)
	}
	return set
}

// String says in words what the response does.
func (a Response) String() string {
	var out strings.Builder
	out.WriteString(a.Do)
	if a.Veto > 0 {
		fmt.Fprintf(&out, " after %s for a veto", model.Duration(a.Veto))
	}
	blind := model.Duration(a.Blind)
	if a.NoData == a.OnError {
		fmt.Fprintf(&out, "; blind for %s: %s", blind, a.NoData)
	} else {
		fmt.Fprintf(&out, "; no data for %s: %s; no answer for %s: %s", blind, a.NoData, blind, a.OnError)
	}
	return out.String()
}

// Responses gives one line per rule: its name and what a breach of it does.
func (f *File) Responses() []string {
	width := 0
	for _, r := range f.Rules {
		width = max(width, len(r.Name))
	}
	lines := make([]string, len(f.Rules))
	for i, r := range f.Rules {
		note := ""
		if r.DryRun || f.DryRun {
			note = " (dry run: only recorded)"
		}
		lines[i] = fmt.Sprintf("%-*s → %s%s", width, r.Name, r.Response, note)
	}
	return lines
}
