package backtest

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// Outcome is what people know of a past release.
type Outcome string

// The outcomes.
const (
	Good    Outcome = "good"
	Bad     Outcome = "bad"
	Unknown Outcome = "unknown"
)

// Release is one past release.
type Release struct {
	ID              string              `json:"id"` // unique in a list, see [Arrange]
	Service         string              `json:"service,omitempty"`
	Environment     string              `json:"environment,omitempty"`
	Version         string              `json:"version"`
	PreviousVersion string              `json:"previous_version,omitempty"`
	Opened          time.Time           `json:"opened,omitzero"` // zero: as it was deployed
	Deployed        time.Time           `json:"deployed"`
	Window          gatekeeper.Duration `json:"window,omitempty"` // 0: the health file's
	Ended           time.Time           `json:"ended,omitzero"`   // when the version began to be taken away; zero: it stayed
	Labels          map[string]string   `json:"labels,omitempty"`
	Outcome         Outcome             `json:"outcome"`
	BadSince        time.Time           `json:"bad_since,omitzero"` // of a bad one; zero: it is not known
}

// vars are the values of the release's variables.
func (r Release) vars() rules.Vars {
	return rules.Vars{Service: r.Service, Environment: r.Environment, Version: r.Version, PreviousVersion: r.PreviousVersion, Labels: r.Labels}
}

// harm gives the instant from which the time to detect counts.
func (r Release) harm() time.Time {
	if r.BadSince.IsZero() {
		return r.Deployed
	}
	return r.BadSince
}

// opened gives the instant at which the rules are judged first.
func (r Release) opened() time.Time {
	if r.Opened.IsZero() || r.Opened.After(r.Deployed) {
		return r.Deployed
	}
	return r.Opened
}

// Arrange sorts releases by the time of their deploy, ends each where the next of its service and
// environment was deployed, and gives an id to those that have none: the version, with a number
// where it was released more than once.
func Arrange(list []Release) []Release {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b Release) int { return a.Deployed.Compare(b.Deployed) })
	type place struct{ service, environment string }
	latest := map[place]int{}
	taken := map[string]bool{}
	for _, r := range list {
		taken[r.ID] = true
	}
	for i := range list {
		r := &list[i]
		where := place{r.Service, r.Environment}
		if before, ok := latest[where]; ok {
			if b := &list[before]; b.Ended.IsZero() || b.Ended.After(r.Deployed) {
				b.Ended = r.Deployed
			}
		}
		latest[where] = i
		if r.ID == "" {
			r.ID = r.Version
			for n := 2; taken[r.ID]; n++ {
				r.ID = fmt.Sprintf("%s#%d", r.Version, n)
			}
			taken[r.ID] = true
		}
		r.Outcome = cmp.Or(r.Outcome, Unknown)
	}
	return list
}

// Of gives the releases that a health file is for: it may name a service and an environment. Those
// that name none take the file's.
func Of(file *rules.File, list []Release) []Release {
	var mine []Release
	for _, r := range list {
		r.Service, r.Environment = cmp.Or(r.Service, file.Service), cmp.Or(r.Environment, file.Environment)
		if (file.Service == "" || file.Service == r.Service) && (file.Environment == "" || file.Environment == r.Environment) {
			mine = append(mine, r)
		}
	}
	return mine
}
