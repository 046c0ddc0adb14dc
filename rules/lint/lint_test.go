package lint

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper/rules"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

func bundle(t *testing.T, path string) rules.Bundle {
	t.Helper()
	b, err := rules.ReadBundle(path)
	require.NoError(t, err)
	b.Name = filepath.Base(path)
	return b
}

func check(t *testing.T, b rules.Bundle, o Options) *Report {
	t.Helper()
	r, err := Check(t.Context(), b, o)
	require.NoError(t, err)
	return r
}

func rendered(t *testing.T, p rules.Problems, b rules.Bundle) string {
	t.Helper()
	var out strings.Builder
	require.NoError(t, p.Render(&out, b))
	return out.String()
}

// Each fixture is found by the check it is named after and by no other; its golden file has the
// messages, and the file with its fixes where there are any.
func TestEachFixtureIsFoundByItsCheck(t *testing.T) {
	for _, s := range specs {
		if s.Online {
			continue
		}
		t.Run(s.Name, func(t *testing.T) {
			b := bundle(t, filepath.Join("testdata/bad", s.Name+".yml"))
			report := check(t, b, Options{})
			require.NotNil(t, report.File)
			require.NotEmpty(t, report.Problems)
			got := rendered(t, report.Problems, b)
			fixed, made, err := Fix(t.Context(), b, Options{})
			require.NoError(t, err)
			if made > 0 {
				got += fmt.Sprintf("\n--- with %d fixes ---\n%s", made, fixed.File)
			}
			golden(t, filepath.Join("testdata/bad", s.Name+".golden"), got)
			for _, p := range report.Problems {
				require.Equal(t, s.Name, p.Check, p)
				require.Equal(t, s.Why, p.Why)
			}
			require.Zero(t, check(t, fixed, Options{}).Fixable(), "a second run finds nothing more to fix")
		})
	}
}

func TestGoodFilesGiveNoFinding(t *testing.T) {
	count := 0
	for _, pattern := range []string{"testdata/clean/*.yml", "../../examples/rules/*.yml", "../../examples/*/health.yml"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		require.NotEmpty(t, files)
		for _, file := range files {
			if name := filepath.Base(file); name == "published.yml" || strings.HasSuffix(name, ".test.yml") {
				continue // the former's findings are its point
			}
			t.Run(filepath.Base(file), func(t *testing.T) {
				b := bundle(t, file)
				report := check(t, b, Options{Records: func(*rules.File) bool { return true }})
				require.Empty(t, rendered(t, report.Problems, b))
				if strings.Contains(file, "clean") {
					count += len(report.File.Rules)
				}
			})
		}
	}
	require.GreaterOrEqual(t, count, 40)
}

func TestPublishedFile(t *testing.T) {
	b := bundle(t, "../../examples/rules/published.yml")
	golden(t, "testdata/published.golden", rendered(t, check(t, b, Options{}).Problems, b))
}

// What a file has around an expression stays byte for byte, however YAML writes the expression.
func TestFixKeepsEverythingElse(t *testing.T) {
	for name, text := range map[string]string{
		"single": "# head\ngroups:\n- name: g # one\n  rules:\n  - alert: A\n    expr: 'sum(x{s=~\"a'':b\", p=~\"q\"}) > 1'   # why\n    for: 30s\n",
		"double": "groups:\n- name: g\n  rules:\n  - {alert: A, expr: \"sum(x{s=~\\\"a\\\", t=\\\"\\\\u00e9\\\"}) > 1\"} # why\n",
		"plain":  "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: sum(x{s=~\"a\"})\n      > 1\n    # after\n    labels: {a: b}\n",
		"folded": "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: >-\n      sum(x{s=~\"a\"})\n\n      # a comment\n\n      > 1\n\n  # after\n",
		"crlf":   "groups:\r\n- name: g\r\n  rules:\r\n  - alert: A\r\n    expr: |\r\n      sum(x{ue=\"é\", s=~\"a\"})\r\n        > 1\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			b := rules.Bundle{Name: "x.yml", File: text}
			_, err := rules.Load(b)
			require.NoError(t, err)
			fixed, made, err := Fix(t.Context(), b, Options{})
			require.NoError(t, err)
			require.NotZero(t, made)
			require.Equal(t, strings.NewReplacer(`s=~`, `s=`, `p=~`, `p=`).Replace(text), fixed.File)
		})
	}
	t.Run("shared by an anchor", func(t *testing.T) {
		b := rules.Bundle{File: "groups:\n- name: g\n  rules:\n  - {alert: A, expr: &e 'x{s=~\"a\"} > 1'}\n  - {alert: B, expr: *e, for: 30s}\n"}
		_, made, err := Fix(t.Context(), b, Options{})
		require.NoError(t, err)
		require.Zero(t, made)
		told := check(t, b, Options{}).Problems
		regexps := slices.DeleteFunc(told, func(p rules.Problem) bool { return p.Check != "regexp" })
		require.Len(t, regexps, 1, "it is told once, for both")
	})
}

