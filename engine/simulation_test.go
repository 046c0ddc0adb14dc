package engine_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/engine"
)

var (
	seeds = flag.Int("sim.seeds", 100, "how many simulated releases")
	seed  = flag.Uint64("sim.seed", 0, "run this seed only")
)

// TestSimulation runs releases through random faults and checks the invariants after every step.
// A failure names its seed: go test ./engine -run Simulation -sim.seed N
func TestSimulation(t *testing.T) {
	first, last := uint64(1), uint64(*seeds)
	if *seed > 0 {
		first, last = *seed, *seed
	}
	outcomes := map[gatekeeper.Outcome]int{}
	for n := first; n <= last; n++ {
		t.Run(fmt.Sprintf("seed=%d", n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := simulate(t, n)
				outcomes[s.run()]++
			})
		})
	}
	t.Logf("outcomes: %v", outcomes)
	if *seed == 0 && *seeds >= 100 {
		for _, want := range []gatekeeper.Outcome{gatekeeper.OutcomePassed, gatekeeper.OutcomeRolledBack, gatekeeper.OutcomeRollbackFailed, gatekeeper.OutcomeBreached, gatekeeper.OutcomeInconclusive} {
			require.NotZero(t, outcomes[want], "the simulation does not reach %s any more: it tests nothing of it", want)
		}
	}
}

// span is a stretch of time in which something is so.
type span struct{ from, to time.Duration }

func (s span) holds(at time.Duration) bool { return at >= s.from && at < s.to }

type simulation struct {
	*world
	rng     *rand.Rand
	bad     []span // the new version is bad
	outages []span // the backend can't be reached
	holes   []span // there are no samples
	kills   []time.Duration
	lost    *lossy
	id      string
	staffed bool // there are people who approve and veto
	vetoed  bool
}

func simulate(t *testing.T, seed uint64) *simulation {
	s := &simulation{world: newWorld(t), rng: rand.New(rand.NewPCG(seed, 7))}
	s.bad = s.spans(s.rng.IntN(3), 25*mnt, 8*mnt)
	if s.rng.IntN(3) == 0 {
		s.bad = append(s.bad, span{s.moment(25 * mnt), forever})
	}
	s.staffed = s.rng.IntN(2) == 0
	s.outages = s.spans(s.rng.IntN(3), 30*mnt, 5*mnt)
	if s.rng.IntN(6) == 0 {
		s.outages = append(s.outages, span{s.moment(25 * mnt), forever})
	}
	s.holes = s.spans(s.rng.IntN(2), 30*mnt, 3*mnt)
	for range s.rng.IntN(4) {
		s.kills = append(s.kills, s.moment(35*mnt))
	}
	s.down = func(at time.Duration) bool { return within(s.outages, at) }
	s.script(s.sample)
	for _, target := range s.targets {
		switch s.rng.IntN(5) {
		case 0:
			target.lose = true
		case 1:
			target.hang = time.Hour
		}
	}
	s.lost = &lossy{rng: rand.New(rand.NewPCG(seed, 8))}
	s.restart()
	return s
}

// sample scripts the metrics: v2 is bad in its spans while target one serves it.
func (s *simulation) sample(name, version string, at time.Duration) (float64, bool) {
	if within(s.holes, at) {
		return 0, false
	}
	if name == "requests" {
		return 10, true
	}
	if version == "v2" && within(s.bad, at) {
		return 0.5, true
	}
	return 0.02, true
}

func (s *simulation) moment(max time.Duration) time.Duration {
	return time.Duration(s.rng.Int64N(int64(max))).Round(time.Second)
}

func (s *simulation) spans(n int, latest, longest time.Duration) (all []span) {
	for range n {
		from := s.moment(latest)
		all = append(all, span{from, from + s.moment(longest)})
	}
	return all
}

func within(all []span, at time.Duration) bool {
	for _, one := range all {
		if one.holds(at) {
			return true
		}
	}
	return false
}

// restart puts an engine on the journal; the last one is killed where it is.
func (s *simulation) restart() {
	s.kill()
	s.lost.Journal = s.journal
	s.cfg.Journal = s.lost
	s.boot()
}

var routes = []string{"", vetoRoute, holdRoute, "\nrespond:\n  - {do: rollback, no_data: ignore, on_error: ignore}\n"}

func (s *simulation) run() gatekeeper.Outcome {
	plan := flagPlan
	if s.rng.IntN(2) == 0 {
		plan = twoRungs
	}
	s.id = s.opened(ruleR + plan + routes[s.rng.IntN(len(routes))])
	if s.rng.IntN(6) == 0 {
		s.targets["one"].refuses(errors.New("refused"))
		s.targets["two"].refuses(errors.New("refused"))
	}
	s.lost.loses(s.rng.IntN(2) * 20)
	for at := time.Duration(0); at < 3*time.Hour; at += 5 * sec {
		s.to(at)
		for _, k := range s.kills {
			if k >= at && k < at+5*sec {
				s.to(k)
				s.restart()
			}
		}
		s.people()
		s.check()
		if s.release(s.id).Closed() {
			break
		}
	}
	r := s.release(s.id)
	require.True(s.t, r.Closed(), "7: an open release reaches an end; %s", s.story(s.id))
	s.neverMissed(r)
	effects := s.effects()
	s.to(s.since(time.Now()) + 2*time.Hour)
	require.Equal(s.t, effects, s.effects(), "8: a terminal release never acts")
	return r.Outcome
}

