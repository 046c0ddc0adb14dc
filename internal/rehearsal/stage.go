package rehearsal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// stage is what rungs act on: systems that are in one state each. Releases of one script share them.
type stage struct {
	start time.Time

	mu      sync.Mutex
	systems map[string]*system
	rungs   map[string]Rung // scripts by release and system
}

// system is one thing that a rung brings back.
type system struct {
	live    string    // a version, or what somebody made of it
	arrives time.Time // when the last Apply is there
}

const (
	byHand  = "something that was changed by hand"
	planned = "what the plan sets"
)

func newStage(start time.Time) *stage {
	return &stage{start: start, systems: map[string]*system{}, rungs: map[string]Rung{}}
}

// systemOf names what a rung acts on: rungs with the same settings act on the same.
func systemOf(action, connection string, with json.RawMessage) string {
	var compact bytes.Buffer
	if len(with) == 0 || json.Compact(&compact, with) != nil {
		return strings.Join([]string{action, connection, string(with)}, " ")
	}
	return strings.Join([]string{action, connection, compact.String()}, " ")
}

// enter puts the systems of a release's plan on the stage, as the version before it left them.
func (s *stage) enter(release, previous string, plan []rules.RungSpec, scripts []Rung) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(scripts) > len(plan) {
		return gatekeeper.Errorf(gatekeeper.CodeInvalid, "Write one entry for each rung of the plan, in its order, or fewer.",
			"%d rungs are scripted, and the health file's rollback plan has %d", len(scripts), len(plan))
	}
	for i, rung := range plan {
		name := systemOf(rung.Action, rung.Connection, rung.With)
		if _, known := s.systems[name]; !known {
			if previous == "" {
				previous = "the version before"
			}
			s.systems[name] = &system{live: previous}
		}
		if i >= len(scripts) {
			continue
		}
		if want := scripts[i].Action; want != "" && want != rung.Action {
			return gatekeeper.Errorf(gatekeeper.CodeInvalid, "Write the rungs in the plan's order.",
				"rung %d is scripted as %s, and the plan has %s there", i+1, want, rung.Action)
		}
		s.rungs[release+" "+name] = scripts[i]
	}
	return nil
}

// put changes what is live at the systems of a release's plan that which allows.
func (s *stage) put(release, live string, plan []rules.RungSpec, which func(i int, r Rung) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, rung := range plan {
		name := systemOf(rung.Action, rung.Connection, rung.With)
		if which(i, s.rungs[release+" "+name]) {
			s.systems[name].live, s.systems[name].arrives = live, time.Time{}
		}
	}
}

// actor is a scripted action: one rung of one release.
type actor struct {
	stage  *stage
	system string
	script Rung
}

// open binds a scripted action in the place of a real one.
func (s *stage) open(spec actions.Spec) func(json.RawMessage, actions.Binding) (actions.Action, error) {
	return func(with json.RawMessage, b actions.Binding) (actions.Action, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		name := systemOf(spec.Name, b.Connection.Name, with)
		if s.systems[name] == nil {
			s.systems[name] = &system{live: "the version before"}
		}
		return &actor{stage: s, system: name, script: s.rungs[b.Subject.Release+" "+name]}, nil
	}
}

// trouble is what Prepare or Apply does now.
func (a *actor) trouble(e Effect) Effect {
	if e == "" || a.script.Until != 0 && time.Since(a.stage.start) >= a.script.Until {
		return Works
	}
	return e
}

var errScripted = errors.New("the test's script says so")

// fail does what a broken effect does.
func fail(ctx context.Context, e Effect) error {
	switch e {
	case Refuses:
		return fmt.Errorf("refused: %w: %w", errScripted, actions.ErrNoEffect)
	case Fails:
		return fmt.Errorf("failed: %w", errScripted)
	case Hangs:
		<-ctx.Done()
		return ctx.Err()
	case Works, LosesReply:
	}
	return nil
}

// Prepare pins what is live, or what the plan sets.
func (a *actor) Prepare(ctx context.Context) (gatekeeper.Target, error) {
	if err := fail(ctx, a.trouble(a.script.Prepare)); err != nil {
		return gatekeeper.Target{}, err
	}
	a.stage.mu.Lock()
	defer a.stage.mu.Unlock()
	kind, to := gatekeeper.Restore, a.stage.systems[a.system].live
	if a.script.Set {
		kind, to = gatekeeper.Set, planned
	}
	data, err := json.Marshal(to)
	return gatekeeper.Target{Kind: kind, Version: 1, Data: data, Says: to}, err
}

// Apply brings the system back, unless the script has something else.
func (a *actor) Apply(ctx context.Context, t gatekeeper.Target, _ gatekeeper.Key) (gatekeeper.Receipt, error) {
	trouble := a.trouble(a.script.Apply)
	if err := fail(ctx, trouble); err != nil {
		return gatekeeper.Receipt{}, err
	}
	to, err := liveOf(t)
	if err != nil {
		return gatekeeper.Receipt{}, err
	}
	a.stage.mu.Lock()
	a.stage.systems[a.system].live, a.stage.systems[a.system].arrives = to, time.Now().Add(a.script.Takes)
	a.stage.mu.Unlock()
	if trouble == LosesReply {
		<-ctx.Done()
		return gatekeeper.Receipt{}, ctx.Err()
	}
	return gatekeeper.Receipt{Says: "accepted: back to " + to}, nil
}

// Observe tells what is live.
func (a *actor) Observe(_ context.Context, t gatekeeper.Target) (gatekeeper.Live, error) {
	to, err := liveOf(t)
	if err != nil {
		return gatekeeper.Live{}, err
	}
	a.stage.mu.Lock()
	defer a.stage.mu.Unlock()
	s := a.stage.systems[a.system]
	live := gatekeeper.Live{Position: gatekeeper.Elsewhere, Print: s.live, Says: s.live + " is live"}
	switch {
	case s.live == to && time.Now().Before(s.arrives):
		live.Position, live.Says = gatekeeper.InProgress, "on the way back to "+to
	case s.live == to:
		live.Position = gatekeeper.AtTarget
	}
	return live, nil
}

func liveOf(t gatekeeper.Target) (to string, err error) {
	err = json.Unmarshal(t.Data, &to)
	return to, err
}