func TestFixReachesRuleFiles(t *testing.T) {
	b := rules.Bundle{
		Name: "d/health.yml", File: "rule_files: [a/r.yml]\n",
		RuleFiles: map[string]string{"a/r.yml": "groups:\n- name: g\n  rules:\n  - {alert: A, expr: 'x{s=~\"a\"} > 1'}\n"},
	}
	fixed, made, err := Fix(t.Context(), b, Options{})
	require.NoError(t, err)
	require.Equal(t, 1, made)
	require.Contains(t, fixed.RuleFiles["a/r.yml"], `x{s="a"}`)
	require.Contains(t, b.RuleFiles["a/r.yml"], `x{s=~"a"}`, "the bundle that was given stays")
}

func TestComments(t *testing.T) {
	head := "groups:\n- name: g\n  rules:\n"
	rule := func(name string) string {
		return "  - alert: " + name + "\n    expr: 'sum(x{service=~\"${service}\", version=\"${version}\"}) > 1" + strings.Repeat(" ", len(name)) + "+ " + fmt.Sprint(len(name)) + "'\n    annotations: {summary: x}\n"
	}
	names := func(text string, o Options) (all []string) {
		for _, p := range check(t, rules.Bundle{File: text}, o).Problems {
			all = append(all, fmt.Sprintf("%d %s", p.Line, p.Check))
		}
		return all
	}
	const ignore = "# gatekeeper:ignore regexp: because\n"
	require.Equal(t, []string{"5 regexp", "8 regexp"}, names(head+rule("A")+rule("BB"), Options{}))
	require.Equal(t, []string{"9 regexp"}, names(head+"  "+ignore+rule("A")+rule("BB"), Options{}), "above a rule")
	require.Equal(t, []string{"10 regexp"}, names(head+"  # first\n  "+ignore+rule("A")+rule("BB"), Options{}), "in the lines above a rule")
	require.Equal(t, []string{"5 regexp"}, names(head+rule("A")+strings.Replace(rule("BB"), "x}\n", "x} "+ignore, 1), Options{}), "at the end of a rule's line")
	require.Empty(t, names(ignore+head+rule("A")+rule("BB"), Options{}), "for the file")
	require.Empty(t, names(head+rule("A"), Options{Disabled: map[string]string{"regexp": "because"}}))
	require.Empty(t, names(ignore+head+rule("A"), Options{Disabled: map[string]string{"regexp": "because"}}), "a check that did not run can't tell of its comments")
	require.Empty(t, names("# gatekeeper:ignore cost: it is asked seldom\n"+head+strings.Replace(rule("A"), "=~", "=", 1), Options{}), "online checks did not run")

	_, err := Check(t.Context(), rules.Bundle{File: head + rule("A")}, Options{Disabled: map[string]string{"regex": "because"}})
	require.ErrorContains(t, err, `there is no check "regex" to disable`)
	_, err = Check(t.Context(), rules.Bundle{File: head + rule("A")}, Options{Disabled: map[string]string{"regexp": " "}})
	require.ErrorContains(t, err, "without a reason")
}

func TestSpecs(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range Specs() {
		require.False(t, seen[s.Name], s.Name)
		seen[s.Name] = true
		require.NotEmpty(t, s.Finds)
		require.True(t, strings.HasSuffix(s.Why, "."), s.Name)
	}
	require.Len(t, Names(), len(seen))
}