// people approve and veto now and then what is held.
func (s *simulation) people() {
	if !s.staffed || s.release(s.id).State != gatekeeper.Holding || s.rng.IntN(60) > 0 {
		return
	}
	if s.rng.IntN(2) == 0 {
		_, _ = s.e.Approve(s.t.Context(), s.id, engine.By{Actor: "a"})
	} else if _, err := s.e.Veto(s.t.Context(), s.id, engine.By{Actor: "b"}); err == nil {
		s.vetoed = true
	}
}

func (s *simulation) effects() []string {
	return append(s.targets["one"].done(), s.targets["two"].done()...)
}

// check holds what is so against the invariants, by their numbers in the facts.
func (s *simulation) check() {
	t := s.t
	synctest.Wait()
	facts, err := s.journal.Facts(t.Context(), s.id)
	require.NoError(t, err)
	count := map[gatekeeper.Kind]int{}
	intents := map[int]bool{}
	for i, f := range facts {
		count[f.Body.Kind()]++
		require.EqualValues(t, i+1, f.Seq)
		if a, ok := f.Body.(gatekeeper.Attempting); ok {
			require.NotZero(t, count[gatekeeper.KindDecided], "1: a decision before its intent; %s", s.story(s.id))
			intents[a.Rung] = true
		}
	}
	require.LessOrEqual(t, count[gatekeeper.KindDecided], 1, "2: one decision")
	require.LessOrEqual(t, count[gatekeeper.KindClosed], 1)
	for rung, name := range []string{"one", "two"} {
		done := s.targets[name].done()
		require.LessOrEqual(t, len(done), 1, "3: one effect at %s; %s", name, s.story(s.id))
		if len(done) > 0 {
			require.True(t, intents[rung], "1: no effect before its intent is durable; %s", s.story(s.id))
			require.Equal(t, "v1", done[0], "12: only what was pinned")
		}
	}
	r, err := gatekeeper.Replay(s.id, facts)
	require.NoError(t, err, "11: the journal replays")
	if d := r.Decision; d != nil && d.Cause == gatekeeper.CauseBreach {
		decided, b := s.since(r.DecidedAt), d.Breaches[0]
		require.Equal(t, "R", b.Rule)
		require.GreaterOrEqual(t, s.badTime(s.since(b.Since), decided), 2*mnt-15*sec, "5: decided on bad time alone; %s", s.story(s.id))
	}
}

// badTime is how long the version was bad and could be seen to be.
func (s *simulation) badTime(from, to time.Duration) (sum time.Duration) {
	for at := from; at < to; at += sec {
		if within(s.bad, at) && !within(s.holes, at) {
			sum += sec
		}
	}
	return sum
}

// neverMissed says that nothing passes that was bad for long and could be seen.
func (s *simulation) neverMissed(r gatekeeper.Release) {
	if r.Outcome != gatekeeper.OutcomePassed || s.vetoed || len(r.Breaches) > 0 { // held until it was well again
		return
	}
	var run time.Duration
	for at := time.Duration(0); at < 30*mnt; at += sec {
		if !within(s.bad, at) || within(s.holes, at) || within(s.outages, at) || s.wasDown(at) {
			run = 0
			continue
		}
		run += sec
		require.Less(s.t, run, 2*mnt+31*sec, "a bad release passed; %s", s.story(s.id))
	}
}

// wasDown says whether Gatekeeper was killed around that time: harm that ended before it was back
// is over.
func (s *simulation) wasDown(at time.Duration) bool {
	for _, k := range s.kills {
		if at >= k-5*sec && at <= k+20*sec {
			return true
		}
	}
	return false
}

// lossy is a journal that now and then refuses a write, or takes it and says that it did not.
type lossy struct {
	gatekeeper.Journal
	mu   sync.Mutex
	rng  *rand.Rand
	rate int // one of so many; 0: never
}

func (j *lossy) loses(rate int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.rate = rate
}

func (j *lossy) draw() (lose, before bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.rate > 0 && j.rng.IntN(j.rate) == 0, j.rng.IntN(2) == 0
}

func (j *lossy) Commit(ctx context.Context, entries ...gatekeeper.Entry) error {
	lose, before := j.draw()
	if lose && entries[0].After > 0 {
		if before {
			return errors.New("etcdserver: request timed out")
		}
		if err := j.Journal.Commit(ctx, entries...); err != nil {
			return err
		}
		return errors.New("etcdserver: request timed out, after it was applied")
	}
	return j.Journal.Commit(ctx, entries...)
}
