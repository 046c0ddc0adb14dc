package promexpr

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRange(t *testing.T) {
	for expr, want := range map[string]time.Duration{
		"a > 1":                                  0,
		"rate(a[5m]) > 1":                        5 * time.Minute,
		"rate(a[5m] offset 1h) > rate(b[2h])":    2 * time.Hour,
		"a offset 10m > 1":                       10 * time.Minute,
		"a offset -10m > 1":                      0,
		"max_over_time(rate(a[5m])[30m:1m]) > 1": 35 * time.Minute,
		"max_over_time(a[30m:1m] offset 1h) > 1": 90 * time.Minute,
	} {
		ast, err := Parser.ParseExpr(expr)
		require.NoError(t, err)
		require.Equal(t, want, Reach(ast, nil), expr)
	}
}

func TestProbes(t *testing.T) {
	for expr, want := range map[string][]string{
		"a > a":                                      {"count(a)"},
		"rate(a[5m] offset 1h) > b @ 5":              {"count(rate(a[5m] offset 1h))", "count(b @ 5.000)"},
		"absent_over_time(a[5m])":                    {"count(last_over_time(a[5m]))"},
		"quantile_over_time(scalar(q), a[5m]) > 1":   {"count(q)", "count(quantile_over_time(scalar(q), a[5m]))"},
		"max_over_time(rate(a[1m])[10m:] offset 1h)": {"count(last_over_time(a[11m] offset 1h))"},
		"max_over_time(a[10m:])":                     {"count(last_over_time(a[10m]))"},
		"max_over_time(a[10m:] @ end())":             {"count(last_over_time(a[10m] @ end()))"},
		"vector(1)":                                  nil,
	} {
		ast, err := Parser.ParseExpr(expr)
		require.NoError(t, err)
		got := Probes(ast)
		require.Equal(t, want, got, expr)
		for _, q := range got {
			_, err := Parser.ParseExpr(q)
			require.NoError(t, err)
		}
	}
}
