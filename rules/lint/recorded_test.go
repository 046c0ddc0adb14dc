package lint

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper/rules"
)

const recording = `service: shop
min_traffic: sum(requests{version="${version}"}) > 1
groups:
- name: g
  rules:
  - {record: requests, expr: 'sum by (version) (rate(req_total{service="${service}"}[1m]))'}
  - {record: success, expr: 'sum by (version) (rate(req_total{service="${service}",code="200"}[1m])) / requests'}
  - {record: everybody, expr: 'sum by (version) (rate(req_total[1m]))'}
  - {alert: A, expr: '%', for: 1m, annotations: {summary: a}}
`

// What a rule reads is seen through the names that the file records.
func TestChecksSeeThroughRecordedNames(t *testing.T) {
	records := Options{Records: func(*rules.File) bool { return true }}
	for expr, want := range map[string][]string{
		`requests{version="${version}"} > 100`:                       nil,
		`requests > 100`:                                             {"unbound_version"},
		`max_over_time(requests[20m]) > 100`:                         {"tail", "unbound_version"},
		`max_over_time(requests{version="${version}"}[1h]) > 100`:    {"long_range"},
		`success{version="${version}"} < 0.9`:                        {"lopsided"},
		`1 - success{version="${version}"} > 0.1`:                    {"lopsided"},
		`everybody{version="${version}"} > 100`:                      {"unbound_service"},
		`everybody{version="${version}",service="${service}"} > 100`: {"impossible"},
		`requests{version="${version}",pod=""} > 100`:                nil,
		`sum(success{pod="x"} > 1) > 1`:                              {"impossible", "unbound_service", "unbound_version"},
	} {
		report := check(t, rules.Bundle{Name: "h.yml", File: strings.Replace(recording, "%", expr, 1)}, records)
		var found []string
		for _, p := range report.Problems {
			require.Equal(t, 9, p.Line, "%s: %s", expr, p.Message)
			require.False(t, p.Fixable, "what is seen has no place in the rule")
			found = append(found, p.Check)
		}
		slices.Sort(found)
		require.Equal(t, want, slices.Compact(found), expr)
	}
	b := rules.Bundle{Name: "h.yml", File: strings.Replace(recording, "%", `success{version="${version}"} < 0.9`, 1)}
	report := check(t, b, records)
	require.Equal(t, "at 50% errors this rule decides after about 1m42s", report.Lags[0].String())
	require.NotNil(t, report.File)
}

// A recording rule's own mistakes are told where it stands, and mended there.
func TestRecordingRulesAreChecked(t *testing.T) {
	text := strings.Replace(strings.Replace(recording, "%", `requests{version="${version}"} > 100`, 1), "req_total[1m]", `req_total{a=~"b"}[20s]`, 1)
	b := rules.Bundle{Name: "h.yml", File: text}
	report := check(t, b, Options{Records: func(*rules.File) bool { return true }})
	var found []string
	for _, p := range report.Problems {
		require.Equal(t, 8, p.Line)
		found = append(found, p.Check)
	}
	require.Equal(t, []string{"range", "regexp"}, found)
	fixed, made, err := Fix(t.Context(), b, Options{Records: func(*rules.File) bool { return true }})
	require.NoError(t, err)
	require.Positive(t, made)
	require.Contains(t, fixed.File, `req_total{a="b"}[20s]`)
}

func TestRecordingRulesNeedABackend(t *testing.T) {
	b := rules.Bundle{Name: "h.yml", File: strings.Replace(recording, "%", `requests{version="${version}"} > 100`, 1)}
	report := check(t, b, Options{})
	require.Nil(t, report.File)
	require.Len(t, report.Problems, 3)
	require.Equal(t, "recording", report.Problems[0].Check)
	require.Equal(t, []int{6, 14}, []int{report.Problems[0].Line, report.Problems[0].Column})
}
