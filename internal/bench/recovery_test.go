package bench

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/api"
	"github.com/gatekeeper-engine/gatekeeper/internal/client"
	"github.com/gatekeeper-engine/gatekeeper/internal/servertest"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

const (
	shops  = 16
	visits = 12              // rounds; in each every shop releases once
	settle = 6 * time.Second // of good traffic before the fault: longer than the rules' range
)

// way is how a bad version is taken back in a round, and the rule's `for`.
type way struct {
	alerted bool // by Prometheus, Alertmanager and its webhook; else by Gatekeeper
	lasting time.Duration
}

// ways are taken in turn by each shop, so that all four run at any moment.
var ways = []way{{false, 0}, {true, 0}, {false, 2 * time.Second}, {true, 2 * time.Second}}

// spell is the bad time of one release, by its instants.
type spell struct {
	bad     time.Time // a customer's first bad answer
	scraped time.Time // a scrape saw it
	slot    time.Time // the slot of the rule in which it could be acted on, `for` included
	well    time.Time // the first good answer again
}

// found is what the spells of one way are made of.
type found struct {
	whole   spread // from bad to well
	scraped spread // from bad to the scrape
	slot    spread // from the scrape to the slot, without `for`
	acted   spread // from the slot to well
}

func (f *found) add(s spell, lasting time.Duration) {
	f.whole = append(f.whole, s.well.Sub(s.bad))
	f.scraped = append(f.scraped, s.scraped.Sub(s.bad))
	f.slot = append(f.slot, s.slot.Sub(s.scraped)-lasting)
	f.acted = append(f.acted, s.well.Sub(s.slot))
}

// BenchmarkFaultToRecovery tells how long customers meet a bad version behind a real HAProxy. The same
// rule, evaluated each second on 1 s scrapes of one Prometheus, rolls it back by Gatekeeper, which
// asks that Prometheus, or by Alertmanager (group_wait 0s) and a webhook that switches HAProxy itself.
func BenchmarkFaultToRecovery(b *testing.B) {
	s := startStage(b)
	results := map[way]*found{}
	for _, w := range ways {
		results[w] = &found{}
	}
	for b.Loop() {
		for round := range visits {
			s.round(round, results)
		}
	}
	for _, lasting := range []time.Duration{0, 2 * time.Second} {
		ours, theirs := results[way{false, lasting}], results[way{true, lasting}]
		tag := fmt.Sprintf("for%ds-", int(lasting.Seconds()))
		for name, f := range map[string]*found{"gatekeeper": ours, "alertmanager": theirs} {
			report(b, f.whole.median(), tag+name)
			report(b, f.scraped.median(), tag+name+"-scraped")
			report(b, f.slot.median(), tag+name+"-slot")
			report(b, f.acted.median(), tag+name+"-acted")
		}
		ratio(b, ours.whole, theirs.whole, tag+"ratio")
		ratio(b, ours.acted, theirs.acted, tag+"ratio-acted")
	}
	b.ReportMetric(float64(len(results[ways[0]].whole)), "releases-each")
}

// stage is what the shops stand on.
type stage struct {
	b          *testing.B
	shops      []*shop
	balancer   *balancer
	prometheus string // URL
	rules      string // Prometheus's rule file
	daemon     *client.Client

	mu    sync.Mutex
	fired map[string]time.Time // by version: the slot in which its alert began to fire
}

func startStage(b *testing.B) *stage {
	b.Helper()
	for _, name := range []string{"prometheus", "prometheus-alertmanager", "haproxy"} {
		servertest.Need(b, name)
	}
	s := &stage{b: b, fired: map[string]time.Time{}, rules: filepath.Join(b.TempDir(), "rules.yml")}
	var old, new, targets []string
	for i := range shops {
		one := startShop(b, i)
		s.shops = append(s.shops, one)
		old, new = append(old, one.old.Listener.Addr().String()), append(new, one.new.Listener.Addr().String())
	}
	for _, address := range append(append([]string{}, old...), new...) {
		targets = append(targets, fmt.Sprintf("%q", address))
	}
	s.balancer = startBalancer(b, old, new)
	webhook := httptest.NewServer(http.HandlerFunc(s.webhook))
	b.Cleanup(webhook.Close)
	alertmanager := servertest.Alertmanager(b, fmt.Sprintf(
		"route: {receiver: switch, group_by: ['...'], group_wait: 0s, group_interval: 1s}\nreceivers: [{name: switch, webhook_configs: [{url: %q}]}]\n", webhook.URL), "/")
	require.NoError(b, os.WriteFile(s.rules, []byte("groups: []\n"), 0o600))
	s.prometheus = servertest.Prometheus(b, fmt.Sprintf(`
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [%q]
alerting: {alertmanagers: [{static_configs: [{targets: [%q]}]}]}
scrape_configs: [{job_name: shop, static_configs: [{targets: [%s]}]}]
`, s.rules, strings.Trim(strings.TrimPrefix(alertmanager, "http://"), "/"), strings.Join(targets, ", ")), nil, "--web.enable-lifecycle")
	s.daemon = startDaemon(b, fmt.Sprintf(`
data_dir: %s
backends: {prometheus: {prometheus: {url: %q}}}
connections: {edge: {kind: haproxy, socket: %s}}
`, b.TempDir(), s.prometheus, s.balancer.socket))
	for i, one := range s.shops {
		one.visit(b, s.balancer.fronts[i])
	}
	return s
}

