package demo

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	pace      = 25 * time.Millisecond // between two requests
	atOnce    = 8                     // requests; the shop is asked less when it is slow
	customers = 100
)

// Count is what customers saw of one version.
type Count struct {
	Requests, Failed int
	FirstFailed      time.Time // when the first failure was seen
	LastAsked        time.Time // when the latest of these requests was sent
}

// Traffic is the shop's customers.
type Traffic struct {
	url    string
	client *http.Client

	mu     sync.Mutex
	all    map[string]Count // by version
	latest map[string]Count // since the last Take
}

// NewTraffic gives customers of the shop at addr, host:port.
func NewTraffic(addr string) *Traffic {
	return &Traffic{
		url: "http://" + addr + "/checkout",
		client: &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{
			MaxConnsPerHost: atOnce, MaxIdleConnsPerHost: atOnce,
		}},
		all: map[string]Count{}, latest: map[string]Count{},
	}
}

// Run sends requests at a steady pace until ctx ends, and returns when none is under way.
func (t *Traffic) Run(ctx context.Context) {
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	defer t.client.CloseIdleConnections()
	free := make(chan struct{}, atOnce)
	var under sync.WaitGroup
	defer under.Wait()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		select {
		case free <- struct{}{}:
			under.Go(func() {
				t.buy(ctx, fmt.Sprintf("customer-%d", n%customers))
				<-free
			})
		default: // the shop is slow: it is not asked faster than it answers
		}
	}
}

// buy sends one request and counts its answer.
func (t *Traffic) buy(ctx context.Context, customer string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url, http.NoBody)
	if err != nil {
		return // the address is the shop's own
	}
	req.Header.Set("Customer", customer)
	asked := time.Now()
	res, err := t.client.Do(req)
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		t.count("no answer", asked, false)
		return
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<16))
	t.count(res.Header.Get("Version"), asked, err == nil && res.StatusCode == http.StatusOK)
}

func (t *Traffic) count(version string, asked time.Time, ok bool) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, counts := range []map[string]Count{t.all, t.latest} {
		c := counts[version]
		c.Requests++
		if !ok {
			c.Failed++
			if c.FirstFailed.IsZero() {
				c.FirstFailed = now
			}
		}
		if asked.After(c.LastAsked) {
			c.LastAsked = asked
		}
		counts[version] = c
	}
}

// Take gives what was seen of each version since the last Take.
func (t *Traffic) Take() map[string]Count {
	t.mu.Lock()
	defer t.mu.Unlock()
	latest := t.latest
	t.latest = map[string]Count{}
	return latest
}

// Seen gives all that was seen of a version.
func (t *Traffic) Seen(version string) Count {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.all[version]
}
