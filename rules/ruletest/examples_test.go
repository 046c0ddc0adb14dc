package ruletest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gatekeeper-engine/gatekeeper/actions/builtin"
	"github.com/gatekeeper-engine/gatekeeper/internal/timeline"
	"github.com/gatekeeper-engine/gatekeeper/rules/ruletest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	examples  = "../../examples/rules"
	timelines = "../../docs/timelines"
)

func options(t *testing.T) ruletest.Options {
	t.Helper()
	registry, err := builtin.Registry(nil)
	require.NoError(t, err)
	return ruletest.Options{Actions: registry.Specs()}
}

// result runs a test file; what is wrong in the file itself fails the test.
func result(t *testing.T, name string) ruletest.Result {
	t.Helper()
	f, err := ruletest.Read(name)
	require.NoError(t, err)
	r, err := ruletest.Run(t.Context(), f, options(t))
	require.NoError(t, err)
	return r
}

func told(t *testing.T, r ruletest.Result) string {
	t.Helper()
	var out strings.Builder
	require.NoError(t, r.Write(&out, timeline.Options{}))
	return out.String()
}

func TestEveryExampleHasATestBesideIt(t *testing.T) {
	files, err := filepath.Glob(examples + "/*.yml")
	require.NoError(t, err)
	below, err := filepath.Glob(examples + "/*/*.yml")
	require.NoError(t, err)
	found := 0
	for _, name := range append(files, below...) {
		if strings.HasSuffix(name, ".test.yml") {
			continue
		}
		found++
		t.Run(filepath.Base(name), func(t *testing.T) {
			r := result(t, strings.TrimSuffix(name, ".yml")+".test.yml")
			require.True(t, r.Passed, told(t, r))
			require.NotEmpty(t, r.Tests)
		})
	}
	require.GreaterOrEqual(t, found, 6)
}

// notSaid are the timelines that the format has no words for; the guide says why.
var notSaid = []string{"T30"}

func TestTimelines(t *testing.T) {
	files, err := filepath.Glob(timelines + "/*.test.yml")
	require.NoError(t, err)
	said := map[string]bool{}
	began := time.Now()
	releases := 0
	for _, name := range files {
		r := result(t, name)
		require.True(t, r.Passed, told(t, r))
		for _, one := range r.Tests {
			said[strings.Fields(one.Name)[0]] = true
			releases += len(one.Releases)
		}
	}
	require.Less(t, time.Since(began)/time.Duration(releases), time.Second, "half an hour takes well under a second")
	for _, number := range notSaid {
		require.False(t, said[number], number)
		said[number] = true
	}
	for n := 1; n <= 32; n++ {
		require.True(t, said[fmt.Sprintf("T%02d", n)], "timeline T%02d", n)
	}
}

// The engine has a test of each timeline too; what is said here is said there.
func TestTimelinesAreTheEngines(t *testing.T) {
	text, err := os.ReadFile("../../engine/timeline_test.go")
	require.NoError(t, err)
	tested := map[string]bool{}
	for _, m := range regexp.MustCompile(`func TestTimeline_(T\d+)_`).FindAllStringSubmatch(string(text), -1) {
		tested[m[1]] = true
	}
	for n := 1; n <= 32; n++ {
		number := fmt.Sprintf("T%02d", n)
		require.Equal(t, number != "T30", tested[number], number)
	}
}
