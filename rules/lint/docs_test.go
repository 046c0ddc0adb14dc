package lint

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper/rules"
)

const pages = "../../docs/checks"

// Every check has a page and every page a check; the list of them is written from the code.
func TestEveryCheckHasAPage(t *testing.T) {
	var index strings.Builder
	index.WriteString("# Checks\n\nWhat `gatekeeper check` finds beyond what makes a file unusable. The names are stable: comments\n(see [ignore](ignore.md)) and `--disable NAME=reason` name them.\n\n")
	index.WriteString("| check | it finds | why it matters |\n|---|---|---|\n")
	var online strings.Builder
	for _, s := range Specs() {
		text, err := os.ReadFile(filepath.Join(pages, s.Name+".md"))
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(string(text), "# "+s.Name+"\n\n"), s.Name)
		row := fmt.Sprintf("| [`%s`](%s.md) | %s | %s |\n", s.Name, s.Name, s.Finds, s.Why)
		if s.Online {
			require.Contains(t, string(text), "`--backend`", s.Name)
			online.WriteString(row)
		} else {
			index.WriteString(row)
		}
	}
	index.WriteString("\nWith `--backend URL` the metrics are asked too:\n\n| check | it finds | why it matters |\n|---|---|---|\n" + online.String())
	golden(t, filepath.Join(pages, "README.md"), index.String())

	files, err := filepath.Glob(filepath.Join(pages, "*.md"))
	require.NoError(t, err)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".md")
		require.True(t, name == "README" || specOf(name) != nil, "the page %s has no check", name)
	}
}

// The pages say which checks rewrite.
func TestPagesSayWhatIsFixed(t *testing.T) {
	for _, s := range Specs() {
		text, err := os.ReadFile(filepath.Join(pages, s.Name+".md"))
		require.NoError(t, err)
		golden, err := os.ReadFile(filepath.Join("testdata/bad", s.Name+".golden"))
		if s.Online {
			continue
		}
		require.NoError(t, err)
		require.Equal(t, strings.Contains(string(golden), "\n  fix: "), strings.Contains(string(text), "**`--fix`**"), s.Name)
	}
}

// What a page shows as found is found, and what it shows instead is not.
func TestExamplesOfThePages(t *testing.T) {
	shown := 0
	for _, s := range Specs() {
		text, err := os.ReadFile(filepath.Join(pages, s.Name+".md"))
		require.NoError(t, err)
		_, block, ok := strings.Cut(string(text), "```promql\n")
		if !ok || s.Online {
			continue
		}
		block, _, _ = strings.Cut(block, "```")
		for i, part := range strings.Split("\n"+block, "\n# ")[1:] {
			head, expr, _ := strings.Cut(part, "\n")
			file := "window: 1h\ngroups:\n- name: g\n  rules:\n  - alert: A\n    annotations: {summary: above 1%}\n    expr: |\n      " + strings.ReplaceAll(strings.TrimSpace(expr), "\n", "\n      ")
			var found []string
			for _, p := range check(t, rules.Bundle{File: file}, Options{}).Problems {
				found = append(found, p.Check)
			}
			require.Equal(t, i == 0, head == "found", s.Name)
			if i == 0 {
				require.Contains(t, found, s.Name)
			} else {
				require.NotContains(t, found, s.Name)
			}
			shown++
		}
	}
	require.Greater(t, shown, 30)
}
