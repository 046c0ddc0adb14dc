package bench

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper/actions"
	"github.com/gatekeeper-engine/gatekeeper/actions/haproxy"
	"github.com/gatekeeper-engine/gatekeeper/internal/servertest"
)

const switches = 100

const switchFile = `
service: %s
window: 30m
groups:
  - name: g
    rules:
      - alert: R
        expr: errors{version="${version}"} > 1
rollback:
  - action: haproxy/switch
    connection: edge
    with: {backend: shop-0}
`

// BenchmarkHAProxyDecisionToTarget tells the time from a decision to the servers seen switched: by
// the engine (the decision is durable at the start, intent, result and arrival on the way), by its
// action alone, and by hand with socat on HAProxy's socket, once to switch and once to look.
func BenchmarkHAProxyDecisionToTarget(b *testing.B) {
	servertest.Need(b, "haproxy")
	socat := servertest.Need(b, "socat")
	good := httptest.NewServer(startShop(b, 0).serve(0))
	b.Cleanup(good.Close)
	address := []string{good.Listener.Addr().String()}
	h := startBalancer(b, address, address)
	settings, err := json.Marshal(map[string]any{"socket": h.socket})
	require.NoError(b, err)
	edge := actions.Connection{Name: "edge", Kind: haproxy.Kind, Settings: settings}
	e := runEngine(b, well{}, map[string]actions.Connection{"edge": edge}, haproxy.Specs()...)
	action := openAction(b, edge, "haproxy/switch", `{"backend":"shop-0"}`, haproxy.Specs()...)

	ways := []func(i int) time.Duration{
		func(i int) time.Duration { // the engine
			r, err := e.Open(b.Context(), openFile(fmt.Sprintf(switchFile, fmt.Sprintf("service-%d", i))))
			require.NoError(b, err)
			h.order(b, toNew("shop-0"))
			return decisionToTarget(b, e, r.ID)
		},
		func(int) time.Duration { // the action
			pinned, err := action.Prepare(b.Context())
			require.NoError(b, err)
			h.order(b, toNew("shop-0"))
			return applied(b, action, pinned, 0)
		},
		func(int) time.Duration { // by hand
			h.order(b, toNew("shop-0"))
			start := time.Now()
			require.Empty(b, h.socat(b, socat, toOld("shop-0")))
			require.Contains(b, h.socat(b, socat, "get weight shop-0/new"), "0 (")
			return time.Since(start)
		},
	}
	times := make([]spread, len(ways))
	for batch := 0; b.Loop(); batch++ {
		for i := range switches {
			for w, way := range ways {
				times[w] = append(times[w], way(batch*switches+i))
			}
		}
	}
	for w, name := range []string{"engine", "action", "socat"} {
		report(b, times[w].median(), name+"-p50")
		report(b, times[w].at(0.99), name+"-p99")
	}
	ratio(b, times[0], times[2], "engine/socat")
	ratio(b, times[1], times[2], "action/socat")
}

// socat runs commands of the runtime API with socat, as people do.
func (h *balancer) socat(b *testing.B, socat, commands string) string {
	cmd := exec.Command(socat, "-", "UNIX-CONNECT:"+h.socket)
	cmd.Stdin = strings.NewReader(commands + "\n")
	said, err := cmd.Output()
	require.NoError(b, err)
	return strings.TrimSpace(string(said))
}
