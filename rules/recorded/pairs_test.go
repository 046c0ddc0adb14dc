package recorded_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// pair are two files that mean the same: one names parts of its rule, the other one writes them out.
type pair struct {
	floor, record, named, whole string
	floorWhole                  string
	never                       bool // the named one asks for labels that are not there
}

const (
	bothRates = `{record: all, expr: 'sum by (version) (rate(req_total{service="${service}"}[1m]))'}
  - {record: bad, expr: 'sum by (version) (rate(req_total{service="${service}",code=~"5.."}[1m]))'}
  - {record: good, expr: 'sum by (version) (rate(req_total{service="${service}",code="200"}[1m]))'}`
	wholeAll  = `sum by (version) (rate(req_total{service="shop",version="${version}"}[1m]))`
	wholeBad  = `sum by (version) (rate(req_total{service="shop",code=~"5..",version="${version}"}[1m]))`
	wholeGood = `sum by (version) (rate(req_total{service="shop",code="200",version="${version}"}[1m]))`
	buckets   = `{record: buckets, expr: 'sum by (version, le) (rate(lat_bucket{service="${service}"}[1m]))'}`
)

var pairs = []pair{
	{record: bothRates, named: `bad{version="${version}"} / all{version="${version}"} > 0.3`, whole: wholeBad + ` / ` + wholeAll + ` > 0.3`},
	{record: bothRates, named: `good{version="${version}"} / all{version="${version}"} < 0.6`, whole: wholeGood + ` / ` + wholeAll + ` < 0.6`},
	{record: bothRates, named: `1 - good{version="${version}"} / all{version="${version}"} > 0.4`, whole: `1 - ` + wholeGood + ` / ` + wholeAll + ` > 0.4`},
	{record: bothRates, named: `(all{version="${version}"} - good{version="${version}"}) / all{version="${version}"} > 0.4`, whole: `(` + wholeAll + ` - ` + wholeGood + `) / ` + wholeAll + ` > 0.4`},
	{record: bothRates + "\n  - {record: ratio, expr: bad / all}", named: `ratio{version="${version}"} > 0.3`, whole: wholeBad + ` / ` + wholeAll + ` > 0.3`},
	{record: bothRates + "\n  - {record: ratio, expr: good / all}", named: `ratio{version="${version}"} < 0.6`, whole: wholeGood + ` / ` + wholeAll + ` < 0.6`},
	{record: bothRates + "\n  - {record: ratio, expr: (all - good) / all}", named: `ratio{version="${version}"} > 0.6`, whole: `(` + wholeAll + ` - ` + wholeGood + `) / ` + wholeAll + ` > 0.6`},
	{record: bothRates + "\n  - {record: ratio, expr: 1 - good / all}", named: `ratio{version="${version}"} > 0.6`, whole: `1 - ` + wholeGood + ` / ` + wholeAll + ` > 0.6`},
	{record: bothRates + "\n  - {record: high, expr: bad / all > 0.3}", named: `high{version="${version}"}`, whole: wholeBad + ` / ` + wholeAll + ` > 0.3`},
	{record: bothRates + "\n  - {record: high, expr: bad / all > 0.3}", named: `high{version="${version}"} > 0`, whole: wholeBad + ` / ` + wholeAll + ` > 0.3`},
	{record: bothRates + "\n  - {record: high, expr: good / all < 0.7}", named: `high{version="${version}"}`, whole: wholeGood + ` / ` + wholeAll + ` < 0.7`},
	{record: bothRates + `
  - {record: high, expr: 'bad{version="${version}"} / all{version="${version}"} > bool 0.3'}`, named: `high == 1`, whole: `(` + wholeBad + ` / ` + wholeAll + ` > bool 0.3) == 1`},
	{record: bothRates, floor: `sum(all{version="${version}"}) > 0.5`, floorWhole: `sum(` + wholeAll + `) > 0.5`, named: `bad{version="${version}"} > 0.3`, whole: wholeBad + ` > 0.3`},
	{record: bothRates, named: `bad{version="${version}"} > 0.3 and on () all{version="${version}"} > 1`, whole: wholeBad + ` > 0.3 and on () ` + wholeAll + ` > 1`},
	{record: bothRates, named: `bad{version="${version}"} > 0.3 unless on () all{version="${version}"} < 1`, whole: wholeBad + ` > 0.3 unless on () ` + wholeAll + ` < 1`},
	{record: bothRates + "\n  - {record: some, expr: bad or all * 0}", named: `some{version="${version}"} > 0.3`, whole: `(` + wholeBad + ` or ` + wholeAll + ` * 0) > 0.3`},
	{record: `{record: all, expr: 'sum without (version, pod, code) (rate(req_total{version="${version}"}[1m]))'}`, named: `sum(all{service="shop"}) > 1`, whole: `sum(sum without (version, pod, code) (rate(req_total{version="${version}",service="shop"}[1m]))) > 1`},
	{record: `{record: all, expr: 'sum by (service) (rate(req_total[1m]))'}`, named: `all{service="${service}"} > 3`, whole: `sum by (service) (rate(req_total{service="${service}"}[1m])) > 3`},
	{record: `{record: all, expr: 'label_replace(sum by (version) (rate(req_total{version="${version}"}[1m])), "v", "$1", "version", "(.*)")', labels: {team: shop}}`, named: `all{team="shop"} > 2`, whole: `label_replace(sum by (version) (rate(req_total{version="${version}"}[1m])), "v", "$1", "version", "(.*)") > 2`},
	{record: `{record: all, expr: 'sum by (service) (rate(req_total{version="${version}"}[1m]))', labels: {version: any}}`, named: `all{version="any"} > 2`, whole: `sum by (service) (rate(req_total{version="${version}"}[1m])) > 2`},
	{record: buckets, named: `histogram_quantile(0.9, buckets{version="${version}"}) > 0.5`, whole: `histogram_quantile(0.9, sum by (version, le) (rate(lat_bucket{service="shop",version="${version}"}[1m]))) > 0.5`},
	{record: buckets + "\n  - {record: p90, expr: 'histogram_quantile(0.9, buckets)'}", named: `p90{version="${version}"} > 0.5`, whole: `histogram_quantile(0.9, sum by (version, le) (rate(lat_bucket{service="shop",version="${version}"}[1m]))) > 0.5`},
	{record: bothRates, named: `avg_over_time(bad{version="${version}"}[2m]) > 0.3`, whole: `avg_over_time((` + wholeBad + `)[2m:15s]) > 0.3`},
	{record: bothRates + "\n  - {record: ratio, expr: bad / all}", named: `avg_over_time(ratio{version="${version}"}[2m]) > 0.3`, whole: `avg_over_time((` + wholeBad + ` / ` + wholeAll + `)[2m:15s]) > 0.3`},
	{record: bothRates, named: `max_over_time(bad{version="${version}"}[2m:30s] offset 1m) > 1`, whole: `max_over_time((` + wholeBad + `)[2m:30s] offset 1m) > 1`},
	{record: bothRates, named: `bad{version="${version}"} offset 1m > 0.3`, whole: `sum by (version) (rate(req_total{service="shop",code=~"5..",version="${version}"}[1m] offset 1m)) > 0.3`},
	{record: bothRates, named: `absent(all{version="${version}"})`, whole: `absent(` + wholeAll + `)`},
	{record: bothRates, named: `bad{version="${version}"} > on () 2 * bad{version="${previous_version}"}`, whole: wholeBad + ` > on () 2 * sum by (version) (rate(req_total{service="shop",code=~"5..",version="${previous_version}"}[1m]))`},
	{record: `{record: limit, expr: 'vector(0.3)'}`, named: wholeBad + ` > on () group_left limit`, whole: wholeBad + ` > on () group_left vector(0.3)`},
	{record: `{record: up:shop, expr: 'up0{service="${service}"}'}`, named: `up:shop{version="${version}"} < 1`, whole: `up0{service="shop",version="${version}"} < 1`},
	{record: `{record: up:shop, expr: 'up0{service="${service}"}'}`, named: `absent(up:shop{version="${version}"} == 1)`, whole: `absent(up0{service="shop",version="${version}"} == 1)`},
	{record: `{record: stamped, expr: 'sum by (service) (up0)', labels: {version: other}}`, named: `stamped{version="${version}"} < 1`, whole: `nothing{version="${version}"} < 1`, never: true},
	{record: bothRates + "\n  - {record: everybody, expr: sum(all)}", named: `everybody{version="${version}"} < 1`, whole: `nothing{version="${version}"} < 1`, never: true},
	{record: bothRates + "\n  - {record: ofAll, expr: all, labels: {service: shop}}", named: `ofAll{version="${version}",service="${service}"} < 1`, whole: wholeAll + ` < 1`},
}

