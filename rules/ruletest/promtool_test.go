package ruletest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// TestAsPromtool runs each test of the corpus through this package and through the real promtool. The
// tests below "newer" use what Debian's promtool does not know yet: they run through that of
// GATEKEEPER_PROMTOOL, where it is set, and are held to what they say of themselves.
func TestAsPromtool(t *testing.T) {
	tools := map[string]string{"newer": os.Getenv("GATEKEEPER_PROMTOOL")}
	if tool, err := exec.LookPath("promtool"); err == nil {
		tools["both"] = tool
	} else if os.Getenv("CI") == "true" {
		t.Fatal("promtool is missing: apt-get install prometheus")
	}
	for _, corpus := range []string{"both", "newer"} {
		var passing []string
		for _, one := range corpusTests(t, filepath.Join("testdata/promtool", corpus)) {
			fails := strings.HasSuffix(one.name, "(fails)")
			t.Run(one.name, func(t *testing.T) {
				require.Equal(t, !fails, passes(t, one.file), "by Gatekeeper")
				if fails && tools[corpus] != "" {
					out, err := exec.CommandContext(t.Context(), tools[corpus], "test", "rules", one.file).CombinedOutput()
					require.Error(t, err, "by promtool: %s", out)
				}
			})
			if !fails {
				passing = append(passing, one.file)
			}
		}
		require.NotEmpty(t, passing)
		if tools[corpus] == "" {
			t.Logf("no promtool for the tests of %q", corpus)
			continue
		}
		out, err := exec.CommandContext(t.Context(), tools[corpus], append([]string{"test", "rules"}, passing...)...).CombinedOutput()
		require.NoError(t, err, "by promtool: %s", out)
	}
}

type corpusTest struct{ name, file string }

// corpusTests writes each test of a folder's files into a file of its own.
func corpusTests(t *testing.T, dir string) (all []corpusTest) {
	files, err := filepath.Glob(filepath.Join(dir, "*.yml"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	folder, err := filepath.Abs(dir)
	require.NoError(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		text = []byte(strings.ReplaceAll(string(text), "../rules/", filepath.Join(folder, "../rules")+"/"))
		if strings.Contains(string(text), "a key twice") { // can't be taken apart
			name := filepath.Join(t.TempDir(), filepath.Base(file))
			require.NoError(t, os.WriteFile(name, text, 0o600))
			all = append(all, corpusTest{"a key twice (fails)", name})
			continue
		}
		var whole map[string]any
		require.NoError(t, yaml.Unmarshal(text, &whole))
		tests, _ := whole["tests"].([]any)
		require.NotEmpty(t, tests)
		for _, test := range tests {
			whole["tests"] = []any{test}
			single, err := yaml.Marshal(whole)
			require.NoError(t, err)
			name := filepath.Join(t.TempDir(), filepath.Base(file))
			require.NoError(t, os.WriteFile(name, single, 0o600))
			all = append(all, corpusTest{test.(map[string]any)["name"].(string), name})
		}
	}
	return all
}

func passes(t *testing.T, name string) bool {
	f, err := Read(name)
	if err != nil {
		t.Log(err)
		return false
	}
	r, err := Run(t.Context(), f, Options{})
	require.NoError(t, err)
	for _, one := range r.Tests {
		for _, f := range one.Failures {
			t.Log(f.Says, f.Expected, f.Happened)
		}
	}
	return r.Passed
}
