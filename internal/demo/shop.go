package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/gatekeeper-engine/gatekeeper/internal/flags"
)

// leak is how many requests the bad version answers until worst of them fail.
const (
	leak  = 400
	worst = 0.6
)

// Flags evaluates feature flags.
type Flags interface {
	Evaluate(key string, c flags.Context) flags.Evaluation
}

// Shop is an HTTP service in three versions. A flag decides for each request which version
// answers it. It listens on a free port of this machine.
type Shop struct {
	listener net.Listener
	registry *prometheus.Registry
	requests *prometheus.CounterVec

	mu     sync.Mutex
	served map[string]float64 // requests by version
	due    map[string]float64 // failures by version, fractions included
}

// OpenShop begins to listen; nothing is answered until [Shop.Serve].
func OpenShop() (*Shop, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("the shop can't listen: %w", err)
	}
	s := &Shop{
		listener: l,
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "http_requests_total", Help: "Requests by version and status.",
			ConstLabels: prometheus.Labels{"service": "shop"},
		}, []string{"version", "status"}),
		served: map[string]float64{}, due: map[string]float64{},
	}
	s.registry.MustRegister(s.requests)
	for _, version := range []string{first, good, worse} {
		for _, status := range []int{http.StatusOK, http.StatusInternalServerError} {
			s.requests.WithLabelValues(version, strconv.Itoa(status)) // a rate needs the zero before the first
		}
	}
	return s, nil
}

// Addr gives the shop's host:port.
func (s *Shop) Addr() string { return s.listener.Addr().String() }

// Close stops listening. It is for a shop that is never served.
func (s *Shop) Close() error { return s.listener.Close() }

// Serve answers requests until ctx ends.
func (s *Shop) Serve(ctx context.Context, f Flags) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("POST /checkout", func(w http.ResponseWriter, r *http.Request) { s.checkout(w, r, f) })
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() }) // cuts off what nobody waits for any more
	defer stop()
	if err := srv.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("the shop gave up: %w", err)
	}
	return nil
}

// checkout answers by the version that the flag gives the customer.
func (s *Shop) checkout(w http.ResponseWriter, r *http.Request, f Flags) {
	version, ok := f.Evaluate(flagKey, flags.Context{TargetingKey: r.Header.Get("Customer")}).Value.(string)
	if !ok {
		version = first // no such flag yet
	}
	status := http.StatusOK
	if s.fails(version) {
		status = http.StatusInternalServerError
	}
	s.requests.WithLabelValues(version, strconv.Itoa(status)).Inc()
	w.Header().Set("Version", version)
	w.WriteHeader(status)
}

// fails says whether this request fails. The share of the bad version's failures grows with every
// request that it has answered; they are spread evenly, without chance.
func (s *Shop) fails(version string) bool {
	if version != worse {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.served[version]++
	s.due[version] += min(worst, worst*s.served[version]/leak)
	if s.due[version] < 1 {
		return false
	}
	s.due[version]--
	return true
}
