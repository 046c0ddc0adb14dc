package rules

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"

	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// FuzzLoad: whatever the file, Load ends, tells problems that lie inside it, and what it takes can
// be bound. A rule file that it takes is one for Prometheus too.
func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/bad/*.yml", examples + "/*.yml", examples + "/alerts/*.yml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(text))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		lines := len(splitLines(text))
		for _, p := range Parse(Bundle{File: text}).Problems {
			if p.Line < 0 || p.Line > lines || p.Line > 0 && p.Column < 1 || p.Message == "" {
				t.Fatalf("%+v lies outside of %q", p, text)
			}
		}
		file, err := Load(Bundle{File: text})
		if err != nil {
			var list Problems
			if !errors.As(err, &list) || len(list) == 0 {
				t.Fatalf("error without problems: %v", err)
			}
		} else if _, err := file.Bind(Vars{Service: "s", Environment: "e", Version: "v", PreviousVersion: "p"}); err != nil {
			t.Logf("not bound: %v", err) // a label that is missing
		}
		if _, err = Load(Bundle{File: "rule_files: [x.yml]", RuleFiles: map[string]string{"x.yml": text}}); err != nil {
			return
		}
		if _, errs := rulefmt.Parse([]byte(text), false, model.UTF8Validation, promexpr.Parser, slog.New(slog.DiscardHandler)); len(errs) > 0 {
			t.Fatalf("Prometheus refuses a rule file that was taken: %v", errs)
		}
	})
}