func (p pair) files(t *testing.T, version string) (named, whole *rules.Bound) {
	const head = "groups:\n- name: g\n  interval: 15s\n  rules:\n"
	load := func(floor, record, expr string) *rules.Bound {
		text := head + record + fmt.Sprintf("  - {alert: A, expr: '%s'}\n", expr)
		if floor != "" {
			text = "min_traffic: '" + floor + "'\n" + text
		}
		f, err := rules.Load(rules.Bundle{Name: "h.yml", File: text})
		require.NoError(t, err, text)
		b, err := f.Bind(rules.Vars{Service: "shop", Version: version, PreviousVersion: "v1"})
		require.NoError(t, err)
		return b
	}
	return load(p.floor, "  - "+p.record+"\n", p.named), load(p.floorWhole, "", p.whole)
}

// recordingBackend answers as the embedded backend does.
type recordingBackend struct {
	w   world
	all []rules.Recording
}

func (b recordingBackend) WithRecordings(all []rules.Recording) (rules.Querier, error) {
	b.all = all
	return b, nil
}

func (b recordingBackend) Query(ctx context.Context, expr string, at time.Time) (out rules.Vector, err error) {
	v, err := rules.EngineQuery(b.w.engine, b.w.source.Over(b.all, at))(ctx, expr, at)
	for _, s := range v {
		out.Samples = append(out.Samples, gatekeeper.Sample{Labels: s.Metric.Map(), Value: gatekeeper.Float(s.F)})
	}
	return out, err
}

