package ruletest

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// group is a rule group in order of evaluation.
type group struct {
	file, name string
	rules      []rule
}

// rule is an alerting or a recording rule.
type rule struct {
	alert  *rules.Rule
	record *rules.Recording
}

// loadRules reads the rule files.
func (f *File) loadRules(r *reader) {
	known := map[string]bool{}
	for _, p := range f.RuleFiles {
		files, err := f.matches(p)
		if err != nil {
			r.fail(p.Place, len(p.text), "rule_file", "", "rule_files: %v", err)
		} else if len(files) == 0 {
			f.Warnings = append(f.Warnings, fmt.Sprintf("%s:%d:%d: no file matches %q", f.Name, p.Line, p.Column, p.text))
		}
		for _, name := range files {
			if known[name] {
				continue
			}
			if known[name] = true; len(known) > maxRuleFiles {
				r.fail(p.Place, len(p.text), "size", "", "rule_files match more than %d files", maxRuleFiles)
				return
			}
			f.loadRuleFile(r, p, name)
		}
	}
	order := map[string]int{}
	for i, name := range f.GroupEvalOrder {
		order[name] = i
	}
	slices.SortStableFunc(f.groups, func(a, b group) int { return cmp.Compare(order[a.name], order[b.name]) })
}

// matches gives the files that an entry of rule_files names; promtool takes a pattern that matches
// nothing as well.
func (f *File) matches(p pattern) ([]string, error) {
	name := p.text
	if name != "" && !filepath.IsAbs(name) {
		name = filepath.Join(filepath.Dir(f.Name), filepath.FromSlash(name))
	}
	return filepath.Glob(name)
}

func (f *File) loadRuleFile(r *reader, p pattern, name string) {
	text, err := readCapped(name)
	if err != nil {
		r.fail(p.Place, len(p.text), "rule_file", "", "the rule file %s can't be read: %v", name, err)
		return
	}
	parsed, errs := rulefmt.Parse([]byte(text), false, model.UTF8Validation, promexpr.Parser, slog.New(slog.DiscardHandler))
	if len(errs) > 0 {
		said := map[string]bool{} // the parser reads a file twice, and says what is no YAML twice
		for _, err := range errs {
			if !said[err.Error()] {
				r.fail(p.Place, len(p.text), "rule_file", "", "the rule file %s can't be used: %v", name, err)
			}
			said[err.Error()] = true
		}
		return
	}
	for _, g := range parsed.Groups {
		one := group{file: name, name: g.Name}
		for _, from := range g.Rules {
			one.rules = append(one.rules, ruleOf(g, from))
		}
		f.groups = append(f.groups, one)
	}
}

// ruleOf gives a rule of a Prometheus rule file as the product has it.
func ruleOf(g rulefmt.RuleGroup, from rulefmt.Rule) rule {
	var queryOffset time.Duration
	if g.QueryOffset != nil {
		queryOffset = time.Duration(*g.QueryOffset)
	}
	set := map[string]string{}
	for _, one := range []map[string]string{g.Labels, from.Labels} {
		for name, value := range one {
			set[name] = value
		}
	}
	if from.Alert == "" {
		return rule{record: &rules.Recording{
			Record: from.Record, Expr: from.Expr, Labels: set,
			Group: g.Name, QueryOffset: queryOffset, Limit: g.Limit,
		}}
	}
	return rule{alert: &rules.Rule{
		Name: from.Alert, Alert: from.Alert, Expr: from.Expr, Labels: set, Annotations: from.Annotations,
		For: time.Duration(from.For), KeepFiringFor: time.Duration(from.KeepFiringFor),
		Group: g.Name, QueryOffset: queryOffset, Limit: g.Limit,
	}}
}

// loadHealth reads the health files that releases name.
func (f *File) loadHealth(r *reader, source *rules.Bundle) {
	f.bundles = map[string]rules.Bundle{}
	for _, t := range f.Tests {
		for _, release := range t.Releases {
			if _, known := f.bundles[release.HealthFile]; known {
				continue
			}
			b, err := rules.ReadBundle(path.Join(path.Dir(f.Name), release.HealthFile))
			f.bundles[release.HealthFile] = b
			if err != nil {
				r.fail(release.Place, 1, "health_file", gatekeeper.HintOf(err), "%v", err)
				continue
			}
			f.checkHealth(r, release, b, source)
		}
	}
}

func (f *File) checkHealth(r *reader, release Release, b rules.Bundle, source *rules.Bundle) {
	_, err := rules.Load(b)
	if err == nil {
		return
	}
	problems, ok := errors.AsType[rules.Problems](err)
	if !ok {
		r.fail(release.Place, 1, "health_file", gatekeeper.HintOf(err), "%v", err)
		return
	}
	r.problems = append(r.problems, problems...)
	if source.RuleFiles == nil {
		source.RuleFiles = map[string]string{}
	}
	source.RuleFiles[release.HealthFile] = b.File
	for name, text := range b.RuleFiles {
		source.RuleFiles[path.Join(path.Dir(release.HealthFile), name)] = text
	}
}
