package ruletest

import (
	"cmp"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/gatekeeper-engine/gatekeeper/internal/rehearsal"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// Caps on what a test file may ask for.
const (
	maxFile       = 10 << 20  // bytes of one file
	maxRuleFiles  = 1000      // that the patterns of one test file match
	maxSamples    = 5_000_000 // of one test
	maxSteps      = 500_000   // evaluations of one test
	maxProblems   = 100       // told of one file
	maxReleases   = 100       // of one test
	defaultStep   = model.Duration(time.Minute)
	earliest      = 24 * time.Hour     // before time 0 that a test of releases may begin
	longestScript = 7 * 24 * time.Hour // the last time that a test of releases may name
)

// Place is where something stands in the test file, from 1.
type Place struct {
	Line   int `json:"line"`
	Column int `json:"column"`
}

// File is a test file: promtool's, with keys of Gatekeeper's own under each test.
type File struct {
	Name               string         `yaml:"-"` // as it was given
	RuleFiles          []pattern      `yaml:"rule_files"`
	EvaluationInterval model.Duration `yaml:"evaluation_interval"`
	GroupEvalOrder     []string       `yaml:"group_eval_order"`
	FuzzyCompare       bool           `yaml:"fuzzy_compare"`
	Tests              []Test         `yaml:"tests"`
	Warnings           []string       `yaml:"-"` // what is odd and can be run
	groups             []group        // of the rule files, in order of evaluation
	bundles            map[string]rules.Bundle
}

// pattern is a path or a glob of rule_files.
type pattern struct {
	Place
	text string
}

// Test is one test of a file.
type Test struct {
	Place
	Name           string            `yaml:"name"`
	Interval       model.Duration    `yaml:"interval"` // between the samples of its series
	InputSeries    []Series          `yaml:"input_series"`
	Alerts         []AlertTest       `yaml:"alert_rule_test"`
	Exprs          []ExprTest        `yaml:"promql_expr_test"`
	ExternalLabels map[string]string `yaml:"external_labels"`
	ExternalURL    string            `yaml:"external_url"`
	StartTimestamp instant           `yaml:"start_timestamp"`

	// What promtool lacks.
	Releases []Release `yaml:"releases"`
	Faults   []Fault   `yaml:"faults"`
	Freezes  []Freeze  `yaml:"freezes"`
	Sent     []Sent    `yaml:"alerts"`
	Phase    offset    `yaml:"phase"` // of the slots of every rule group, after full intervals
}

// Series is one series of a test with its samples in promtool's notation.
type Series struct {
	Place
	Series string `yaml:"series"`
	Values string `yaml:"values"`
}

// AlertTest says which alerts of a name fire at a time.
type AlertTest struct {
	Place
	EvalTime  model.Duration `yaml:"eval_time"`
	Alertname string         `yaml:"alertname"`
	ExpAlerts []ExpAlert     `yaml:"exp_alerts"`
}

// ExpAlert is one alert that is expected to fire.
type ExpAlert struct {
	Labels      map[string]string `yaml:"exp_labels"`
	Annotations map[string]string `yaml:"exp_annotations"`
}

// ExprTest says what an expression gives at a time.
type ExprTest struct {
	Place
	Expr       string         `yaml:"expr"`
	EvalTime   model.Duration `yaml:"eval_time"`
	ExpSamples []ExpSample    `yaml:"exp_samples"`
}

// ExpSample is one sample that is expected; a histogram, in the notation of series, stands for the value.
type ExpSample struct {
	Place
	Labels    string  `yaml:"labels"`
	Value     float64 `yaml:"value"`
	Histogram string  `yaml:"histogram"`

	set  labels.Labels
	hist string
}

// instant is promtool's start_timestamp: RFC 3339, or seconds since 1970.
type instant struct{ time.Time }

// offset is a time of a test since its start; it may be before it.
type offset time.Duration

// Release is one release of a test.
type Release struct {
	Place
	HealthFile      string            `yaml:"health_file"`
	Service         string            `yaml:"service"`
	Environment     string            `yaml:"environment"`
	Version         string            `yaml:"version"`
	PreviousVersion string            `yaml:"previous_version"`
	Labels          map[string]string `yaml:"labels"`
	Window          model.Duration    `yaml:"window"`
	WatchOnly       bool              `yaml:"watch_only"`
	DryRun          bool              `yaml:"dry_run"`
	Opened          offset            `yaml:"opened"`
	Refused         *string           `yaml:"refused"` // opening it is refused with a message that holds this
	Deployed        *offset           `yaml:"deployed"`
	Reported        *bool             `yaml:"reported"` // whether the pipeline reports the deployment; default true
	Closed          *offset           `yaml:"closed"`
	Rungs           []Rung            `yaml:"rungs"`
	People          []Deed            `yaml:"people"`
	Expect          []Expectation     `yaml:"expect"`
	Never           []Expectation     `yaml:"never"`
}

// Rung is what a rung of the plan does in a test.
type Rung struct {
	Place
	Action   string  `yaml:"action"`
	Kind     string  `yaml:"kind"` // restore or set
	Prepare  string  `yaml:"prepare"`
	Apply    string  `yaml:"apply"`
	Until    offset  `yaml:"until"`
	Takes    offset  `yaml:"takes"`
	Deployed *bool   `yaml:"deployed"` // whether the deployment reaches it; default true
	Changed  *offset `yaml:"changed"`
}

// Deed is what a person does.
type Deed struct {
	Place
	At      offset  `yaml:"at"`
	Do      string  `yaml:"do"`
	Who     string  `yaml:"who"`
	Why     string  `yaml:"why"`
	For     offset  `yaml:"for"`
	Refused *string `yaml:"refused"` // it is refused with a message that holds this
}

// Fault is a time in which the metric backend fails or Gatekeeper does not run.
type Fault struct {
	Place
	Backend    string `yaml:"backend"`
	Gatekeeper string `yaml:"gatekeeper"`
	From       offset `yaml:"from"`
	To         offset `yaml:"to"`
}

// Freeze is a time in which the operator lets no release be opened.
type Freeze struct {
	Place
	From          offset `yaml:"from"`
	To            offset `yaml:"to"`
	HoldRollbacks bool   `yaml:"hold_rollbacks"`
}

// Sent is an alert of Prometheus or Alertmanager that fires from a time to another.
type Sent struct {
	Place
	From   offset            `yaml:"from"`
	To     offset            `yaml:"to"`
	Sender string            `yaml:"sender"` // default prometheus
	Labels map[string]string `yaml:"labels"`
	Lasts  offset            `yaml:"lasts"` // what each message is good for; default 4m, as with Prometheus
	Dies   bool              `yaml:"dies"`  // its sender falls silent at to
}

// Expectation is a fact that a release is expected to have, or never to have.
type Expectation struct {
	Place
	Word   string         // which fact, see words.go
	Value  string         // what it is about; Any: whatever
	At     *time.Duration // since the start of the test; nil: at any time
	Within time.Duration  // how far from At it may be
	Says   string         // is part of the fact's text
}

// Any is the value of an expectation that takes every fact of its kind.
const Any = "any"

// script is the rehearsal of a test's releases.
func (t Test) script(f *File) rehearsal.Script {
	s := rehearsal.Script{Start: t.StartTimestamp.Time, Phase: time.Duration(t.Phase)}
	for _, one := range t.Freezes {
		s.Freezes = append(s.Freezes, rehearsal.Freeze{
			Span:          rehearsal.Span{From: time.Duration(one.From), To: time.Duration(one.To)},
			HoldRollbacks: one.HoldRollbacks,
		})
	}
	for _, one := range t.Faults {
		kind := rehearsal.FaultKind(one.Backend)
		if one.Gatekeeper != "" {
			kind = rehearsal.FaultKind(one.Gatekeeper)
		}
		s.Faults = append(s.Faults, rehearsal.Fault{Span: rehearsal.Span{From: time.Duration(one.From), To: time.Duration(one.To)}, Kind: kind})
	}
	for _, one := range t.Sent {
		s.Alerts = append(s.Alerts, rehearsal.Alert{
			Span:   rehearsal.Span{From: time.Duration(one.From), To: time.Duration(one.To)},
			Sender: cmp.Or(one.Sender, "prometheus"), Labels: one.Labels,
			Lasts: cmp.Or(time.Duration(one.Lasts), 4*time.Minute), Dies: one.Dies,
		})
	}
	for _, r := range t.Releases {
		s.Releases = append(s.Releases, r.script(f.bundles[r.HealthFile]))
	}
	return s
}

func (r Release) script(b rules.Bundle) rehearsal.Release {
	out := rehearsal.Release{
		Opened: time.Duration(r.Opened), Deployed: since(r.Deployed), Closed: since(r.Closed),
		Silent: r.Reported != nil && !*r.Reported,
	}
	out.Request.Bundle = &b
	out.Request.Service, out.Request.Environment, out.Request.Labels = r.Service, r.Environment, r.Labels
	out.Request.Version, out.Request.PreviousVersion = r.Version, r.PreviousVersion
	out.Request.Window, out.Request.WatchOnly, out.Request.DryRun = time.Duration(r.Window), r.WatchOnly, r.DryRun
	out.Request.Actor = "pipeline"
	for _, one := range r.Rungs {
		out.Rungs = append(out.Rungs, rehearsal.Rung{
			Action: one.Action, Set: one.Kind == "set",
			Prepare: rehearsal.Effect(one.Prepare), Apply: rehearsal.Effect(one.Apply),
			Until: time.Duration(one.Until), Takes: time.Duration(one.Takes),
			Untouched: one.Deployed != nil && !*one.Deployed, Changed: since(one.Changed),
		})
	}
	for _, d := range r.People {
		out.Deeds = append(out.Deeds, rehearsal.Deed{
			At: time.Duration(d.At), Do: rehearsal.Verb(d.Do), Who: d.Who, Why: d.Why, For: time.Duration(d.For),
		})
	}
	return out
}

func since(o *offset) *time.Duration { return (*time.Duration)(o) }