// expr is the rule's expression.
const expr = `sum(rate(http_requests_total{service=%q, version=%q, status=~"5.."}[5s])) / sum(rate(http_requests_total{service=%[1]q, version=%[2]q}[5s])) > 0.01`

// round has every shop release a version that goes bad. The rules' groups have names of their own
// in each round: their slots lie elsewhere against the scrapes each time.
func (s *stage) round(round int, results map[way]*found) {
	s.b.Helper()
	wayOf := func(i int) way { return ways[(i+round)%len(ways)] }
	var file strings.Builder
	file.WriteString("groups:\n")
	for i, one := range s.shops {
		one.release(fmt.Sprintf("v2-%d", round))
		if w := wayOf(i); w.alerted {
			fmt.Fprintf(&file, "  - {name: %q, interval: 1s, rules: [{alert: Errors, expr: '%s', for: %s, labels: {service: %q, version: %q}}]}\n",
				s.group(i, round), fmt.Sprintf(expr, one.name, one.version), w.lasting, one.name, one.version)
		}
	}
	require.NoError(s.b, os.WriteFile(s.rules, []byte(file.String()), 0o600))
	resp, err := http.Post(s.prometheus+"/-/reload", "", nil)
	require.NoError(s.b, err)
	require.NoError(s.b, resp.Body.Close())
	require.Equal(s.b, http.StatusOK, resp.StatusCode)
	var mu sync.Mutex
	var all sync.WaitGroup
	for i, one := range s.shops {
		w := wayOf(i)
		all.Go(func() {
			met, ok := s.release(one, w, s.group(i, round))
			mu.Lock()
			defer mu.Unlock()
			if ok {
				results[w].add(met, w.lasting)
			}
		})
	}
	all.Wait()
	require.False(s.b, s.b.Failed())
}

func (s *stage) group(i, round int) string { return fmt.Sprintf("shop-%d-%d", i, round) }

const polledFile = `
service: %s
window: 5m
groups:
  - name: %s
    interval: 1s
    rules:
      - alert: Errors
        expr: '%s'
        for: %s
rollback:
  - action: haproxy/switch
    connection: edge
    with: {backend: %[1]s}
    recover_within: 5s
`

// release takes one version from open to recovery.
func (s *stage) release(one *shop, w way, group string) (met spell, ok bool) {
	id := ""
	if !w.alerted {
		if id, ok = s.open(one, w, group); !ok {
			return met, false
		}
	}
	if _, err := s.balancer.ask(toNew(one.name)); err != nil {
		s.b.Error(err)
		return met, false
	}
	if id != "" {
		if _, err := s.daemon.Ask(s.b.Context(), id, "deployed", api.ByBody{}); err != nil {
			s.b.Errorf("deployed: %v", err)
			return met, false
		}
	}
	time.Sleep(settle + rand.N(time.Second))
	one.spoil()
	over := false
	for limit := time.Now().Add(20 * time.Second); !over; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(limit) {
			s.b.Errorf("%s was not taken back: %+v", group, w)
			return met, false
		}
		met, over = one.met()
	}
	if met.slot, ok = s.acted(one, w, id); !ok {
		s.b.Errorf("%s: nobody knows who took it back", group)
	}
	return met, ok
}

// open opens Gatekeeper's release of a shop, once the one before is closed.
func (s *stage) open(one *shop, w way, group string) (id string, ok bool) {
	if one.verifying != "" {
		s.closed(one.verifying)
	}
	file := fmt.Sprintf(polledFile, one.name, group, fmt.Sprintf(expr, "${service}", "${version}"), w.lasting)
	r, err := s.daemon.Open(s.b.Context(), api.OpenBody{Version: one.version, PreviousVersion: "v1", Bundle: &rules.Bundle{Name: "health.yml", File: file}})
	if err != nil {
		s.b.Errorf("open: %v", err)
		return "", false
	}
	one.verifying = r.ID
	return r.ID, true
}

// acted gives the slot in which it was decided to take a version back.
func (s *stage) acted(one *shop, w way, id string) (slot time.Time, ok bool) {
	if w.alerted {
		s.mu.Lock()
		defer s.mu.Unlock()
		slot, ok = s.fired[one.name+one.version]
		return slot, ok
	}
	r, err := s.daemon.Release(s.b.Context(), id)
	if err != nil || r.Decision == nil {
		return slot, false
	}
	return r.Decision.Breaches[0].Since.Add(w.lasting), true
}

// closed waits until the rollback was verified, so that the shop may release again.
func (s *stage) closed(id string) {
	for limit := time.Now().Add(30 * time.Second); time.Now().Before(limit); time.Sleep(100 * time.Millisecond) {
		r, err := s.daemon.Release(s.b.Context(), id)
		if err == nil && r.Closed() {
			if r.Outcome != gatekeeper.OutcomeRolledBack {
				s.b.Errorf("release %s closed %s", id, r.Outcome)
			}
			return
		}
	}
	s.b.Errorf("release %s does not close", id)
}
