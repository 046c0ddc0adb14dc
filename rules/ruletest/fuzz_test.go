package ruletest

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
)

// FuzzTestFile reads whatever it is given, and runs what promtool has of it where that is little: it
// never panics, and what it refuses has a place.
func FuzzTestFile(f *testing.F) {
	for _, pattern := range []string{"testdata/*.test.yml", "testdata/bad/*.test.yml", "testdata/promtool/*/*.yml", "../../docs/timelines/*.test.yml", "../../examples/rules/*.test.yml"} {
		files, err := filepath.Glob(pattern)
		require.NoError(f, err)
		require.NotEmpty(f, files, pattern)
		for _, name := range files {
			text, err := os.ReadFile(name)
			require.NoError(f, err)
			f.Add(string(text))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 64<<10 {
			return
		}
		file, r := parse("fuzz.test.yml", text)
		for _, p := range r.problems {
			require.Positive(t, p.Line)
			require.NotEmpty(t, p.Message)
		}
		if len(r.problems) > 0 {
			return
		}
		file.RuleFiles = nil
		for i := range file.Tests {
			one := &file.Tests[i]
			one.Releases = nil
			if samples(one) > 2000 || time.Duration(one.lastEval())/time.Duration(max(file.EvaluationInterval, model.Duration(time.Second))) > 200 {
				continue
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			one.run(ctx, file, Options{})
			cancel()
		}
	})
}

func samples(t *Test) (n int) {
	for _, s := range t.InputSeries {
		_, values, err := s.parse()
		if err != nil {
			return 0
		}
		n += len(values)
	}
	return n
}
