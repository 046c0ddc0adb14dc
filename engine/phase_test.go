package engine_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/engine"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// scraped is a backend whose metrics are scraped every 15 s, a while after full intervals.
type scraped struct {
	rules.Querier
	after time.Duration
	err   error
}

func (s *scraped) Query(ctx context.Context, expr string, at time.Time) (rules.Vector, error) {
	if !strings.HasPrefix(expr, "max(timestamp(") {
		return s.Querier.Query(ctx, expr, at)
	}
	if s.err != nil {
		return rules.Vector{}, s.err
	}
	newest := at.Add(-s.after).Truncate(15 * sec).Add(s.after)
	return rules.Vector{Samples: []gatekeeper.Sample{{Value: gatekeeper.Float(float64(newest.UnixMilli()) / 1000)}}}, nil
}

// following has the world's slots follow the scrapes of its backend.
func (w *world) following(s *scraped) {
	w.reconfigure(func(c *engine.Config) {
		s.Querier = c.Backends[""]
		c.Phase, c.Journal, c.Backends = nil, w.journal, map[string]rules.Querier{"": s}
	})
}

// phases gives how long after full intervals the rule's slots are, in the order in which they change.
func (w *world) phases(id string) []time.Duration {
	var all []time.Duration
	for _, p := range w.trail(id) {
		phase := time.Duration(p.At.UnixNano() % int64(15*sec))
		if !p.Extra && (len(all) == 0 || all[len(all)-1] != phase) {
			all = append(all, phase)
		}
	}
	return all
}

// behind is how long after full intervals the slots of ruleR lie, scraped 4 s after them.
var behind = 4*sec + 500*time.Millisecond + rules.HashPhase("checkout", "default", "g", 1500*time.Millisecond)

func TestPhase_SlotsFollowTheScrapes(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		w.following(&scraped{after: 4 * sec})
		bad(w)
		id := w.opened(ruleR + flagPlan)
		w.to(6 * mnt)
		w.outcome(id, gatekeeper.OutcomeRolledBack)
		phases := w.phases(id)
		require.Len(t, phases, 2, "they are moved once; %s", phases)
		require.Equal(t, behind, phases[1])
		require.Less(t, behind, 6*sec)
		at, _ := w.one(id, gatekeeper.KindDecided)
		require.Equal(t, (3*mnt + behind + 2*mnt).Round(time.Millisecond), at)
		trail := w.trail(id)
		require.Less(t, trail[1].At.Sub(trail[0].At), 15*sec+1)
	})
}

func TestPhase_HoldsOverARestart(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		s := &scraped{after: 4 * sec}
		w.following(s)
		bad(w)
		id := w.opened(ruleR + flagPlan)
		w.to(3*mnt + 40*sec)
		w.kill()
		s.err = errors.New("no such function")
		w.to(4*mnt + 10*sec)
		w.start()
		w.to(6 * mnt)
		at, _ := w.one(id, gatekeeper.KindDecided)
		require.Equal(t, (3*mnt + behind + 2*mnt).Round(time.Millisecond), at, w.story(id))
		require.Len(t, w.phases(id), 2)
	})
}

func TestPhase_StaysWhereNothingIsTold(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		w.following(&scraped{err: errors.New("unknown function timestamp")})
		id := w.opened(ruleR + flagPlan)
		w.to(31 * mnt)
		w.outcome(id, gatekeeper.OutcomePassed)
		require.Len(t, w.phases(id), 1)
	})
}
