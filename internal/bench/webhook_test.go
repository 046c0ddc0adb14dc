package bench

import (
	"encoding/json"
	"net/http"
	"time"
)

// notification is what is needed of the body of Alertmanager's webhook, version 4.
type notification struct {
	Alerts []struct {
		Status   string
		Labels   map[string]string
		StartsAt time.Time
	}
}

// webhook is the least that can take a version back: it switches HAProxy when an alert fires.
func (s *stage) webhook(w http.ResponseWriter, r *http.Request) {
	var n notification
	if err := json.NewDecoder(r.Body).Decode(&n); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for _, a := range n.Alerts {
		service, version := a.Labels["service"], a.Labels["version"]
		if a.Status != "firing" || !s.first(service+version, a.StartsAt) {
			continue
		}
		if answer, err := s.balancer.ask(toOld(service)); err != nil || answer != "" {
			s.b.Errorf("HAProxy said %q: %v", answer, err)
		}
	}
}

// first notes since when an alert fires. Alertmanager repeats alerts; only the first time counts.
func (s *stage) first(alert string, at time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.fired[alert]; known {
		return false
	}
	s.fired[alert] = at
	return true
}
