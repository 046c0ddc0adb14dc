package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const versionHeader = "Shop-Version"

// version is one version of the shop, with its metrics.
type version struct {
	name    string
	address string // host:port
	bad     atomic.Bool
	count   atomic.Int64
	last    atomic.Int64 // when it began its last answer, in nanoseconds of the epoch
}

// startVersion serves a version until the test ends; while it is bad every second request fails.
func startVersion(t *testing.T, name string) *version {
	t.Helper()
	v := &version{name: name}
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "http_requests_total", Help: "Requests answered."},
		[]string{"service", "version", "status"})
	reg := prometheus.NewRegistry()
	reg.MustRegister(requests)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		status := http.StatusOK
		if n := v.count.Add(1); v.bad.Load() && n%2 == 0 {
			status = http.StatusInternalServerError
		}
		requests.WithLabelValues("shop", name, strconv.Itoa(status)).Inc()
		v.last.Store(time.Now().UnixNano())
		w.Header().Set(versionHeader, name)
		w.WriteHeader(status)
		_, _ = fmt.Fprintln(w, name) // the header tells already
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	v.address = s.Listener.Addr().String()
	return v
}

// answer is what a customer got.
type answer struct {
	sent    time.Time
	version string // of who answered; empty: none of the shop's
	status  int
}

// traffic is a bounded number of customers, each with one request at a time.
type traffic struct {
	mu  sync.Mutex
	all []answer
	err error
}

const (
	customers = 4
	pause     = 50 * time.Millisecond // between two requests of a customer
)

// send sends customers to url until the test ends.
func send(t *testing.T, url string) *traffic {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	tr := &traffic{}
	transport := &http.Transport{MaxIdleConnsPerHost: customers}
	c := &http.Client{Timeout: 5 * time.Second, Transport: transport}
	var wg sync.WaitGroup
	for range customers {
		wg.Go(func() {
			tick := time.NewTicker(pause)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
					tr.visit(ctx, c, url)
				}
			}
		})
	}
	t.Cleanup(func() {
		stop()
		wg.Wait()
		transport.CloseIdleConnections()
	})
	return tr
}

func (tr *traffic) visit(ctx context.Context, c *http.Client, url string) {
	a := answer{sent: time.Now()}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err == nil {
		var resp *http.Response
		if resp, err = c.Do(req); err == nil {
			a.version, a.status = resp.Header.Get(versionHeader), resp.StatusCode
			_, err = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close() // it was read to its end
		}
	}
	if ctx.Err() != nil {
		return
	}
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if err != nil {
		tr.err = err
		return
	}
	tr.all = append(tr.all, a)
}

// since gives the answers to requests sent after an instant, by version, and the first request
// that got none.
func (tr *traffic) since(at time.Time) (byVersion map[string]int, err error) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	byVersion = map[string]int{}
	for _, a := range tr.all {
		if a.sent.After(at) {
			byVersion[a.version]++
		}
	}
	return byVersion, tr.err
}

// failures gives how many answers were errors.
func (tr *traffic) failures() (n int) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for _, a := range tr.all {
		if a.status != http.StatusOK {
			n++
		}
	}
	return n
}
