package haproxy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
)

const (
	maxDrain = gatekeeper.Duration(10 * time.Second)
	poll     = 20 * time.Millisecond // between two looks at servers that come up or run empty
)

// switcher is the action haproxy/switch.
type switcher struct {
	settings settings
	api      runtime
}

// Names gives the backend.
func (s *switcher) Names() []string { return []string{s.settings.Backend} }

// Prepare pins the weights and states, and proves that the runtime API would obey.
func (s *switcher) Prepare(ctx context.Context) (gatekeeper.Target, error) {
	level, err := s.api.ask(ctx, "show cli level")
	if err != nil {
		return gatekeeper.Target{}, unavailable(err)
	}
	if level != "admin" {
		return gatekeeper.Target{}, gatekeeper.Errorf(gatekeeper.CodeRefused, "give `stats socket` in haproxy.cfg the option `level admin`",
			"HAProxy's runtime API at %s has level %q: it would refuse to switch servers", s.api.address, firstLine(level))
	}
	found, err := s.api.servers(ctx, s.settings.Backend)
	if err != nil {
		return gatekeeper.Target{}, unavailable(err)
	}
	t, err := pin(s.settings, found)
	if err != nil {
		return gatekeeper.Target{}, err
	}
	if err := t.usable(found); err != nil {
		return gatekeeper.Target{}, err
	}
	kind := gatekeeper.Restore
	if len(s.settings.Servers) > 0 {
		kind = gatekeeper.Set
	}
	return t.encode(kind)
}

// usable refuses a target that would serve nobody. A server that is out now shows its health only
// when it comes in, so it has the benefit of the doubt.
func (t target) usable(found map[string]live) error {
	var serving []string
	for _, name := range slices.Sorted(maps.Keys(t.Servers)) {
		now := found[name]
		if !t.Servers[name].serves() {
			continue
		}
		if now.up || now.State != ready {
			return nil
		}
		serving = append(serving, name)
	}
	if len(serving) == 0 {
		return gatekeeper.Errorf(gatekeeper.CodeConflict, "open the release while the old version is being served",
			"backend %s serves nothing now: there is nothing to return to", t.Backend)
	}
	return gatekeeper.Errorf(gatekeeper.CodeConflict, "see to the health of these servers",
		"backend %s: %s is down, so returning to it would serve nobody", t.Backend, strings.Join(serving, ", "))
}

// Apply brings servers in, waits until one of them takes traffic, and takes the others out.
func (s *switcher) Apply(ctx context.Context, pinned gatekeeper.Target, _ gatekeeper.Key) (gatekeeper.Receipt, error) {
	t, err := decodeTarget(pinned, s.settings.Backend)
	if err != nil {
		return gatekeeper.Receipt{}, errors.Join(err, actions.ErrNoEffect)
	}
	found, err := s.api.servers(ctx, t.Backend)
	if err != nil {
		return gatekeeper.Receipt{}, noEffect(unavailable(err)) // nothing but a question was asked
	}
	for name := range t.Servers {
		if _, ok := found[name]; !ok {
			return gatekeeper.Receipt{}, noEffect(gatekeeper.Errorf(gatekeeper.CodeConflict, "add the server again, or switch by hand",
				"backend %s has no server %s any more", t.Backend, name))
		}
	}
	in, out := t.plan(found)
	for i, c := range in {
		if err := s.api.set(ctx, c); err != nil {
			return gatekeeper.Receipt{}, after(i, err)
		}
	}
	if len(out) > 0 {
		if err := s.awaitUp(ctx, t); err != nil {
			return gatekeeper.Receipt{}, after(len(in), err)
		}
	}
	for i, c := range out {
		if err := s.api.set(ctx, c); err != nil {
			return gatekeeper.Receipt{}, after(len(in)+i, err)
		}
	}
	if len(in)+len(out) == 0 {
		return gatekeeper.Receipt{Says: t.says() + " were so already"}, nil
	}
	return gatekeeper.Receipt{Says: fmt.Sprintf("HAProxy took %d commands: %s", len(in)+len(out), t.says())}, nil
}

// awaitUp waits until a server that should serve takes traffic.
func (s *switcher) awaitUp(ctx context.Context, t target) error {
	for {
		found, err := s.api.servers(ctx, t.Backend)
		if err != nil {
			return err
		}
		if t.anyUp(found) {
			return nil
		}
		if err := wait(ctx, poll); err != nil {
			return gatekeeper.Errorf(gatekeeper.CodeConflict, "see to the health of the servers of the old version",
				"backend %s: no server to return to came up, so none was taken out: %w", t.Backend, err)
		}
	}
}

// Observe compares the backend with the target. At the target it waits a moment, [settings].Drain,
// for requests that still run on servers taken out, because their answers would be the bad
// version's.
func (s *switcher) Observe(ctx context.Context, pinned gatekeeper.Target) (gatekeeper.Live, error) {
	t, err := decodeTarget(pinned, s.settings.Backend)
	if err != nil {
		return gatekeeper.Live{}, err
	}
	found, err := s.api.servers(ctx, t.Backend)
	if err != nil {
		return gatekeeper.Live{Position: gatekeeper.Unknown, Says: err.Error()}, nil
	}
	l := gatekeeper.Live{Position: gatekeeper.AtTarget, Print: t.print(found)}
	if wrong := t.differs(found); len(wrong) > 0 {
		l.Position = gatekeeper.Elsewhere
		l.Says = fmt.Sprintf("backend %s: %s", t.Backend, strings.Join(wrong, "; "))
		return l, nil
	}
	if !t.anyUp(found) {
		l.Position = gatekeeper.InProgress
		l.Says = fmt.Sprintf("%s, but none of those that should serve is up", t.says())
		return l, nil
	}
	left, err := s.awaitEmpty(ctx, t.out(found), t.Backend)
	switch {
	case err != nil:
		return gatekeeper.Live{Position: gatekeeper.Unknown, Says: err.Error()}, nil
	case left > 0:
		l.Says = fmt.Sprintf("%s; %d requests still run on servers taken out", t.says(), left)
	default:
		l.Says = t.says()
	}
	return l, nil
}

// awaitEmpty gives how many requests still run on servers, at the latest after the drain time.
func (s *switcher) awaitEmpty(ctx context.Context, servers []string, backend string) (int, error) {
	if len(servers) == 0 {
		return 0, nil
	}
	until := time.Now().Add(time.Duration(s.settings.Drain))
	for {
		running, err := s.api.sessions(ctx, backend)
		if err != nil {
			return 0, err
		}
		left := 0
		for _, name := range servers {
			left += running[name]
		}
		if left == 0 || !time.Now().Before(until) {
			return left, nil
		}
		if err := wait(ctx, poll); err != nil {
			return left, nil // the deadline came first; what is known is told
		}
	}
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

func unavailable(err error) error {
	return gatekeeper.Errorf(gatekeeper.CodeUnavailable, "see whether HAProxy runs and its `stats socket` is where the connection says", "%w", err)
}

func noEffect(err error) error {
	if errors.Is(err, actions.ErrNoEffect) {
		return err
	}
	return fmt.Errorf("%w (%w)", err, actions.ErrNoEffect)
}

// partial is the error of a switch that changed something: it hides ErrNoEffect.
type partial struct {
	done int
	err  error
}

// Error says how far it came.
func (p partial) Error() string {
	return fmt.Sprintf("after %d commands were taken: %s", p.done, p.err)
}

// after gives the error of the command that came after n others.
func after(n int, err error) error {
	if n == 0 {
		return err
	}
	return partial{done: n, err: err}
}
