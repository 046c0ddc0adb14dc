// Command shop is a small service to try Gatekeeper on: it answers requests as one of two
// versions, counts them for Prometheus, and sends itself traffic.
//
// Without -version a feature flag decides for each request which version answers: v2 where the
// flag is on, else v1. It is read by OpenFeature's remote evaluation protocol. v2 fails the share
// of its requests that -broken names.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

func main() {
	s := shop{client: &http.Client{Timeout: time.Second}}
	listen := flag.String("listen", "127.0.0.1:8080", "address to serve; empty: only send traffic")
	flag.StringVar(&s.version, "version", "", "always answer as this version; empty: the flag decides")
	flag.StringVar(&s.flags, "flags", "http://127.0.0.1:9095/ofrep/v1/evaluate/flags/new-checkout", "where to ask for the flag")
	flag.Float64Var(&s.broken, "broken", 0.3, "share of v2's requests that fail, 0 to 1")
	ask := flag.String("ask", "http://127.0.0.1:8080/", "where the customers send their requests; empty: no customers")
	rate := flag.Float64("rate", 20, "customers' requests in a second")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *ask != "" && *rate > 0 {
		go s.customers(ctx, *ask, time.Duration(float64(time.Second) / *rate))
	}
	if *listen == "" {
		<-ctx.Done()
		return
	}
	if err := s.serve(ctx, *listen); err != nil {
		log.Fatal(err)
	}
}

// shop answers as one of two versions.
type shop struct {
	client         *http.Client
	version, flags string
	broken         float64
	requests       *prometheus.CounterVec
}

func (s *shop) serve(ctx context.Context, listen string) error {
	s.requests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "http_requests_total", Help: "Requests answered.",
	}, []string{"service", "version", "status"})
	reg := prometheus.NewRegistry()
	reg.MustRegister(s.requests)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.answer)
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	server := &http.Server{Addr: listen, Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() }) // nothing worth waiting for
	log.Printf("the shop listens on %s", listen)
	if err := server.ListenAndServe(); ctx.Err() == nil {
		return err
	}
	return nil
}

func (s *shop) answer(w http.ResponseWriter, r *http.Request) {
	version := s.version
	if version == "" {
		version = "v1"
		if s.enabled(r.Context()) {
			version = "v2"
		}
	}
	status := http.StatusOK
	if version == "v2" && rand.Float64() < s.broken {
		status = http.StatusInternalServerError
	}
	s.requests.WithLabelValues("shop", version, strconv.Itoa(status)).Inc()
	w.WriteHeader(status)
	fmt.Fprintf(w, "%d from %s\n", status, version)
}

// enabled asks for the flag; one that can't be had is off, as a service should do it.
func (s *shop) enabled(ctx context.Context) bool {
	context := fmt.Sprintf(`{"context":{"targetingKey":"customer-%d"}}`, rand.IntN(1000))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.flags, bytes.NewReader([]byte(context)))
	if err != nil {
		return false
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := s.client.Do(req)
	if err != nil {
		return false
	}
	defer func() { _ = res.Body.Close() }() // it was read
	var evaluated struct {
		Value bool `json:"value"`
	}
	return json.NewDecoder(res.Body).Decode(&evaluated) == nil && evaluated.Value
}

// customers sends requests until ctx ends.
func (s *shop) customers(ctx context.Context, url string, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			go s.visit(ctx, url)
		}
	}
}

// visit sends one request; an answer of any kind is the shop's own to count.
func (s *shop) visit(ctx context.Context, url string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		log.Fatal(err)
	}
	res, err := s.client.Do(req)
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, res.Body) // read to the end, so that the connection is used again
	_ = res.Body.Close()
}