func (b recordingBackend) QueryRange(ctx context.Context, expr string, from, to time.Time, step time.Duration) (out rules.Matrix, err error) {
	q, err := b.w.engine.NewRangeQuery(ctx, b.w.source.Over(b.all, from), nil, expr, from, to, step)
	if err != nil {
		return out, err
	}
	defer q.Close()
	m, err := q.Exec(ctx).Matrix()
	for _, s := range m {
		one := rules.Series{Labels: s.Metric.Map()}
		for _, p := range s.Floats {
			one.Points = append(one.Points, rules.Point{At: time.UnixMilli(p.T).UTC(), Value: gatekeeper.Float(p.F)})
		}
		out.Series = append(out.Series, one)
	}
	return out, err
}

// TestTwoFilesThatMeanTheSame holds what is told of a rule over recorded names to what is told of the
// same rule without them.
func TestTwoFilesThatMeanTheSame(t *testing.T) {
	verdicts := map[gatekeeper.Verdict]int{}
	for seed := range uint64(3) {
		q := recordingBackend{w: load(t, pairSamples(rand.New(rand.NewPCG(seed, 7))))}
		for _, p := range pairs {
			for _, version := range []string{"v1", "v2"} {
				named, whole := p.files(t, version)
				if !p.never {
					require.Equal(t, whole.Rules[0].VersionBound, named.Rules[0].VersionBound, p.named)
				}
				var told []gatekeeper.Verdict
				for at := minute(2); at.Before(minute(20)); at = at.Add(30 * time.Second) {
					got, want := named.Rules[0].Judge(t.Context(), q, at), whole.Rules[0].Judge(t.Context(), q, at)
					require.Equal(t, want.Verdict, got.Verdict, "%s, seed %d, %s: %s, and %s", p.named, seed, at, got.Detail, want.Detail)
					told = append(told, got.Verdict)
					verdicts[got.Verdict]++
					if p.never {
						continue
					}
					seen, known, err := named.Traffic(t.Context(), q, at)
					require.NoError(t, err)
					wantSeen, wantKnown, err := whole.Traffic(t.Context(), q, at)
					require.NoError(t, err)
					require.Equal(t, []bool{wantSeen, wantKnown}, []bool{seen, known}, "%s, seed %d, %s", p.named, seed, at)
					newest, err := named.Rules[0].Newest(t.Context(), q, at)
					require.NoError(t, err)
					wantNewest, err := whole.Rules[0].Newest(t.Context(), q, at)
					require.NoError(t, err)
					require.Equal(t, wantNewest, newest, p.named)
				}
				for i, r := range named.Rules[0].JudgeRange(t.Context(), q, minute(2), minute(19.5), 30*time.Second) {
					require.Equal(t, told[i], r.Verdict, "%s, seed %d, asked by range for %s: %s", p.named, seed, r.At, r.Detail)
				}
			}
		}
	}
	for _, v := range []gatekeeper.Verdict{gatekeeper.Healthy, gatekeeper.Unhealthy, gatekeeper.NoData, gatekeeper.NoTraffic, gatekeeper.Lopsided} {
		require.Greater(t, verdicts[v], 20, "%s is compared too", v)
	}
}

