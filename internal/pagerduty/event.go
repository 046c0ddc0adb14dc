package pagerduty

import (
	"strings"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/notify"
)

const (
	maxSummary = 1024 // characters; bytes are counted here, which never allows more
	maxDetail  = 4096
)

// event is a trigger, or without a payload a resolve.
type event struct {
	RoutingKey string   `json:"routing_key"`
	Action     string   `json:"event_action"`
	DedupKey   string   `json:"dedup_key"` // the release: all its events are of one alert
	Payload    *payload `json:"payload,omitempty"`
	Links      []link   `json:"links,omitempty"`
	Images     []image  `json:"images,omitempty"`
	Client     string   `json:"client,omitempty"`
	ClientURL  string   `json:"client_url,omitempty"`
}

type payload struct {
	Summary   string            `json:"summary"`
	Source    string            `json:"source"`
	Severity  string            `json:"severity"`
	Timestamp string            `json:"timestamp"`
	Component string            `json:"component"`
	Group     string            `json:"group"`
	Class     string            `json:"class"`
	Details   map[string]string `json:"custom_details"`
}

type link struct {
	Href string `json:"href"`
	Text string `json:"text"`
}

// image must be served by HTTPS.
type image struct {
	Src  string `json:"src"`
	Href string `json:"href,omitempty"`
	Alt  string `json:"alt"`
}

func resolve(r gatekeeper.Release) event {
	return event{Action: "resolve", DedupKey: r.ID}
}

// trigger makes the event for what stands, the worst first.
func trigger(r gatekeeper.Release, n notify.News, href string, picture *notify.Picture, now time.Time) event {
	since := n.Since
	if since.IsZero() {
		since = now
	}
	e := event{
		Action: "trigger", DedupKey: r.ID, Client: "Gatekeeper", ClientURL: href,
		Payload: &payload{
			Summary: notify.Clip(n.Title(r)+": "+n.Summary, maxSummary), Source: notify.Clip(r.Service, maxSummary), Severity: "critical",
			Timestamp: since.UTC().Format(time.RFC3339), Component: notify.Clip(r.Service, maxSummary), Group: notify.Clip(r.Environment, maxSummary),
			Class: string(n.Event),
			Details: map[string]string{
				"release": r.ID, "version": notify.Clip(r.Version, maxDetail), "seen": notify.Clip(n.Summary, maxDetail),
				"done": notify.Clip(n.Done, maxDetail), "to_do": notify.Clip(n.Todo, maxDetail),
			},
		},
	}
	if href != "" {
		e.Links = []link{{href, "Release " + r.ID}}
	}
	if picture != nil && strings.HasPrefix(picture.URL, "https://") && picture.Public() {
		e.Images = []image{{picture.URL, href, notify.Clip(picture.Says, maxSummary)}}
	}
	return e
}
