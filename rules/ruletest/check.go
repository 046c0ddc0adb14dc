package ruletest

import (
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/rehearsal"
	"github.com/gatekeeper-engine/gatekeeper/internal/suggest"
	"github.com/gatekeeper-engine/gatekeeper/internal/yamlnode"
)

// checkReleases says what is wrong with a test's releases and what happens to them.
func (t *Test) checkReleases(r *reader) {
	if len(t.Releases) > maxReleases {
		r.fail(t.Place, 1, "size", "Split the test.", "a test has more than %d releases", maxReleases)
	}
	if len(t.Releases) == 0 && len(t.Faults)+len(t.Freezes)+len(t.Sent) > 0 {
		r.fail(t.Place, 1, "key", "They are what releases meet: add releases, or leave them out.", "the test has faults, freezes or alerts, and no releases")
	}
	if len(t.Releases) > 0 && !t.StartTimestamp.IsZero() && t.StartTimestamp.Before(rehearsal.Epoch) {
		r.fail(t.Place, 1, "value", "Leave it out, or let it be "+rehearsal.Epoch.Format(time.RFC3339)+" or later: virtual time begins shortly before.", "releases can't be run at start_timestamp")
	}
	for _, one := range t.Faults {
		one.check(r)
	}
	for _, one := range t.Sent {
		one.check(r)
	}
	for _, one := range t.Freezes {
		whole := one.From%offset(time.Minute) == 0 && one.To%offset(time.Minute) == 0
		if !whole || one.To <= one.From || time.Duration(one.To) > longestScript {
			r.fail(one.Place, 1, "value", "Give a from and a later to, both in whole minutes.", "a freeze can't be from %s to %s", clock(one.From), clock(one.To))
		}
	}
	for _, one := range t.Releases {
		one.check(r)
	}
}

func (one Fault) check(r *reader) {
	backend := []string{"error", "slow", "empty", "partial", "429"}
	switch {
	case one.Backend != "" && one.Gatekeeper != "" || one.Backend == "" && one.Gatekeeper == "":
		r.fail(one.Place, 1, "key", "Write backend: error, or gatekeeper: killed.", "a fault is of the backend or of gatekeeper")
	case one.Backend != "":
		r.word(one.Place, "backend", one.Backend, backend)
	default:
		r.word(one.Place, "gatekeeper", one.Gatekeeper, []string{string(rehearsal.Killed)})
	}
	if one.To != 0 && one.To <= one.From || one.To == 0 && one.Gatekeeper != "" || time.Duration(one.To) > longestScript {
		r.fail(one.Place, 1, "value", "Give a from and a later to.", "a fault can't be from %s to %s", clock(one.From), clock(one.To))
	}
}

func (one Sent) check(r *reader) {
	if one.Sender != "" {
		r.word(one.Place, "sender", one.Sender, []string{"prometheus", "alertmanager"})
	}
	if one.Labels[gatekeeper.AlertNameLabel] == "" || one.Labels["service"] == "" {
		r.fail(one.Place, 1, "key", "Write labels: {alertname: X, service: Y}.", "an alert has no alertname, or no service that it is about")
	}
	if one.To <= one.From || one.Lasts < 0 || time.Duration(one.To) > longestScript {
		r.fail(one.Place, 1, "value", "Give a from and a later to.", "an alert can't fire from %s to %s", clock(one.From), clock(one.To))
	}
}

func (r Release) check(to *reader) {
	if r.HealthFile == "" {
		to.fail(r.Place, 1, "key", "Name it relative to the test file.", "a release has no health_file")
	}
	if r.Version == "" {
		to.fail(r.Place, 1, "key", "", "a release has no version")
	}
	times := []offset{r.Opened}
	for _, at := range []*offset{r.Deployed, r.Closed} {
		if at != nil {
			times = append(times, *at)
		}
	}
	if r.Deployed != nil && *r.Deployed < r.Opened {
		to.fail(r.Place, 1, "value", "A release is opened before its version is deployed.", "deployed is before opened")
	}
	if r.Reported != nil && r.Deployed == nil {
		to.fail(r.Place, 1, "key", "Say when, with deployed.", "reported tells of a deployment, and there is none")
	}
	for _, one := range r.Rungs {
		one.check(to)
	}
	for _, d := range r.People {
		times = append(times, d.At)
		d.check(to)
	}
	for _, at := range times {
		if time.Duration(at) > longestScript || time.Duration(at) < -earliest {
			to.fail(r.Place, 1, "value", "", "a release's test begins more than 24h before time 0, or is longer than 7 days")
			break
		}
	}
	for _, e := range r.Expect {
		e.check(to)
	}
	for _, e := range r.Never {
		e.check(to)
		if e.At != nil || e.Within != 0 {
			to.fail(e.Place, 1, "key", "What never happens has no time.", "an entry of never has at or within")
		}
	}
}

