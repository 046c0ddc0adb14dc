package rules_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper/rules"
)

func boundRule(t *testing.T, expr string) *rules.BoundRule {
	t.Helper()
	file, err := rules.Load(rules.Bundle{File: "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: '" + expr + "'\n"})
	require.NoError(t, err)
	bound, err := file.Bind(rules.Vars{Service: "shop", Version: "v2"})
	require.NoError(t, err)
	return bound.Rules[0]
}

func TestWithThreshold(t *testing.T) {
	for _, c := range []struct{ expr, with string }{
		{`a > 0.01`, `a > 5`},
		{`0.01 < a`, `5 < a`},
		{`(a / b) >= (1 / 100)`, `(a / b) >= 5`},
		{`a > 1 and sum(b) > 3`, `a > 5 and sum(b) > 3`},
		{`(a > 1 unless on (x) b) and c`, `(a > 5 unless on (x) b) and c`},
	} {
		rule := boundRule(t, c.expr)
		was, err := rule.Threshold()
		require.NoError(t, err, c.expr)
		require.NotEqual(t, 5.0, was.Value)
		other, err := rule.WithThreshold(5, time.Minute)
		require.NoError(t, err)
		require.Equal(t, c.with, other.Expr)
		require.Equal(t, time.Minute, other.For)
		is, err := other.Threshold()
		require.NoError(t, err)
		require.Equal(t, rules.Threshold{Operator: was.Operator, Value: 5}, is)
		require.NotEqual(t, rule.Expr, other.Expr, "the rule itself stays")
	}
	low, err := boundRule(t, `sum(ok) / sum(all) < 0.99`).Threshold()
	require.NoError(t, err)
	require.True(t, low.Success)
}

func TestThresholdRefuses(t *testing.T) {
	for expr, why := range map[string]string{
		`a > b`:             "another series",
		`a > bool 1`:        "of bool",
		`a > 1 < 5`:         "compares twice",
		`a > 1 or b > 1`:    "no comparison",
		`a and b > 1`:       "compares nothing",
		`absent(a)`:         "compares nothing",
		`vector(1) > 0 * a`: "another series",
	} {
		_, err := boundRule(t, expr).Threshold()
		require.ErrorContains(t, err, why, expr)
	}
}
