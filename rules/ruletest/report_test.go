package ruletest_test

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper/internal/timeline"
	"github.com/gatekeeper-engine/gatekeeper/rules/ruletest"
)

var update = flag.Bool("update", false, "write the golden files anew")

var took = regexp.MustCompile(`\([\d.]+[µm]?s\)`)

// golden compares a text with the file that holds what it should be.
func golden(t *testing.T, name, text string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	}
	want, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, string(want), text)
}

func TestFailuresAreShownOnOneTimeline(t *testing.T) {
	r := result(t, "testdata/failing.test.yml")
	require.False(t, r.Passed)
	golden(t, "testdata/failing.golden", took.ReplaceAllString(told(t, r), "(…)"))
	for _, one := range r.Tests {
		require.Equal(t, strings.HasPrefix(one.Name, "right"), one.Passed, one.Name)
	}
}

func TestColours(t *testing.T) {
	r := result(t, "testdata/failing.test.yml")
	var out strings.Builder
	require.NoError(t, r.Write(&out, timeline.Options{Color: true}))
	require.Contains(t, out.String(), "\x1b[")
	require.NotContains(t, told(t, r), "\x1b[")
}

func TestJUnit(t *testing.T) {
	r := result(t, "testdata/failing.test.yml")
	var out strings.Builder
	require.NoError(t, ruletest.WriteJUnit(&out, []ruletest.Result{r}, map[string]error{"none.yml": errors.New("it's <not> there")}))
	var read struct {
		Suites []struct {
			Name     string `xml:"name,attr"`
			Tests    int    `xml:"tests,attr"`
			Failures int    `xml:"failures,attr"`
			Errors   int    `xml:"errors,attr"`
			Cases    []struct {
				Name     string   `xml:"name,attr"`
				Failures []string `xml:"failure"`
				Error    string   `xml:"error"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	require.NoError(t, xml.Unmarshal([]byte(out.String()), &read))
	require.Len(t, read.Suites, 2)
	require.Equal(t, len(r.Tests), read.Suites[0].Tests)
	require.Equal(t, len(r.Tests)-1, read.Suites[0].Failures)
	for i, one := range read.Suites[0].Cases {
		require.Equal(t, r.Tests[i].Passed, len(one.Failures) == 0, one.Name)
	}
	require.Equal(t, 1, read.Suites[1].Errors)
	require.Contains(t, read.Suites[1].Cases[0].Error, "<not>")
}

func TestJSON(t *testing.T) {
	text, err := json.Marshal(result(t, "testdata/failing.test.yml"))
	require.NoError(t, err)
	var read struct {
		Passed bool
		Tests  []struct {
			Name     string
			Releases []struct {
				Release  string
				Outcome  string
				Failures []struct{ Line int }
			}
		}
	}
	require.NoError(t, json.Unmarshal(text, &read))
	require.False(t, read.Passed)
	require.Equal(t, "rolled_back", read.Tests[0].Releases[0].Outcome)
	require.NotZero(t, read.Tests[1].Releases[0].Failures[0].Line)
}

func TestRunPicksTests(t *testing.T) {
	f, err := ruletest.Read("testdata/failing.test.yml")
	require.NoError(t, err)
	o := options(t)
	o.Run = regexp.MustCompile("^right")
	r, err := ruletest.Run(t.Context(), f, o)
	require.NoError(t, err)
	require.True(t, r.Passed)
	require.Len(t, r.Tests, 1)
}

// What is wrong in a test file, in its rule files and in its health files is told with its place.
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.test.yml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			_, err := ruletest.Read(name)
			broken, ok := errors.AsType[*ruletest.Broken](err)
			require.True(t, ok, "%v", err)
			var out strings.Builder
			require.NoError(t, broken.Problems.Render(&out, broken.Source))
			golden(t, strings.TrimSuffix(name, ".test.yml")+".golden", out.String())
		})
	}
}

func TestUnreadable(t *testing.T) {
	_, err := ruletest.Read("testdata/none.yml")
	require.ErrorContains(t, err, "testdata/none.yml")
	_, err = ruletest.Read("testdata")
	require.ErrorContains(t, err, "no regular file")
	big := filepath.Join(t.TempDir(), "big.yml")
	require.NoError(t, os.WriteFile(big, []byte(strings.Repeat("# nothing\n", 1<<20+1)), 0o600))
	_, err = ruletest.Read(big)
	require.ErrorContains(t, err, "more than")
}

// A rule file that is a link to itself is told, not followed; so is a health file's that leaves its folder.
func TestRuleFilesThatLeadNowhere(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	require.NoError(t, os.Symlink("loop.yml", filepath.Join(dir, "loop.yml")))
	write("a.test.yml", "rule_files: [loop.yml]\ntests: []\n")
	_, err := ruletest.Read(filepath.Join(dir, "a.test.yml"))
	require.ErrorContains(t, err, "loop.yml")

	write("health.yml", "rule_files: [../secret.yml]\n")
	write("b.test.yml", "tests: [{releases: [{health_file: health.yml, version: v2}]}]\n")
	_, err = ruletest.Read(filepath.Join(dir, "b.test.yml"))
	require.ErrorContains(t, err, "outside the health file's folder")
}
