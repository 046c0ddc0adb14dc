package rules

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestNewestIsTheLatestScrapeOfAnySelector(t *testing.T) {
	q := newBackend(t, "load 15s\n  a{v=\"1\"} 1x3\n  a{v=\"2\"} 1x1\n  b 1x2\n")
	for expr, want := range map[string]time.Time{
		`sum(rate(a[1m])) / sum(rate(b[1m])) > 1`: minute(0.75),
		`a{v="2"} > 1`:                 minute(0.25),
		`a > 1 unless b`:               minute(0.75),
		`none > 1`:                     {},
		`a offset 15s > 1`:             {},
		`max_over_time(a[1m:15s]) > 1`: {},
		`vector(1) > 2`:                {},
	} {
		newest, err := oneRule(t, expr, "", "").Newest(t.Context(), q, minute(1.2))
		require.NoError(t, err, expr)
		require.Equal(t, want, newest, expr)
	}
}
