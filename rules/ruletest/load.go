package ruletest

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"go.yaml.in/yaml/v3"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// Broken is the error of a test file that can't be run: everything that is wrong with it.
type Broken struct {
	Problems rules.Problems
	Source   rules.Bundle // the texts that the problems are about, for [rules.Problems.Render]
}

// Error gives one line per problem.
func (b *Broken) Error() string { return b.Problems.Error() }

// Is says whether a text is meant as a test file: no health file and no rule file has tests.
func Is(text string) bool {
	var top struct {
		Tests yaml.Node `yaml:"tests"`
	}
	return yaml.Unmarshal([]byte(text), &top) == nil && !top.Tests.IsZero()
}

// Read reads a test file, the rule files that it names and the health files of its releases. What is
// wrong in any of them is a [Broken]. Rule files are found as promtool finds them: relative to the test
// file, by patterns, and wherever they are. The rule files of a health file lie in its folder.
func Read(name string) (*File, error) {
	text, err := readCapped(name)
	if err != nil {
		return nil, gatekeeper.Errorf(gatekeeper.CodeInvalid, "", "can't read the test file %s: %w", name, err)
	}
	f, r := parse(name, text)
	source := rules.Bundle{Name: r.name, File: text}
	if len(r.problems) == 0 {
		f.loadRules(r)
		f.loadHealth(r, &source)
	}
	if len(r.problems) > 0 {
		slices.SortStableFunc(r.problems, func(a, b rules.Problem) int {
			return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
		})
		return nil, &Broken{Problems: r.problems, Source: source}
	}
	return f, nil
}

func readCapped(name string) (string, error) {
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() { // not opened: a pipe would wait for a writer
		return "", errors.New("it is no regular file")
	}
	file, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("it has more than %d bytes", maxFile)
	}
	return string(text), err
}

// parse reads a test file's text alone.
func parse(name, text string) (*File, *reader) {
	f := &File{Name: filepath.ToSlash(filepath.Clean(name))}
	r := &reader{name: f.Name}
	if len(text) > maxFile {
		r.fail(Place{1, 1}, 1, "syntax", "Split it into several files.", "the test file has more than %d bytes", maxFile)
		return f, r
	}
	if top := r.document(text); top != nil {
		r.into(top, reflect.ValueOf(f).Elem(), "the test file")
	}
	if f.EvaluationInterval == 0 {
		f.EvaluationInterval = defaultStep
	}
	if len(r.problems) == 0 {
		f.check(r)
	}
	return f, r
}

// check says what is wrong beyond the form.
func (f *File) check(r *reader) {
	for i, name := range f.GroupEvalOrder {
		if slices.Contains(f.GroupEvalOrder[:i], name) {
			r.fail(Place{1, 1}, 1, "duplicate", "Keep one of them.", "group_eval_order names %q twice", name)
		}
	}
	for i := range f.Tests {
		t := &f.Tests[i]
		if t.Interval == 0 {
			t.Interval = f.EvaluationInterval
		}
		if t.Name == "" {
			t.Name = fmt.Sprintf("unnamed#%d", i)
		}
		t.check(r, f)
	}
}

func (t *Test) check(r *reader, f *File) {
	if steps := int64(t.lastEval()) / int64(f.EvaluationInterval); steps > maxSteps {
		r.fail(t.Place, 1, "size", "Test at earlier times, or with a longer evaluation_interval.",
			"the test needs %d evaluations, more than %d", steps, maxSteps)
	}
	t.checkSeries(r)
	for _, a := range t.Alerts {
		if a.Alertname == "" {
			r.fail(a.Place, 1, "key", `Add "alertname".`, "an entry of alert_rule_test has no alertname")
		}
	}
	for i := range t.Exprs {
		for k := range t.Exprs[i].ExpSamples {
			t.Exprs[i].ExpSamples[k].check(r)
		}
	}
	t.checkReleases(r)
}

var repeated = regexp.MustCompile(`x(\d+)`)

// checkSeries parses the series, after a look at how many samples they would unfold to.
func (t *Test) checkSeries(r *reader) {
	total := 0
	for _, s := range t.InputSeries {
		total += len(s.Values) / 2
		for _, m := range repeated.FindAllStringSubmatch(s.Values, -1) {
			n, err := strconv.Atoi(m[1])
			if err != nil || n > maxSamples {
				n = maxSamples + 1
			}
			total = min(total+n, maxSamples+1)
		}
		if total > maxSamples {
			r.fail(s.Place, 1, "size", "Use a longer interval or fewer series.", "the series of a test have more than %d samples", maxSamples)
			return
		}
		if _, _, err := s.parse(); err != nil {
			r.fail(s.Place, 1, "series", "A series is written as up{job=\"a\"}, its values as 0+10x5, 1 _ stale or {{schema:1 sum:3 count:2 buckets:[1 1]}}.",
				"input_series: %s", said(err))
		}
	}
}

// parse gives the series' labels and values.
func (s Series) parse() (labels.Labels, []parser.SequenceValue, error) {
	if strings.TrimSpace(s.Series) == "" {
		return labels.EmptyLabels(), nil, errors.New("it has no series")
	}
	return promexpr.Parser.ParseSeriesDesc(strings.TrimSpace(s.Series) + " " + strings.TrimSpace(s.Values))
}

func (s *ExpSample) check(r *reader) {
	set, err := promexpr.Parser.ParseMetric(s.Labels)
	if err != nil {
		r.fail(s.Place, 1, "series", `Labels are written as in PromQL: up{job="a"}, or {} for none.`, "exp_samples: labels %q: %s", s.Labels, said(err))
		return
	}
	s.set = set
	if s.Histogram == "" {
		return
	}
	if repeated.MatchString(s.Histogram) {
		r.fail(s.Place, 1, "series", "", "exp_samples: the histogram must be one value")
		return
	}
	_, values, err := promexpr.Parser.ParseSeriesDesc("{} " + s.Histogram)
	if err != nil || len(values) != 1 || values[0].Histogram == nil {
		r.fail(s.Place, 1, "series", "It is written as {{schema:1 sum:3 count:2 buckets:[1 1]}}.", "exp_samples: %q is no histogram", s.Histogram)
		return
	}
	s.hist = values[0].Histogram.TestExpression()
}

// said gives an error of PromQL's parser in one line.
func said(err error) string {
	if all, ok := errors.AsType[parser.ParseErrors](err); ok && len(all) > 0 {
		return all[0].Err.Error()
	}
	return err.Error()
}

// lastEval is the last time at which something is expected of the rules.
func (t *Test) lastEval() (last model.Duration) {
	for _, a := range t.Alerts {
		last = max(last, a.EvalTime)
	}
	for _, e := range t.Exprs {
		last = max(last, e.EvalTime)
	}
	return last
}
