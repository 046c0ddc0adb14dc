package lint

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// FuzzCheck: whatever the file, the linter ends, its findings lie inside the file, its fixes leave a file
// that loads as before, and a second run finds nothing more to fix.
func FuzzCheck(f *testing.F) {
	for _, pattern := range []string{"testdata/bad/*.yml", "testdata/clean/*.yml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			b, err := rules.ReadBundle(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b.File)
		}
	}
	f.Add("---")
	f.Fuzz(func(t *testing.T, text string) {
		b := rules.Bundle{File: text}
		report, err := Check(t.Context(), b, Options{})
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Count(text, "\n") + strings.Count(text, "\r") + strings.Count(text, "\u0085") + strings.Count(text, "\u2028") + strings.Count(text, "\u2029") + 1
		for _, p := range report.Problems {
			if p.Line < 0 || p.Line > lines || p.Line > 0 && p.Column < 1 || p.Message == "" {
				t.Fatalf("%+v lies outside of %q", p, text)
			}
		}
		fixed, made, err := Fix(t.Context(), b, Options{})
		if err != nil || made == 0 {
			return
		}
		if _, err := rules.Load(fixed); err != nil {
			t.Fatalf("the fixed file does not load: %v\n%s", err, fixed.File)
		}
		if _, again, _ := Fix(t.Context(), fixed, Options{}); again > 0 {
			t.Fatalf("%d more fixes the second time:\n%s", again, fixed.File)
		}
	})
}
