package notify

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"sync"

	"github.com/gatekeeper-engine/gatekeeper"
)

// Teller tells people of facts in one way.
type Teller interface {
	// Tell takes a fact and the release after it, and returns at once.
	Tell(r gatekeeper.Release, f gatekeeper.Fact)
	// Run sends until ctx ends, or after Close until nothing waits any more. It is called once.
	Run(ctx context.Context) error
	// Close has Run end. It is called once; nothing is told after it.
	Close()
}

// Member is a teller with the settings that it was made of.
type Member struct {
	Settings any
	Teller
}

// Wanted is a member as it is configured; Make is called only where there is none of the same settings.
type Wanted struct {
	Settings any
	Make     func() (Teller, error)
}

// Group tells by several tellers at once, each of which runs by itself: none waits for another.
// Its members can be replaced while it runs. Its methods may be called concurrently; Run once.
// The zero Group tells nobody.
type Group struct {
	mu        sync.RWMutex // read: telling; a fact is told to the members before a change or after it
	members   []Member
	unstarted []Member

	ctx     context.Context // of Run; nil before it
	over    bool            // Run ends
	running sync.WaitGroup
	failed  []error
}

// Tell takes a fact and the release after it.
func (g *Group) Tell(r gatekeeper.Release, f gatekeeper.Fact) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	for _, m := range g.members {
		m.Tell(r, f)
	}
}

// Empty says whether there is nobody to tell.
func (g *Group) Empty() bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return len(g.members) == 0
}

// Plan gives the members that are wanted: those that there are with the same settings, as deep
// equality goes, and new ones for the others. It changes nothing: [Group.Replace] does.
func (g *Group) Plan(all []Wanted) ([]Member, error) {
	g.mu.RLock()
	left := slices.Clone(g.members)
	g.mu.RUnlock()
	next := make([]Member, len(all))
	for i, w := range all {
		same := slices.IndexFunc(left, func(m Member) bool { return reflect.DeepEqual(m.Settings, w.Settings) })
		if same >= 0 {
			next[i] = left[same]
			left = slices.Delete(left, same, same+1)
			continue
		}
		made, err := w.Make()
		if err != nil {
			return nil, err
		}
		next[i] = Member{w.Settings, made}
	}
	return next, nil
}

// Replace has next told from now on. Members that are not among them end when what they have to
// send is sent; they are waited for by Run, not here.
func (g *Group) Replace(next []Member) {
	g.mu.Lock()
	defer g.mu.Unlock()
	among := func(all []Member, m Member) bool {
		return slices.ContainsFunc(all, func(other Member) bool { return other.Teller == m.Teller })
	}
	for _, m := range next {
		if !among(g.members, m) {
			g.start(m)
		}
	}
	for _, m := range g.members {
		if !among(next, m) {
			m.Close()
		}
	}
	g.members = next
}

// start runs a member; before Run it is remembered, and when Run ends there is nothing to run.
func (g *Group) start(m Member) {
	switch {
	case g.over:
	case g.ctx == nil:
		g.unstarted = append(g.unstarted, m)
	default:
		g.running.Go(func() {
			if err := m.Run(g.ctx); err != nil {
				g.mu.Lock()
				g.failed = append(g.failed, err)
				g.mu.Unlock()
			}
		})
	}
}

// Run runs the members until ctx ends.
func (g *Group) Run(ctx context.Context) error {
	g.mu.Lock()
	g.ctx = ctx
	for _, m := range g.unstarted {
		g.start(m)
	}
	g.unstarted = nil
	g.mu.Unlock()
	<-ctx.Done()
	g.mu.Lock()
	g.over = true
	g.mu.Unlock()
	g.running.Wait()
	return errors.Join(g.failed...)
}
