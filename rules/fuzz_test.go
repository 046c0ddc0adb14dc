package rules

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// seeds adds the files of some patterns to a fuzz target.
func seeds(f *testing.F, patterns ...string) {
	f.Helper()
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatalf("no seeds at %s: %v", pattern, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(text))
		}
	}
}

// inside fails where a problem lies outside of the text that it is about.
func inside(t *testing.T, text string, problems Problems) {
	t.Helper()
	lines := len(splitLines(text))
	for _, p := range problems {
		if p.Line < 0 || p.Line > lines || p.Line > 0 && p.Column < 1 || p.Message == "" {
			t.Fatalf("%+v lies outside of %q", p, text)
		}
	}
}

// FuzzLoad: whatever the health file, Load ends, tells problems that lie inside it, and what it takes
// can be bound.
func FuzzLoad(f *testing.F) {
	seeds(f, "testdata/bad/*.yml", examples+"/*.yml", examples+"/alerts/*.yml")
	f.Fuzz(func(t *testing.T, text string) {
		inside(t, text, Parse(Bundle{File: text}).Problems)
		file, err := Load(Bundle{File: text})
		if err != nil {
			var list Problems
			if !errors.As(err, &list) || len(list) == 0 {
				t.Fatalf("error without problems: %v", err)
			}
		} else if _, err := file.Bind(Vars{Service: "s", Environment: "e", Version: "v", PreviousVersion: "p"}); err != nil {
			t.Logf("not bound: %v", err) // a label that is missing
		}
	})
}

// FuzzRuleFile: a rule file that is taken, of alerts or of recording rules, is one for Prometheus too.
func FuzzRuleFile(f *testing.F) {
	seeds(f, "testdata/bad/*.yml", "testdata/corpus/*.yml", examples+"/alerts/*.yml")
	f.Add("groups: [{name: g, interval: 1m, limit: -1, labels: {a: b}, rules: [{record: 'a:b', expr: sum(x), labels: {c: d}}]}]")
	f.Add("groups: [{name: g, rules: [{alert: A, expr: a:b, keep_firing_for: 1m}]}]")
	f.Fuzz(func(t *testing.T, text string) {
		b := Bundle{File: "rule_files: [x.yml]", RuleFiles: map[string]string{"x.yml": text}}
		_, alerts := Load(b)
		_, records := RecordingRules("x.yml", text)
		for _, err := range []error{alerts, records} {
			var list Problems
			if err == nil {
				if _, errs := rulefmt.Parse([]byte(text), false, model.UTF8Validation, promexpr.Parser, slog.New(slog.DiscardHandler)); len(errs) > 0 {
					t.Fatalf("Prometheus refuses a rule file that was taken: %v", errs)
				}
			} else if !errors.As(err, &list) || len(list) == 0 {
				t.Fatalf("error without problems: %v", err)
			}
		}
	})
}

// FuzzTemplate: a template that is taken ends soon and gives a text of bounded length, whatever it asks.
func FuzzTemplate(f *testing.F) {
	for _, text := range []string{
		"plain", "{{ $value | humanizePercentage }} of {{ $labels.pod }}", `{{ range $k, $v := $labels }}{{ $k }}{{ end }}`,
		`{{ range query "up" | sortByLabel "a" }}{{ .Labels.a }} {{ .Value }}{{ end }}`, `{{ with query "x" }}{{ . | first | value }}{{ end }}`,
		`{{ printf "%99d" 1 }}{{ reReplaceAll "(.)" "$1$1" "abc" }}`, `{{ if and $value (eq $labels.a "b") }}x{{ else }}y{{ end }}`,
		`{{ $a := "xx" }}{{ $a = print $a $a }}{{ $a | js | html | urlquery }}`, `{{ index $labels "a" }}{{ slice "abc" 1 2 }}{{ len $labels }}{{ call 1 }}`,
		`{{ graphLink "up" }}{{ toTime 1e300 }}{{ humanizeDuration "-Inf" }}{{ args 1 "2" | printf "%v" }}{{ break }}`,
		`{{ define "a" }}{{ range . }}{{ template "b" . }}{{ end }}{{ end }}{{ define "b" }}{{ .Value }}{{ end }}{{ template "a" (query "x") }}`,
		`{{ block "x" $labels }}{{ range $k, $v := . }}{{ range $i := len $k }}{{ $v }}{{ continue }}{{ end }}{{ break }}{{ end }}{{ end }}`,
		`{{ $x := "x" }}{{ range 1000000000 }}{{ $x = printf "%s%s" $x $x }}{{ end }}`, `{{ range 1000000000 }}{{ end }}{{ $a := args 1 }}{{ $a = args $a $a }}{{ $a }}`,
		`{{ match "(x*)*(y|[a-z]{1,9})*$" "xxxx" }}{{ (toTime 1).Format "Mon 2 Jan" }}{{ (toDuration 1.5).Seconds }}{{ range toDuration 9 }}{{ end }}`,
	} {
		f.Add(text, 1.5)
	}
	f.Fuzz(func(t *testing.T, text string, value float64) {
		if checkedTemplate(text) != nil {
			return
		}
		e := &expander{q: constant{n: maxTemplateSamples}}
		started := time.Now()
		out := e.expand(t.Context(), text, gatekeeper.Sample{Labels: map[string]string{"pod": "a", "a": "b"}, Value: gatekeeper.Float(value)})
		if took := time.Since(started); took > 5*time.Second || len(out) > maxExpanded+len("…") && len(out) > len(text) {
			t.Fatalf("%q took %s and gave %d bytes", text, took, len(out))
		}
	})
}
