package engine

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// Standing is how a rule of an open release stands.
type Standing struct {
	Release gatekeeper.Opened // what was opened
	ID      string            // of the release
	Rule    rules.Rule        // with the release's values in it
	Track   gatekeeper.Track  // the present gap included
	Latest  gatekeeper.Reading
	Bad     gatekeeper.Reading // the latest unhealthy one; zero: none since the engine has run
	At      time.Time          // the latest instant that is known of; a `for` that is full then is full
}

// Standings gives how every rule of the open releases stands that this engine runs, ordered by release
// and as in its health file. A release that is busy is waited for until ctx ends.
func (e *Engine) Standings(ctx context.Context) ([]Standing, error) {
	open := e.open()
	slices.SortFunc(open, func(a, b *run) int { return cmp.Compare(a.id, b.id) })
	var all []Standing
	for _, u := range open {
		err := u.do(ctx, func() error {
			for _, w := range u.watches {
				s := Standing{Release: u.r.Opened, ID: u.id, Rule: w.Rule.Rule, Track: w.Track(), Latest: w.Last, Bad: w.Bad}
				if s.At = s.Track.LastSlot; w.Sure.After(s.At) {
					s.At = w.Sure
				}
				all = append(all, s)
			}
			return nil
		})
		if err != nil && !errors.Is(err, errRunOver) {
			return nil, err
		}
	}
	return all, nil
}
