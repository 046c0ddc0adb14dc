package bench

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

const (
	pause  = 20 * time.Millisecond // between two requests to a shop: what times to recover are exact to
	enough = 3                     // failed requests that are above 1% of those in the rules' range
)

// shop is a service in two versions. The new one has another name in each round, so that no round
// sees the series of one before.
type shop struct {
	name      string
	old, new  *httptest.Server
	verifying string // Gatekeeper's release of an earlier round

	mu      sync.Mutex
	version string           // name of the new version
	bad     bool             // every request to it fails
	count   map[[2]int]int64 // answers, by version (0: old) and status
	first   time.Time        // when a customer got the first bad answer of the round
	last    time.Time        // and the last
	well    time.Time        // and the first good one after it
	latest  time.Time        // and the latest good one
	scraped time.Time        // when the first scrape saw that enough fail
}

func startShop(b *testing.B, i int) *shop {
	s := &shop{name: shopName(i), count: map[[2]int]int64{}}
	s.old, s.new = httptest.NewServer(s.serve(0)), httptest.NewServer(s.serve(1))
	b.Cleanup(s.old.Close)
	b.Cleanup(s.new.Close)
	return s
}

func (s *shop) serve(version int) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) { s.metrics(w, version) })
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		status := http.StatusOK
		if version == 1 && s.bad {
			status = http.StatusInternalServerError
		}
		s.count[[2]int{version, status}]++
		s.mu.Unlock()
		w.WriteHeader(status)
	})
	return mux
}

// metrics tells both counters from the start, as Prometheus's guidelines ask for: one that is born
// above zero has no rate at its first scrape.
func (s *shop) metrics(w http.ResponseWriter, version int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := "v1"
	if version == 1 {
		name = s.version
	}
	if version == 1 && s.scraped.IsZero() && s.count[[2]int{1, http.StatusInternalServerError}] >= enough {
		s.scraped = time.Now()
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	for _, status := range []int{http.StatusOK, http.StatusInternalServerError} {
		fmt.Fprintf(w, "http_requests_total{service=%q,version=%q,status=\"%d\"} %d\n", s.name, name, status, s.count[[2]int{version, status}])
	}
}

// release makes the new version one of that name, which is good so far.
func (s *shop) release(version string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version, s.bad = version, false
	for _, status := range []int{http.StatusOK, http.StatusInternalServerError} {
		s.count[[2]int{1, status}] = 0
	}
	s.first, s.last, s.well, s.scraped = time.Time{}, time.Time{}, time.Time{}, time.Time{}
}

func (s *shop) spoil() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bad = true
}

// met gives when the customer got the first bad answer of the round, when a scrape saw that, and
// when the first good answer came again; over says that good ones alone came for a while.
func (s *shop) met() (m spell, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return spell{bad: s.first, scraped: s.scraped, well: s.well}, !s.last.IsZero() && s.latest.Sub(s.last) > 500*time.Millisecond
}

// visit sends a customer to url until the benchmark ends, one request at a time.
func (s *shop) visit(b *testing.B, url string) {
	ctx, stop := context.WithCancel(context.Background())
	transport := &http.Transport{}
	client := &http.Client{Timeout: 5 * time.Second, Transport: transport}
	var all sync.WaitGroup
	all.Go(func() {
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				s.buy(client, url)
			}
		}
	})
	b.Cleanup(func() {
		stop()
		all.Wait()
		transport.CloseIdleConnections()
	})
}

func (s *shop) buy(client *http.Client, url string) {
	resp, err := client.Get(url)
	status := 0
	if err == nil {
		status = resp.StatusCode
		_, _ = io.Copy(io.Discard, resp.Body) // so that the connection is used again
		resp.Body.Close()
	}
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case status != http.StatusOK && s.first.IsZero():
		s.first, s.last = now, now
	case status != http.StatusOK:
		s.last, s.well = now, time.Time{}
	default:
		s.latest = now
		if s.well.IsZero() && !s.first.IsZero() {
			s.well = now
		}
	}
}