func (one Rung) check(r *reader) {
	effects := []string{"works", "refuses", "fails", "hangs"}
	if one.Kind != "" {
		r.word(one.Place, "kind", one.Kind, []string{"restore", "set"})
	}
	if one.Prepare != "" {
		r.word(one.Place, "prepare", one.Prepare, effects)
	}
	if one.Apply != "" {
		r.word(one.Place, "apply", one.Apply, append(effects, "loses_reply"))
	}
}

func (d Deed) check(r *reader) {
	verbs := make([]string, len(rehearsal.Verbs))
	for i, v := range rehearsal.Verbs {
		verbs[i] = string(v)
	}
	r.word(d.Place, "do", d.Do, verbs)
	if (d.Do == string(rehearsal.Extend)) != (d.For > 0) {
		r.fail(d.Place, 1, "key", "extend needs for: how much longer; nothing else takes it.", "for belongs to extend")
	}
}

// word tells of a value that is none of a few words.
func (r *reader) word(at Place, key, value string, words []string) {
	if slices.Contains(words, value) {
		return
	}
	hint := "It is one of: " + strings.Join(words, ", ") + "."
	if name, ok := suggest.Nearest(value, words); ok {
		hint = "Did you mean " + name + "?"
	}
	r.fail(at, 1, "value", hint, "%s can't be %q", key, value)
}

func (e Expectation) check(r *reader) {
	if e.Word == "" {
		return // told when it was read
	}
	if known := facts[e.Word].values; len(known) > 0 && e.Value != Any {
		r.word(e.Place, e.Word, e.Value, append(known, Any))
	}
	if e.At == nil && e.Within != 0 {
		r.fail(e.Place, 1, "key", "Add at: the time that it should be near to.", "within without at")
	}
	if e.At != nil && *e.At > longestScript {
		r.fail(e.Place, 1, "value", "", "%s is later than 7 days", clock(*e.At))
	}
}

// read reads a mapping with at, within, says and one more key: the word of the fact with its value. A
// word alone means any fact of its kind.
func (e *Expectation) read(r *reader, n *yaml.Node) {
	e.Place = placeOf(n)
	if n.Kind == yaml.ScalarNode && !yamlnode.IsNull(n) {
		if _, known := facts[n.Value]; !known {
			r.unknown(n, "an expectation", words())
			return
		}
		e.Word, e.Value = n.Value, Any
		return
	}
	if n.Kind != yaml.MappingNode {
		r.wrong(n, "type", "Write it as {at: 5m, decided: HighErrorRate}.", "an expectation must be a mapping, not %s", yamlnode.Kind(n))
		return
	}
	for _, p := range r.pairs(n, "an expectation") {
		value := yamlnode.Follow(p.value)
		switch name := p.key.Value; {
		case name == "at" || name == "within":
			d, ok := r.duration(value, name, name == "at")
			if ok && name == "at" {
				e.At = &d
			} else if ok {
				e.Within = d
			}
		case value.Kind != yaml.ScalarNode:
			r.wrong(value, "type", "", "%q must be a text, not %s", name, yamlnode.Kind(value))
		case name == "says":
			e.Says = value.Value
		case facts[name].of == nil:
			r.unknown(p.key, "an expectation", append(words(), "at", "within", "says"))
		case e.Word != "":
			r.wrong(p.key, "key", "Make two entries of it.", "an expectation is of one fact: %s or %s", e.Word, name)
		default:
			e.Word, e.Value = name, value.Value
			if yamlnode.IsNull(value) || value.Value == "" {
				e.Value = Any
			}
		}
	}
	if e.Word == "" && len(r.problems) == 0 {
		r.wrong(n, "key", "Name one of: "+strings.Join(words(), ", ")+".", "an expectation names no fact")
	}
}
