package rules

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
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

func rendered(t *testing.T, p Problems, b Bundle) string {
	t.Helper()
	var out strings.Builder
	require.NoError(t, p.Render(&out, b))
	return out.String()
}

// Each file of testdata/bad is wrong in the ways its golden file tells, all at once.
func TestLoadTellsEveryProblem(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			b, err := ReadBundle(file)
			require.NoError(t, err)
			b.Name = filepath.Base(file)
			f, err := Load(b)
			require.Nil(t, f)
			var problems Problems
			require.ErrorAs(t, err, &problems)
			golden(t, strings.TrimSuffix(file, ".yml")+".golden", rendered(t, problems, b))
		})
	}
}

func TestLoadFills(t *testing.T) {
	f, err := Load(Bundle{File: "groups: [{name: g, rules: [{alert: A, expr: a > 1}]}]"})
	require.NoError(t, err)
	require.Equal(t, 30*time.Minute, f.Window)
	require.Equal(t, 10*time.Minute, f.StartWithin)
	require.Equal(t, 30*time.Minute, f.HoldFor)
	require.InDelta(t, 0.8, f.Coverage, 0)
	require.Equal(t, Close, f.OnInconclusive)
	require.Equal(t, 15*time.Second, f.Rules[0].Interval)
	require.Equal(t, Response{Do: Rollback, NoData: Hold, OnError: Hold, Blind: 2 * time.Minute}, f.Rules[0].Response)
}

func TestLoadReadsEverything(t *testing.T) {
	f, err := Load(Bundle{Name: "health.yml", RuleFiles: map[string]string{
		"a/more.yml": "groups: [{name: g, interval: 30s, rules: [{alert: B, expr: 'sum_over_time(b[5m] offset 10m) > 1', for: 1m}]}]",
	}, File: `
service: shop
environment: eu
backend: main
window: 1h
start_within: 5m
hold_for: 1h30m
coverage: 0.5
min_traffic: sum(rate(req[1m])) > 1
on_inconclusive: hold
preflight: require
dry_run: true
rule_files: [a/more.yml]
groups:
- name: g
  interval: 10s
  query_offset: 5s
  labels: &labels {team: shop, severity: none}
  rules:
  - alert: A
    expr: a > 1
    for: 30s
    warm_up: 1m
    missing_success: unhealthy
    dry_run: true
    labels: {severity: critical}
    annotations: {<<: *labels, summary: text}
  - {alert: A, expr: a > 2, labels: {severity: "{{ $value }}", step: two}}
respond:
- {matchers: [team="shop", 'step=~"t.*"'], do: hold, no_data: rollback, on_error: ignore, blind: 1m}
- {matchers: [alertname="A"], do: rollback, veto: 30s}
- {matchers: ['team="pay",env=""'], do: notify, external: true}
rollback:
- {action: flag/set, connection: flags, with: {flag: x, enabled: false, n: 0x10, t: 2024-01-02, l: [1.5, ~]}, recover_within: 1m, changed_by_other: rollback, return_to: previous}
- action: exec/run
`})
	require.NoError(t, err)
	require.Equal(t, "a/more.yml", f.Rules[2].File)
	require.Equal(t, []string{`A{severity="critical", team="shop"}`, `A{step="two", team="shop"}`, "B"}, []string{f.Rules[0].Name, f.Rules[1].Name, f.Rules[2].Name})
	require.Equal(t, map[string]string{"team": "shop", "severity": "critical"}, f.Rules[0].Labels)
	require.Equal(t, map[string]string{"team": "shop", "severity": "none", "summary": "text"}, f.Rules[0].Annotations)
	require.Equal(t, Response{Do: Rollback, Veto: 30 * time.Second, NoData: Hold, OnError: Hold, Blind: 2 * time.Minute}, f.Rules[0].Response)
	require.Equal(t, Response{Do: Hold, NoData: Rollback, OnError: Ignore, Blind: time.Minute}, f.Rules[1].Response)
	require.Equal(t, Response{Do: Notify, NoData: Ignore, OnError: Ignore, Blind: 2 * time.Minute}, f.Rules[2].Response)
	require.Equal(t, 15*time.Minute, f.Rules[2].Range)
	a := f.Rules[0]
	require.Equal(t, []time.Duration{10 * time.Second, 5 * time.Second, 30 * time.Second, time.Minute}, []time.Duration{a.Interval, a.QueryOffset, a.For, a.WarmUp})
	require.True(t, a.DryRun && f.DryRun && a.MissingSuccess == MissingUnhealthy)
	require.JSONEq(t, `{"flag": "x", "enabled": false, "n": 16, "t": "2024-01-02", "l": [1.5, null]}`, string(f.Rollback[0].With))
	require.Equal(t, RungSpec{Action: "exec/run", RecoverWithin: 2 * time.Minute}, f.Rollback[1])

	got, ok := f.Route(map[string]string{"team": "pay"}, true)
	require.True(t, ok)
	require.Equal(t, Notify, got.Do)
	_, ok = f.Route(map[string]string{"alertname": "A"}, true)
	require.False(t, ok, "a route without external: true is not for alerts from outside")
	got, ok = f.Route(map[string]string{"alertname": "A"}, false)
	require.True(t, ok)
	require.Equal(t, Rollback, got.Do)
}

