package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// hostile is a metric backend that answers well until it is told to behave as its name says, and
// the targets of rollbacks that do not work. Every service has a ratio of errors.
type hostile struct {
	address string // host:port

	mu      sync.Mutex
	awake   map[string]bool    // the backends that behave as their names say
	ratio   map[string]float64 // by service; 0.1 otherwise
	asked   map[string]int     // requests to change a target, by its name; queries, by "query " and the service
	refused chan struct{}      // its end lets hanging answers go
}

func startHostile(t *testing.T) *hostile {
	t.Helper()
	h := &hostile{awake: map[string]bool{}, ratio: map[string]float64{}, asked: map[string]int{}, refused: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{mood}/api/v1/query", h.query)
	mux.HandleFunc("POST /{mood}/api/v1/query_range", h.query)
	mux.HandleFunc("POST /{mood}/rollback", h.rollBack)
	mux.HandleFunc("GET /{mood}/live", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"version":"v2"}`) })
	s := httptest.NewServer(mux)
	h.address = s.Listener.Addr().String()
	t.Cleanup(func() {
		close(h.refused)
		s.Close()
	})
	return h
}

// wake makes a backend behave as its name says from now on.
func (h *hostile) wake(backend string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.awake[backend] = true
}

// goBad gives a service's new version a ratio of errors above the limit.
func (h *hostile) goBad(service string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ratio[service] = 0.9
}

// queries gives how often a service was asked for.
func (h *hostile) queries(service string) int { return h.times("query " + service) }

func (h *hostile) times(target string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.asked[target]
}

// rollBack takes requests that have no effect.
func (h *hostile) rollBack(w http.ResponseWriter, r *http.Request) {
	mood := r.PathValue("mood")
	h.mu.Lock()
	h.asked[mood]++
	h.mu.Unlock()
	switch mood {
	case "refuses":
		w.WriteHeader(http.StatusForbidden)
	case "hangs":
		h.hang(r)
	}
}

// hang returns when the client has gone.
func (h *hostile) hang(r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // only then the server notices that the client goes
	select {
	case <-r.Context().Done():
	case <-h.refused:
	}
}

// query answers as Prometheus does for the ratio of a service and for its comparison with the limit.
func (h *hostile) query(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	expr, at := r.PostForm.Get("query"), r.PostForm.Get("time")
	_, service, _ := strings.Cut(expr, `service="`)
	service, _, _ = strings.Cut(service, `"`)
	mood := r.PathValue("mood")
	h.mu.Lock()
	h.asked["query "+service]++
	value, bad := h.ratio[service]
	if !h.awake[mood] {
		mood = "well"
	}
	h.mu.Unlock()
	if !bad || !strings.Contains(expr, `version="v2"`) {
		value = 0.1
	}
	series := 1
	switch mood {
	case "many", "crowd":
		series = 10_000
	case "flood":
		series = 10_001
	case "twins":
		series = 2
	case "nothing":
		series = 0
	case "nan":
		if strings.Contains(expr, ">") {
			series = 0 // NaN is above no limit
		}
	}
	if strings.Contains(expr, ">") && value <= 0.5 {
		series = 0
	}
	if strings.HasSuffix(r.URL.Path, "range") { // what it was meanwhile is gone
		_, _ = io.WriteString(w, `{"status":"success","data":{"resultType":"matrix","result":[]}}`)
		return
	}
	h.answer(w, r, mood, vector(mood, at, value, series))
}

// vector gives so many series with that value; those of twins have the same labels.
func vector(mood, at string, value float64, series int) string {
	text := fmt.Sprint(value)
	if mood == "nan" {
		text = "NaN"
	}
	all := make([]any, series)
	for i := range all {
		labels := map[string]string{"pod": fmt.Sprint(i)}
		if mood == "twins" {
			labels["pod"] = "0"
		}
		all[i] = map[string]any{"metric": labels, "value": []any{json.RawMessage(at), text}}
	}
	body, err := json.Marshal(map[string]any{"status": "success", "data": map[string]any{"resultType": "vector", "result": all}})
	if err != nil {
		panic(err) // of strings and numbers
	}
	return string(body)
}

// answer sends the answer, or what the backend makes of it. What would be seen, were it counted, is harm.
func (h *hostile) answer(w http.ResponseWriter, r *http.Request, mood, body string) {
	harm := vector(mood, r.PostForm.Get("time"), 1, 1)
	switch mood {
	case "slow":
		h.hang(r)
	case "garbage":
		_, _ = io.WriteString(w, "\x00\x01\x02"+harm)
	case "login":
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<!doctype html><title>Sign in</title>")
	case "half":
		_, _ = io.WriteString(w, harm[:len(harm)-4])
	case "partial":
		_, _ = io.WriteString(w, `{"warnings":["store-7 did not answer"],`+harm[1:])
	case "throttled":
		w.Header().Set("Retry-After", "60")
		http.Error(w, "too many queries", http.StatusTooManyRequests)
	case "broken":
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, `{"status":"error","errorType":"internal","error":"the disk is full"}`)
	case "flood":
		_, _ = io.WriteString(w, vector(mood, r.PostForm.Get("time"), 1, 10_001))
	default:
		_, _ = io.WriteString(w, body)
	}
}
