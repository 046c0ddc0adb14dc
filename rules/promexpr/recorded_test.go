package promexpr

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/require"
)

func parse(t *testing.T, expr string) parser.Expr {
	t.Helper()
	e, err := Parser.ParseExpr(expr)
	require.NoError(t, err, expr)
	return e
}

// shop is a file's recording rules.
func shop(t *testing.T) Recordings {
	r := Recordings{}
	for _, one := range []struct {
		name, expr string
		labels     map[string]string
	}{
		{"job:req", `sum by (job) (rate(req{version="${version}"}[1m]))`, nil},
		{"job:ratio", `sum by (job) (rate(err[5m])) / job:req`, map[string]string{"team": "shop"}},
		{"by:version", `sum by (version) (rate(err[2m]))`, nil},
		{"top", `topk(1, rate(req[1m]))`, nil},
		{"q", `histogram_quantile(0.5, sum by (le, version) (rate(b_bucket[1m])))`, map[string]string{"q": "50"}},
		{"q", `histogram_quantile(0.9, sum by (le, version) (rate(b_bucket[1m])))`, map[string]string{"q": "90"}},
		{"fixed", `x @ 100 - max_over_time(y[5m:1m])`, nil},
		{"either", `err or on () req`, nil},
		{"made", `label_replace(sum(err), "version", "1", "", "")`, nil},
		{"renamed", `label_replace(err, "version", "1", "", "")`, nil},
	} {
		r.Add(one.name, parse(t, one.expr), one.labels, 15*time.Second, 0)
	}
	return r
}

func TestInline(t *testing.T) {
	known := shop(t)
	for expr, want := range map[string]string{
		`job:req > 1`:                          `(sum by (job) (rate(req{version="${version}"}[1m]))) > 1`,
		`job:req{job=~"a.*"} offset 2m`:        `(sum by (job) (rate(req{job=~"a.*",version="${version}"}[1m] offset 2m)))`,
		`{__name__="job:req"}`:                 `(sum by (job) (rate(req{version="${version}"}[1m])))`,
		`avg_over_time(job:req[5m] offset 1h)`: `avg_over_time((sum by (job) (rate(req{version="${version}"}[1m])))[5m:15s] offset 1h)`,
		`max_over_time(job:req[5m:1m])`:        `max_over_time((sum by (job) (rate(req{version="${version}"}[1m])))[5m:1m])`,
		`job:ratio{team="shop",job!="x"}`:      `(sum by (job) (rate(err{job!="x"}[5m])) / (sum by (job) (rate(req{job!="x",version="${version}"}[1m]))))`,
		`fixed offset 1m`:                      `(x @ 100.000 - max_over_time(y[5m:1m] offset 1m))`,
		`job:req or up`:                        `(sum by (job) (rate(req{version="${version}"}[1m]))) or up`,
		`by:version{version="2"} - up`:         `(sum by (version) (rate(err{version="2"}[2m]))) - up`,
	} {
		seen, exact := known.Inline(parse(t, expr))
		require.Equal(t, want, seen.String())
		require.True(t, exact, expr)
		parse(t, seen.String())
	}
	for expr, want := range map[string]string{
		`job:ratio{team="other"}`:    `job:ratio{team="other"}`, // which finds nothing
		`job:req{pod="a"}`:           `job:req{pod="a"}`,
		`either{pod="a"}`:            `(err or on () req)`, // another pod's err is in req's way
		`top{pod="a"}`:               `(topk(1, rate(req[1m])))`,
		`job:req @ 5`:                `job:req @ 5.000`,
		`{__name__=~"job:.*"}`:       `{__name__=~"job:.*"}`,
		`renamed{version="2"}`:       `(label_replace(err, "version", "1", "", ""))`, // err's own version is another
		`made{version="${version}"}`: `(label_replace(sum(err), "version", "1", "", ""))`,
		`q{q="50"}`:                  `((histogram_quantile(0.5, sum by (le, version) (rate(b_bucket[1m])))) or (histogram_quantile(0.9, sum by (le, version) (rate(b_bucket[1m])))))`,
	} {
		seen, exact := known.Inline(parse(t, expr))
		require.Equal(t, want, seen.String())
		require.False(t, exact, expr)
	}
}

func TestSeenThrough(t *testing.T) {
	known := shop(t)
	for expr, want := range map[string]struct {
		binding Binding
		reach   time.Duration
	}{
		`job:req > 1`:                          {BoundToVersion, 75 * time.Second},
		`job:ratio > 0.1`:                      {Unbound, 5*time.Minute + 15*time.Second},
		`job:ratio and job:req > 1`:            {BoundToVersion, 5*time.Minute + 15*time.Second},
		`by:version > 1`:                       {Unbound, 135 * time.Second},
		`by:version{version="${version}"} > 1`: {BoundToVersion, 135 * time.Second},
		`q{q="90",version="${version}"} > 1`:   {BoundToVersion, 75 * time.Second},
		`q{version="${version}"} > 1`:          {BoundToVersion, 75 * time.Second},
		`made{version="${version}"} > 1`:       {Unbound, 15 * time.Second}, // nothing of it is the version's
		`avg_over_time(job:req[5m] offset 1m)`: {BoundToVersion, 6*time.Minute + 75*time.Second},
		`{__name__=~"job:.*"} > 1`:             {Unbound, 5*time.Minute + 15*time.Second},
		`up > 1`:                               {Unbound, 0},
	} {
		e := parse(t, expr)
		require.Equal(t, want.binding, BindingOf(e, known), expr)
		require.Equal(t, want.reach, Reach(e, known), expr)
		require.Equal(t, e.String(), parse(t, expr).String(), "it is not changed")
	}
}

// Rules that use one another twice don't grow without bounds.
func TestInlineIsBounded(t *testing.T) {
	known := Recordings{}
	known.Add("r0", parse(t, `sum(x{version="${version}"})`), nil, time.Minute, 0)
	for n := 1; n < 60; n++ {
		known.Add(fmt.Sprintf("r%d", n), parse(t, fmt.Sprintf("r%d + r%d", n-1, n-1)), nil, time.Minute, 0)
	}
	seen, exact := known.Inline(parse(t, "r59"))
	require.False(t, exact)
	require.Less(t, len(seen.String()), 2*maxInlined)
	require.Equal(t, BoundToVersion, BindingOf(parse(t, "r59"), known))
	require.Equal(t, 60*time.Minute, Reach(parse(t, "r59"), known))
}
