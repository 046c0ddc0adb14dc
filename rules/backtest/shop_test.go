package backtest_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper/internal/httpclient"
	"github.com/gatekeeper-engine/gatekeeper/internal/prometheus"
	"github.com/gatekeeper-engine/gatekeeper/internal/servertest"
	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/backtest"
)

// epoch is when the shop's history begins; apart is how far its releases lie apart.
var epoch = time.Date(2026, 1, 10, 0, 0, 0, 0, time.UTC)

const (
	apart  = 2 * time.Hour
	scrape = 15 * time.Second
	mnt    = time.Minute
	sec    = time.Second
)

// span is a time since a release's deploy; it is open at its end.
type span struct{ from, to time.Duration }

func (s span) holds(at time.Duration) bool { return at >= s.from && at < s.to }

// tale is what the metrics of one release do after its deploy.
type tale struct {
	name     string
	deployed time.Duration // after the even hour
	bad      []span        // errors of ratio
	ratio    float64
	holes    []span // nothing is scraped
	idle     []span // no requests come
	absent   bool   // it was never scraped
	outcome  backtest.Outcome
	since    time.Duration // bad since then
}

// errors gives the share of requests that fail at a time after the deploy.
func (s tale) errors(at time.Duration) float64 {
	for _, b := range s.bad {
		if b.holds(at) {
			return s.ratio
		}
	}
	return 0.002
}

func in(spans []span, at time.Duration) bool {
	for _, s := range spans {
		if s.holds(at) {
			return true
		}
	}
	return false
}

// history gives the tales' metrics as OpenMetrics text, one version after the other, and their releases.
func history(tales []tale, window time.Duration) (string, []backtest.Release) {
	var text strings.Builder
	text.WriteString("# TYPE http_requests counter\n")
	for at := -time.Hour; at < apart; at += scrape { // the version before the first
		fmt.Fprintf(&text, "http_requests_total{service=\"shop\",version=\"v0\",status=\"200\"} %v %d\n", at.Seconds()+3600, epoch.Add(at).Unix())
	}
	var list []backtest.Release
	for i, s := range tales {
		version := fmt.Sprintf("v%d", i+1)
		start := epoch.Add(time.Duration(i)*apart + s.deployed)
		r := backtest.Release{
			Service: "shop", Environment: "production", Version: version, PreviousVersion: fmt.Sprintf("v%d", i), Deployed: start,
			Opened: start.Truncate(30 * sec).Add(-mnt), Outcome: s.outcome,
		}
		if s.since > 0 {
			r.BadSince = start.Add(s.since)
		}
		list = append(list, r)
		if s.absent {
			continue
		}
		for _, status := range []string{"200", "500"} {
			total := 1000.0
			for at := -5 * sec; at < window; at += scrape {
				rate := 20.0
				if in(s.idle, at) {
					rate = 0
				}
				share := s.errors(at)
				if status == "200" {
					share = 1 - share
				}
				total += rate * share * scrape.Seconds()
				if in(s.holes, at) {
					continue
				}
				fmt.Fprintf(&text, "http_requests_total{service=\"shop\",version=%q,status=%q} %v %.3f\n", version, status, total, float64(start.Add(at).UnixMilli())/1000)
			}
		}
	}
	text.WriteString("# EOF\n")
	return text.String(), list
}

// tales makes up releases of every kind.
func tales(r *rand.Rand, n int) []tale {
	var all []tale
	upTo := func(d time.Duration) time.Duration { return time.Duration(r.Int64N(int64(d/sec))) * sec }
	for i := range n {
		s := tale{deployed: 10*mnt + upTo(5*mnt), ratio: 0.02 + 0.08*r.Float64(), outcome: backtest.Good}
		from := mnt + upTo(20*mnt)
		switch i % 8 {
		case 0:
			s.name = "good"
		case 1:
			s.name, s.bad, s.outcome, s.since = "bad", []span{{from, apart}}, backtest.Bad, from
		case 2:
			s.name, s.bad = "a blip", []span{{from, from + 20*sec + upTo(70*sec)}}
		case 3:
			s.name, s.bad, s.holes, s.outcome, s.since = "bad around a hole", []span{{from, apart}}, []span{{from + mnt, from + 3*mnt + upTo(2*mnt)}}, backtest.Bad, from
		case 4:
			s.name, s.idle, s.outcome = "traffic stops", []span{{from, apart}}, backtest.Unknown
		case 5:
			s.name, s.holes = "a hole", []span{{from, from + mnt + upTo(7*mnt)}}
		case 6:
			s.name, s.bad, s.outcome, s.since = "bad at the end", []span{{28*mnt + upTo(110*sec), apart}}, backtest.Bad, 28*mnt
		case 7:
			s.name, s.bad, s.outcome, s.since = "bad at once", []span{{0, apart}}, backtest.Bad, sec
		}
		all = append(all, s)
	}
	return all
}

const health = `
service: shop
environment: production
window: 30m
groups:
- name: fast
  interval: 15s
  rules:
  - alert: HighErrorRate
    expr: |
      sum(rate(http_requests_total{version="${version}", status=~"5.."}[1m]))
        / sum(rate(http_requests_total{version="${version}"}[1m])) > 0.01
    for: 100s
    labels: {do: rollback}
  - alert: Errors
    expr: |
      sum by (status) (rate(http_requests_total{version="${version}", status=~"5.."}[1m])) > 0.5
        and on () sum(rate(http_requests_total{version="${version}"}[1m])) > 5
    for: 4m
    labels: {do: hold}
- name: slow
  interval: 30s
  rules:
  - alert: AnyErrors
    expr: sum(rate(http_requests_total{service="${service}", status="500"}[2m])) > 1
    for: 45s
    labels: {do: notify}
respond:
- {matchers: ['do="rollback"'], do: rollback, veto: 20s}
- {matchers: ['do="hold"'], do: hold}
- {do: notify}
rollback:
- {action: flag/set, connection: flags, with: {flag: f, enabled: false}}
`

func load(t testing.TB, text string) *rules.File {
	t.Helper()
	file, err := rules.Load(rules.Bundle{Name: "shop.yml", File: text})
	require.NoError(t, err)
	return file
}

// backend runs Prometheus on a history.
func backend(t testing.TB, samples string) *prometheus.Querier {
	t.Helper()
	q, err := prometheus.New(prometheus.Config{Config: httpclient.Config{URL: servertest.Backfilled(t, samples)}, Timeout: model.Duration(2 * mnt)})
	require.NoError(t, err)
	t.Cleanup(func() { _ = q.Close() })
	return q
}

// still lays every slot at a full interval and some seconds.
func still(phase time.Duration) func(string, string, string, time.Duration) time.Duration {
	return func(string, string, string, time.Duration) time.Duration { return phase }
}

func replaceAll(text, old, with string) string { return strings.ReplaceAll(text, old, with) }
