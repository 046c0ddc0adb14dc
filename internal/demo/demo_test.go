package demo

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gatekeeper-engine/gatekeeper/internal/flags"
	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/lint"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestHealthFileIsGood(t *testing.T) {
	report, err := lint.Check(t.Context(), rules.Bundle{Name: "health.yml", File: health}, lint.Options{})
	require.NoError(t, err)
	require.Empty(t, report.Problems)
	require.Len(t, report.File.Rules, 1)
	require.True(t, report.File.Rules[0].VersionBound)
}

// everybody gives all customers one value.
type everybody struct{ value any }

func (e everybody) Evaluate(key string, c flags.Context) flags.Evaluation {
	if key != flagKey || c.TargetingKey == "" {
		return flags.Evaluation{Error: flags.ErrorNotFound}
	}
	return flags.Evaluation{Value: e.value}
}

// open serves a shop until the test ends.
func open(t *testing.T, f Flags) *Shop {
	t.Helper()
	shop, err := OpenShop()
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- shop.Serve(ctx, f) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-done)
		http.DefaultClient.CloseIdleConnections()
	})
	return shop
}

func checkout(t *testing.T, shop *Shop) (version string, status int) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+shop.Addr()+"/checkout", http.NoBody)
	require.NoError(t, err)
	req.Header.Set("Customer", "anna")
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	return res.Header.Get("Version"), res.StatusCode
}

func metrics(t *testing.T, shop *Shop) string {
	t.Helper()
	res, err := http.Get("http://" + shop.Addr() + "/metrics")
	require.NoError(t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return string(text)
}

func TestShopGoodVersionNeverFails(t *testing.T) {
	shop := open(t, everybody{good})
	require.Contains(t, metrics(t, shop), `http_requests_total{service="shop",status="500",version="v3"} 0`)
	for range 50 {
		version, status := checkout(t, shop)
		require.Equal(t, good, version)
		require.Equal(t, http.StatusOK, status)
	}
	require.Contains(t, metrics(t, shop), `http_requests_total{service="shop",status="200",version="v2"} 50`)
}

func TestShopWithoutAFlagServesTheFirstVersion(t *testing.T) {
	version, _ := checkout(t, open(t, everybody{nil}))
	require.Equal(t, first, version)
}

func TestShopBadVersionFailsMoreAndMore(t *testing.T) {
	shop := open(t, everybody{worse})
	var failed []int
	for range 3 {
		n := 0
		for range leak {
			if _, status := checkout(t, shop); status != http.StatusOK {
				n++
			}
		}
		failed = append(failed, n)
	}
	require.InDelta(t, worst/2*leak, failed[0], 2, "it rises")
	require.InDelta(t, worst*leak, failed[1], 2, "and stays")
	require.InDelta(t, worst*leak, failed[2], 2)
	require.Contains(t, metrics(t, shop), fmt.Sprintf(`http_requests_total{service="shop",status="500",version="v3"} %d`, failed[0]+failed[1]+failed[2]))
}

func TestTrafficCountsWhatCustomersSee(t *testing.T) {
	shop := open(t, everybody{worse})
	traffic := NewTraffic(shop.Addr())
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	begin := time.Now()
	go func() { defer close(done); traffic.Run(ctx) }()
	require.Eventually(t, func() bool { return traffic.Seen(worse).Failed > 0 }, 30*time.Second, 10*time.Millisecond)
	stop()
	<-done
	taken, seen := traffic.Take()[worse], traffic.Seen(worse)
	require.Equal(t, seen, taken)
	require.Empty(t, traffic.Take(), "taken already")
	require.Greater(t, seen.Requests, seen.Failed)
	require.True(t, seen.FirstFailed.After(begin))
	require.True(t, seen.LastAsked.After(begin))
}

func TestTrafficCountsAShopThatIsAway(t *testing.T) {
	shop, err := OpenShop()
	require.NoError(t, err)
	require.NoError(t, shop.Close())
	traffic := NewTraffic(shop.Addr())
	traffic.buy(t.Context(), "anna")
	require.Equal(t, 1, traffic.Seen("no answer").Failed)
}

func TestScreenTraffic(t *testing.T) {
	var out bytes.Buffer
	s := newScreen(&out, false)
	at := func(seconds int, seen map[string]Count) {
		s.traffic(time.Duration(seconds)*time.Second, worse, seen)
	}
	at(1, map[string]Count{good: {Requests: 40}})
	at(2, map[string]Count{good: {Requests: 41}}) // says the same
	at(3, map[string]Count{good: {Requests: 20}, worse: {Requests: 20, Failed: 5}})
	at(4, map[string]Count{good: {Requests: 20}, worse: {Requests: 20, Failed: 20}})
	at(5, map[string]Count{good: {Requests: 40}})
	at(10, map[string]Count{good: {Requests: 40}})
	require.Equal(t, `    0:01  traffic        v3 ░░░░░░░░░░░░░░░░░░░░ no requests · v2 0% of 40
    0:03  traffic        v3 █████░░░░░░░░░░░░░░░  25% of 20 requests failed · v2 0% of 20
    0:04  traffic        v3 ████████████████████ 100% of 20 requests failed · v2 0% of 20
    0:05  traffic        v3 ░░░░░░░░░░░░░░░░░░░░ no requests · v2 0% of 40
    0:10  traffic        v3 ░░░░░░░░░░░░░░░░░░░░ no requests · v2 0% of 40
`, out.String())

	out.Reset()
	newScreen(&out, true).traffic(0, worse, map[string]Count{worse: {Requests: 2, Failed: 1}})
	require.Contains(t, out.String(), "\x1b[31m")
}
