package rules

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

// BenchmarkJudge tells what a verdict costs beside its queries, which are answered at once here:
// evidence, identities and the rendered summary of an unhealthy rule among it.
func BenchmarkJudge(b *testing.B) {
	file, err := Load(Bundle{Name: "health.yml", File: `
service: shop
groups:
  - name: g
    rules:
      - alert: Errors
        expr: ` + errorRatio + `
        for: 2m
        annotations: {summary: "{{ $value | humanizePercentage }} of the requests to {{ $labels.pod }} fail"}
`})
	require.NoError(b, err)
	of, err := file.Bind(Vars{Service: "shop", Version: "v2"})
	require.NoError(b, err)
	for verdict, value := range map[gatekeeper.Verdict]gatekeeper.Float{gatekeeper.Healthy: 0.001, gatekeeper.Unhealthy: 0.5} {
		b.Run(string(verdict), func(b *testing.B) {
			answer := Vector{Samples: []gatekeeper.Sample{{Labels: map[string]string{"pod": "a", "zone": "b"}, Value: value}}}
			q := scripted(func(context.Context, string) (Vector, error) { return answer, nil })
			b.ReportAllocs()
			for b.Loop() {
				if r := of.Rules[0].Judge(b.Context(), q, time.Unix(0, 0)); r.Verdict != verdict {
					b.Fatalf("%s: %s", r.Verdict, r.Detail)
				}
			}
		})
	}
}
