package e2e

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// target is a shop with the deployment system that rolls it back, which counts what it is asked
// to do and what it does. A request that it took is carried out a little later, also when the
// sender is gone by then.
type target struct {
	address string        // host:port
	dedupes bool          // it drops a request whose key it has seen
	takes   time.Duration // from a request to its effect
	asked   chan struct{} // closed at the first request to roll back
	changed chan struct{} // closed at the first effect

	mu       sync.Mutex
	live     string         // the version that serves
	requests map[string]int // to roll back, by Idempotency-Key
	effects  int
	answered *prometheus.CounterVec
}

// startTarget serves v1 until the test ends.
func startTarget(t *testing.T, dedupes bool, takes time.Duration) *target {
	t.Helper()
	g := &target{
		live: "v1", dedupes: dedupes, takes: takes, requests: map[string]int{}, asked: make(chan struct{}), changed: make(chan struct{}),
		answered: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "http_requests_total", Help: "Requests answered."},
			[]string{"service", "version", "status"}),
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(g.answered)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /live", g.tell)
	mux.HandleFunc("POST /rollback", g.rollBack)
	s := httptest.NewServer(mux)
	g.address = s.Listener.Addr().String()
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { g.serve(done) })
	t.Cleanup(func() {
		close(done)
		wg.Wait()
		s.Close()
	})
	return g
}

// serve counts what customers would get: of v2 every second request fails.
func (g *target) serve(done <-chan struct{}) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		g.mu.Lock()
		status := http.StatusOK
		if g.live == "v2" && n%2 == 0 {
			status = http.StatusInternalServerError
		}
		g.answered.WithLabelValues("shop", g.live, strconv.Itoa(status)).Inc()
		g.mu.Unlock()
	}
}

// deploy makes a version serve, as a pipeline does.
func (g *target) deploy(version string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.live = version
}

func (g *target) tell(w http.ResponseWriter, _ *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	_ = json.NewEncoder(w).Encode(map[string]string{"version": g.live}) // a reader that is gone asks again
}

func (g *target) rollBack(w http.ResponseWriter, r *http.Request) {
	var body struct{ To string }
	key := r.Header.Get("Idempotency-Key")
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body.To == "" || key == "" {
		http.Error(w, "want a key and a version", http.StatusBadRequest)
		return
	}
	g.mu.Lock()
	first := len(g.requests) == 0
	g.requests[key]++
	again := g.requests[key] > 1
	g.mu.Unlock()
	if first {
		close(g.asked)
	}
	if g.dedupes && again {
		return
	}
	time.Sleep(g.takes) // a deployment is not done at once
	g.mu.Lock()
	defer g.mu.Unlock()
	g.live = body.To
	if g.effects++; g.effects == 1 {
		close(g.changed)
	}
}

// counts gives the distinct keys, the effects and the version that serves.
func (g *target) counts() (keys, effects int, live string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.requests), g.effects, g.live
}