// A rule over what a recording rule compares shows what that is, though nothing is recorded.
func TestEvidenceBehindARecordedComparison(t *testing.T) {
	q := recordingBackend{w: load(t, "load 15s\n  req_total{service=\"shop\",version=\"v1\",code=\"200\"} 0+90x80\n  req_total{service=\"shop\",version=\"v1\",code=\"500\"} 0+10x80\n")}
	named, _ := pair{record: bothRates + "\n  - {record: high, expr: bad / all > 0.3}", named: `high{version="${version}"}`, whole: "nothing"}.files(t, "v1")
	reading := named.Rules[0].Judge(t.Context(), q, minute(10))
	require.Equal(t, gatekeeper.Healthy, reading.Verdict)
	require.Equal(t, "> 0.3", reading.Limit)
	require.Len(t, reading.Operand, 1)
	require.InDelta(t, 0.1, float64(reading.Operand[0].Value), 0.001)
}

func pairSamples(r *rand.Rand) string {
	var b strings.Builder
	b.WriteString("load 15s\n")
	line := func(series string, rate int, counter bool) {
		if r.IntN(4) == 0 {
			return
		}
		b.WriteString("  " + series)
		for v, there, i := 0, r.IntN(3) > 0, 0; i < 85; i++ {
			switch {
			case r.IntN(20) == 0:
				there = !there
			case r.IntN(30) == 0:
				v = 0
			}
			if counter {
				if i/10%3 != 1 || rate > 20 && i/20%2 == 0 {
					v += r.IntN(rate)
				}
			} else {
				v = r.IntN(2)
			}
			switch {
			case there:
				fmt.Fprintf(&b, " %d", v)
			case r.IntN(2) == 0:
				b.WriteString(" stale")
			default:
				b.WriteString(" _")
			}
		}
		b.WriteString("\n")
	}
	for _, version := range []string{"v1", "v2"} {
		for _, code := range []string{"200", "404", "500"} {
			line(fmt.Sprintf(`req_total{service="shop",version=%q,code=%q,pod="p"}`, version, code), 30, true)
		}
		line(fmt.Sprintf(`up0{service="shop",version=%q}`, version), 1, false)
		for n, le := range []string{"0.1", "1", "+Inf"} {
			line(fmt.Sprintf(`lat_bucket{service="shop",version=%q,le=%q}`, version, le), 10*(n+1), true)
		}
	}
	return b.String()
}