func TestLoadCaps(t *testing.T) {
	rule := "groups: [{name: g, rules: [{alert: A, expr: %}]}]"
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'k'; c++ {
		p := string(c - 1)
		bomb += string(c) + ": &" + string(c) + " [*" + strings.Repeat(p+",*", 9) + p + "]\n"
	}
	long := "a: &a '" + strings.Repeat("x", 200_000) + "'\nb: [" + strings.Repeat("*a,", 100) + "*a]"
	for name, text := range map[string]string{
		"bytes":      strings.Replace(rule, "%", "'a > 1' # "+strings.Repeat("x", MaxBundle), 1),
		"query":      strings.Replace(rule, "%", "'a{b=\""+strings.Repeat("x", maxQuery)+"\"} > 1'", 1),
		"promql":     strings.Replace(rule, "%", strings.Repeat("(", 200)+"a"+strings.Repeat(")", 200), 1),
		"alias bomb": bomb, "long alias": long, "itself": "a: &a [*a]", "merged itself": "groups: &a {<<: *a}",
		"nesting": strings.Repeat("[", 200) + strings.Repeat("]", 200), "utf-8": "service: \xff", "empty": "", "comment": "# x", "null": "~",
		"nothing to judge": "service: x", "documents": "service: x\n---\nservice: y",
	} {
		t.Run(name, func(t *testing.T) {
			f, err := Load(Bundle{File: text})
			require.Nil(t, f)
			require.ErrorAs(t, err, new(Problems))
		})
	}
	many := "groups:\n" + strings.Repeat("- {nam: x}\n", 5000)
	_, err := Load(Bundle{File: many})
	require.Len(t, err, maxProblems)
}

func TestParsePlan(t *testing.T) {
	plan, err := ParsePlan([]byte("- {action: flag/set, with: {flag: x}}"))
	require.NoError(t, err)
	require.Len(t, plan, 1)
	_, err = ParsePlan([]byte("- {acton: flag/set}\n- {action: x, with: 1}"))
	require.ErrorContains(t, err, `rollback plan:1:4: error: unknown key "acton" in the rung (key)`)
	require.ErrorContains(t, err, `rollback plan:2:21`)
}

func TestTooManyRulesAreRefused(t *testing.T) {
	file := func(n int) Bundle {
		text := "groups:\n  - name: g\n    rules:\n"
		for i := range n {
			text += fmt.Sprintf("      - {alert: R%d, expr: up == 0}\n", i)
		}
		return Bundle{File: text}
	}
	_, err := Load(file(MaxRules))
	require.NoError(t, err)
	_, err = Load(file(MaxRules + 1))
	require.ErrorContains(t, err, "301 rules, more than 300")
}
