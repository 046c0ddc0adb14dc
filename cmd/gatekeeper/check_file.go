package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions/builtin"
	"github.com/gatekeeper-engine/gatekeeper/internal/config"
	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/lint"
	"github.com/gatekeeper-engine/gatekeeper/rules/ruletest"
)

// checked is what was found in one file.
type checked struct {
	File      string         `json:"file"`
	Problems  rules.Problems `json:"problems"`
	Responses []string       `json:"responses,omitempty"`
	Lags      []lint.Lag     `json:"lags,omitempty"`
	Costs     []lint.Cost    `json:"costs,omitempty"`
	Expanded  string         `json:"expanded,omitempty"` // the rules that SLOs became, as YAML

	bundle  rules.Bundle
	rules   []rules.Rule
	usable  bool
	fixable int
}

// fails says whether what was found ends the command with an error.
func (c checked) fails(strict bool) bool {
	return slices.ContainsFunc(c.Problems, func(p rules.Problem) bool {
		return p.Severity == rules.Error || strict && p.Severity == rules.Warning
	})
}

// checkConfig reads the daemon's configuration as serve does. Records says of a health file whether its
// backend is one that evaluates its recording rules.
func checkConfig(name string) (c checked, records func(*rules.File) bool, err error) {
	cfg, err := config.Read(name)
	if err != nil {
		return checked{}, nil, err
	}
	registry, err := builtin.Registry(nil)
	if err != nil {
		return checked{}, nil, err
	}
	c = checked{File: name, Problems: rules.Problems{}, usable: true}
	s, err := decode(cfg, registry)
	records = func(f *rules.File) bool {
		_, embedded := s.tsdb[cmp.Or(f.Backend, s.DefaultBackend)]
		return embedded
	}
	if broken, ok := errors.AsType[*config.Broken](err); ok {
		c.Problems, c.bundle, c.usable, err = broken.Problems, broken.Source, false, nil
	}
	return c, records, err
}

// checkTests reads a test file as the command test does.
func checkTests(name string) (checked, error) {
	c := checked{File: name, Problems: rules.Problems{}, usable: true}
	_, err := ruletest.Read(name)
	if broken, ok := errors.AsType[*ruletest.Broken](err); ok {
		c.Problems, c.bundle, c.usable, err = broken.Problems, broken.Source, false, nil
	}
	return c, err
}

// unknownActions tells the rungs of a plan whose action this program does not have. Settings and
// connections are the daemon's to judge.
func unknownActions(file string, plan []rules.RungSpec) (found rules.Problems, err error) {
	registry, err := builtin.Registry(nil)
	if err != nil {
		return nil, err
	}
	for i, rung := range plan {
		if _, err := registry.Find(rung.Action); err != nil {
			found = append(found, rules.Problem{
				File: file, Severity: rules.Error, Check: "action",
				Message: fmt.Sprintf("rung %d of rollback: %v", i+1, err), Hint: gatekeeper.HintOf(err),
			})
		}
	}
	return found, nil
}

// print tells a person what was found, and what each rule leads to.
func (c checked) print(w io.Writer) error {
	if err := c.Problems.Render(w, c.bundle); err != nil {
		return err
	}
	if len(c.Problems) > 0 {
		fmt.Fprintln(w)
	}
	switch {
	case !c.usable:
		fmt.Fprintf(w, "%s: can't be used\n", c.File)
	case len(c.Responses) == 0:
		fmt.Fprintf(w, "%s: can be used\n", c.File)
	default:
		fmt.Fprintf(w, "%s:\n", c.File)
	}
	for i, r := range c.Responses {
		fmt.Fprintf(w, "  %s\n", r)
		for _, text := range c.about(c.rules[i].Name) {
			fmt.Fprintf(w, "    %s\n", text)
		}
	}
	for _, text := range c.about("min_traffic") {
		fmt.Fprintf(w, "  min_traffic: %s\n", text)
	}
	if c.fixable > 0 {
		fmt.Fprintf(w, "safe to rewrite: %d; gatekeeper check --fix %s does it\n", c.fixable, c.File)
	}
	return nil
}

// about gives what was computed and measured of a rule, in sentences.
func (c checked) about(rule string) (texts []string) {
	for _, l := range c.Lags {
		if l.Rule == rule {
			texts = append(texts, l.String())
		}
	}
	for _, cost := range c.Costs {
		if cost.Rule == rule {
			texts = append(texts, cost.String())
		}
	}
	return texts
}
