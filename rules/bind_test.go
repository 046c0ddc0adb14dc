package rules

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

func TestBind(t *testing.T) {
	vars := Vars{Service: "shop", Environment: "eu", Version: `1.2+b"3`, PreviousVersion: "1.1", Labels: map[string]string{"region.x": "west"}}
	for expr, want := range map[string]string{
		`a{v="${version}"} > 1`:                                 `a{v="1.2+b\"3"} > 1`,
		`a{v=~"${version}"} > 1`:                                `a{v=~"1\\.2\\+b\"3"} > 1`,
		`a{v!~"x-${version}.*"}`:                                `a{v!~"x-1\\.2\\+b\"3.*"}`,
		`a{v!="${version}"}`:                                    `a{v!="1.2+b\"3"}`,
		"a{v=`${version}`}":                                     `a{v="1.2+b\"3"}`,
		`a{v=~"${previous_version}|${version}"}`:                `a{v=~"1\\.1|1\\.2\\+b\"3"}`,
		`sum(rate(a{s="${service}",e="${environment}"}[1m:]))`:  `sum(rate(a{e="eu",s="shop"}[1m:]))`,
		`{__name__="${service}_errors",r="${labels.region.x}"}`: `{__name__="shop_errors",r="west"}`,
		`a{v="$1 ${unclosed"}`:                                  `a{v="$1 ${unclosed"}`,
		`a == on() group_left() b{v="${version}"} offset 5m`:    `a == on () group_left () b{v="1.2+b\"3"} offset 5m`,
	} {
		t.Run(expr, func(t *testing.T) {
			f := &File{Rules: []Rule{{Name: "A", Expr: expr}}}
			b, err := f.Bind(vars)
			require.NoError(t, err)
			require.Equal(t, want, b.Rules[0].Expr)
			again, err := parsed(b.Rules[0].Expr)
			require.NoError(t, err)
			require.Equal(t, want, again.String())
			require.Equal(t, expr, f.Rules[0].Expr, "the file stays as it was")
		})
	}
}

func TestBindNeedsEveryValue(t *testing.T) {
	f := &File{MinTraffic: `a{v="${version}"} > 1`, Rules: []Rule{
		{Name: "A", Expr: `a{v="${previous_version}",l=~"${labels.region}${version}"} > 1`}, {Name: "B", Expr: `a{v="${previous_version}"} > 1`},
	}}
	_, err := f.Bind(Vars{Service: "shop", Version: "2", Labels: map[string]string{"region": ""}})
	require.EqualError(t, err, "the release has no value for ${labels.region} (in A), ${previous_version} (in A, B): its rules can't be asked")
	require.Equal(t, "Name them when the release is opened: ${labels.region}, ${previous_version}.", gatekeeper.HintOf(err))
	require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(err))

	f = &File{Rules: []Rule{{Name: "A", Expr: `a{v="${version}"} > 1`}}}
	_, err = f.Bind(Vars{Version: strings.Repeat("v", maxQuery)})
	require.ErrorContains(t, err, "more than 16384")
	_, err = (&File{Rules: []Rule{{Expr: "("}}}).Bind(Vars{})
	require.ErrorContains(t, err, "unclosed")
}

func TestVersionBound(t *testing.T) {
	const v, p, n = `{v="${version}"}`, `{v="${previous_version}"}`, `{s="${service}"}`
	for expr, want := range map[string]bool{
		"a" + v + " > 1": true,
		"a" + n + " > 1": false,
		"sum(rate(a" + v + "[1m])) / sum(rate(b" + v + "[1m])) > 1": true,
		"a" + v + " / b" + n + " > 1":                               false,
		"a" + v + " > 2 * a" + p:                                    true,
		"a" + p + " > 1":                                            false,
		"a" + v + " > 1 and on() b" + n:                             true,
		"b" + n + " and on() a" + v + " > 1":                        true,
		"a" + n + " > 1 and b" + n:                                  false,
		"a" + v + " > 1 unless on() b" + n:                          true,
		"a" + n + " > 1 unless on() b" + v:                          false,
		"a" + v + " > 1 or b" + v + " > 2":                          true,
		"a" + v + " > 1 or b" + n + " > 2":                          false,
		"a" + v + " > 1 or vector(1)":                               false,
		`a{v!="${version}"} > 1`:                                    false,
		`a{v=~"x-${version}"} > 1`:                                  true,
		`a{v=~"${version}|${previous_version}"}`:                    false,
		"vector(1)":                                                 false,
		"max_over_time(rate(a" + v + "[1m])[5m:]) > 1":              true,
	} {
		f, err := Load(Bundle{File: "groups: [{name: g, rules: [{alert: A, expr: '" + expr + "'}]}]"})
		require.NoError(t, err)
		require.Equal(t, want, f.Rules[0].VersionBound, expr)
	}
}
