package rules_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/lint"
)

// atLeast is how many alerts the corpus must have.
const atLeast = 200

// The corpus is rules after the manner of the public rule sets. Each loads, lints, binds and is judged,
// whatever the backend answers.
func TestCorpus(t *testing.T) {
	files, err := filepath.Glob("testdata/corpus/*.yml")
	require.NoError(t, err)
	seen := map[string]string{}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			b, err := rules.ReadBundle(file)
			require.NoError(t, err)
			f, err := rules.Load(b)
			require.NoError(t, err)
			report, err := lint.Check(t.Context(), b, lint.Options{})
			require.NoError(t, err)
			for _, p := range report.Problems {
				require.Positive(t, p.Line, p)
				require.Positive(t, p.Column, p)
				require.NotEmpty(t, p.Message)
			}
			var out strings.Builder
			require.NoError(t, report.Problems.Render(&out, b))
			bound, err := f.Bind(rules.Vars{})
			require.NoError(t, err)
			for _, r := range bound.Rules {
				require.Empty(t, seen[r.Alert], "%s stands twice", r.Alert)
				seen[r.Alert] = r.Expr
				for _, answer := range []answers{nil, {0}, {1e9, -1}} {
					at := time.Unix(1e9, 0)
					reading := r.Judge(t.Context(), answer, at)
					require.NotEmpty(t, reading.Verdict)
					require.Len(t, r.JudgeRange(t.Context(), answer, at, at.Add(time.Minute), 15*time.Second), 5)
					_, err := r.Active(t.Context(), answer, at)
					require.NoError(t, err)
				}
			}
		})
	}
	require.GreaterOrEqual(t, len(seen), atLeast)
}

// answers answers every query with these values, each of a series of its own.
type answers []gatekeeper.Float

func (a answers) samples() []gatekeeper.Sample {
	var all []gatekeeper.Sample
	for i, v := range a {
		all = append(all, gatekeeper.Sample{Labels: map[string]string{"instance": fmt.Sprint(i)}, Value: v})
	}
	return all
}

func (a answers) Query(context.Context, string, time.Time) (rules.Vector, error) {
	return rules.Vector{Samples: a.samples()}, nil
}

func (a answers) QueryRange(_ context.Context, _ string, from, to time.Time, step time.Duration) (rules.Matrix, error) {
	var m rules.Matrix
	for _, s := range a.samples() {
		one := rules.Series{Labels: s.Labels}
		for at := from; !at.After(to); at = at.Add(step) {
			one.Points = append(one.Points, rules.Point{At: at, Value: s.Value})
		}
		m.Series = append(m.Series, one)
	}
	return m, nil
}

// What is far too big is refused at once, and says what and where.
func TestTooBig(t *testing.T) {
	const head = "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: "
	query := func(bytes int) string { return "up" + strings.Repeat(" + up", bytes/5) + " > 1" }
	big := head + "up == 0\n" + strings.Repeat("# a comment that goes on\n", 10<<20/25)

	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	_, err := rules.ReadBundle(write("big.yml", big))
	require.ErrorContains(t, err, "big.yml")
	require.ErrorContains(t, err, "more than 1048576 bytes")
	write("rules.yml", big)
	_, err = rules.ReadBundle(write("names.yml", "rule_files: [rules.yml]\n"))
	require.ErrorContains(t, err, "rules.yml")
	_, err = rules.Load(rules.Bundle{Name: "big.yml", File: big})
	require.ErrorContains(t, err, "big.yml: error: the health file and its rule files have ")
	_, err = rules.Load(rules.Bundle{Name: "names.yml", File: "rule_files: [rules.yml]\n", RuleFiles: map[string]string{"rules.yml": big}})
	require.ErrorContains(t, err, "more than 1048576")

	for place, text := range map[string]string{
		"long.yml:5:11":   head + query(1_000_000),
		"long.yml:1:14":   "min_traffic: " + query(1_000_000) + "\n" + head + "up == 0",
		"long.yml:5:11: ": head + "|\n      " + query(20_000),
	} {
		for what, load := range map[string]func(rules.Bundle) error{
			"load": func(b rules.Bundle) error { _, err := rules.Load(b); return err },
			"lint": func(b rules.Bundle) error {
				report, err := lint.Check(t.Context(), b, lint.Options{})
				require.NoError(t, err)
				var out strings.Builder
				require.NoError(t, report.Problems.Render(&out, b))
				require.Less(t, out.Len(), 4<<10, "and not by showing all of it")
				return report.Problems.Errors()
			},
		} {
			err := load(rules.Bundle{Name: "long.yml", File: text})
			require.ErrorContains(t, err, place, what)
			require.ErrorContains(t, err, "has more than 16384 bytes", what)
			require.Less(t, len(err.Error()), 4<<10)
		}
	}
}
