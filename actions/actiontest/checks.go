package actiontest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
)

const (
	soon  = 300 * time.Millisecond // a deadline that is meant to pass
	grace = 3 * time.Second        // that a call may take beyond its deadline on a busy machine
	key   = gatekeeper.Key("conformance/1")
)

var checks = []struct {
	name  string
	check func(*probe)
}{
	{"prepare pins a target and changes nothing", pins},
	{"apply brings the target about, twice like once", applies},
	{"observe tells the target from elsewhere", observes},
	{"a target survives JSON and a fresh action", survives},
	{"a system that refuses is changed in nothing", refuses},
	{"an unreachable system is unknown", unreachable},
	{"a hanging system is left at the deadline", hangs},
	{"a hanging system is left when cancelled", cancels},
	{"many releases use it at once", shares},
}

// TestingT is what a check needs of a test; [testing.T] has it.
type TestingT interface {
	require.TestingT
	Helper()
}

// probe calls the action and keeps watch over what holds for every call.
type probe struct {
	T TestingT
	System
	safety   gatekeeper.RetrySafety
	patience time.Duration // for what should work
}

// clean fails if a text holds a secret.
func (p *probe) clean(where string, v any) {
	p.T.Helper()
	text := fmt.Sprintf("%+v", v)
	if err, ok := v.(error); ok {
		text = err.Error() + " " + gatekeeper.HintOf(err)
	}
	for _, secret := range p.Secrets {
		if strings.Contains(text, secret) {
			require.FailNow(p.T, "a secret is shown", "%s shows a secret: %s", where, strings.ReplaceAll(text, secret, "<SECRET>"))
		}
	}
}

func (p *probe) tryPrepare(ctx context.Context, a actions.Action) (gatekeeper.Target, error) {
	p.T.Helper()
	t, err := a.Prepare(ctx)
	if err != nil {
		p.clean("Prepare's error", err)
		return t, err
	}
	p.clean("the target", string(t.Data)+t.Says)
	return t, nil
}

func (p *probe) prepare() gatekeeper.Target {
	p.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), p.patience)
	defer cancel()
	t, err := p.tryPrepare(ctx, p.Open())
	require.NoError(p.T, err, "Prepare")
	return t
}

func (p *probe) apply(ctx context.Context, t gatekeeper.Target) (gatekeeper.Receipt, error) {
	p.T.Helper()
	r, err := p.Open().Apply(ctx, t, key)
	if err != nil {
		p.clean("Apply's error", err)
		return r, err
	}
	p.clean("the receipt", r)
	return r, nil
}

func (p *probe) mustApply(t gatekeeper.Target) {
	p.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), p.patience)
	defer cancel()
	r, err := p.apply(ctx, t)
	require.NoError(p.T, err, "Apply")
	require.NotEmpty(p.T, r.Says, "a receipt says something to people")
}

func (p *probe) observe(ctx context.Context, t gatekeeper.Target) gatekeeper.Live {
	p.T.Helper()
	l, err := p.Open().Observe(ctx, t)
	if err != nil {
		p.clean("Observe's error", err)
	}
	require.NoError(p.T, err, "Observe of a target that Prepare gave")
	require.NotEmpty(p.T, l.Says, "a live state says something to people")
	require.Contains(p.T, []gatekeeper.Position{gatekeeper.AtTarget, gatekeeper.InProgress, gatekeeper.Elsewhere, gatekeeper.Unknown}, l.Position)
	if l.Position == gatekeeper.Unknown {
		require.Empty(p.T, l.Print, "what is unknown has no print")
	}
	p.clean("a live state", l)
	return l
}

// reach observes until the target is reached.
func (p *probe) reach(t gatekeeper.Target) gatekeeper.Live {
	p.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), p.patience)
	defer cancel()
	for {
		l := p.observe(ctx, t)
		if l.Position == gatekeeper.AtTarget {
			return l
		}
		select {
		case <-ctx.Done():
			require.FailNow(p.T, "not at the target in time", "it is %s: %s", l.Position, l.Says)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func pins(p *probe) {
	before := p.State()
	t := p.prepare()
	require.Contains(p.T, []gatekeeper.TargetKind{gatekeeper.Restore, gatekeeper.Set}, t.Kind)
	require.Positive(p.T, t.Version)
	require.NotEmpty(p.T, t.Says, "a target has a sentence for people")
	require.True(p.T, json.Valid(t.Data), "a target's data is JSON")
	require.Equal(p.T, t, p.prepare(), "Prepare of the same state pins the same")

	ctx, cancel := context.WithTimeout(context.Background(), p.patience)
	defer cancel()
	p.observe(ctx, t)
	require.Equal(p.T, before, p.State(), "Prepare and Observe change nothing")
	if p.Effects != nil {
		require.Zero(p.T, p.Effects())
	}
}

func applies(p *probe) {
	t := p.prepare()
	p.Release()
	released := p.State()
	p.mustApply(t)
	if blind(p.Open()) {
		p.mustApplyAgain(t)
		return
	}
	p.reach(t)
	once := p.State()
	require.NotEqual(p.T, released, once, "Apply changed the live system")
	p.mustApplyAgain(t)
	p.reach(t)
	require.Equal(p.T, once, p.State(), "applied twice is like once: never a toggle")
}

// mustApplyAgain repeats Apply where the action says that it may be repeated.
func (p *probe) mustApplyAgain(t gatekeeper.Target) {
	p.T.Helper()
	if p.safety != gatekeeper.NoRetry {
		p.mustApply(t)
	}
	if p.Effects != nil && p.safety != gatekeeper.ByTarget {
		require.Equal(p.T, 1, p.Effects(), "one effect per key")
	}
}

func observes(p *probe) {
	t := p.prepare()
	p.Release()
	ctx, cancel := context.WithTimeout(context.Background(), p.patience)
	defer cancel()
	if blind(p.Open()) {
		require.Equal(p.T, gatekeeper.Unknown, p.observe(ctx, t).Position, "a blind action knows nothing")
		return
	}
	released := p.observe(ctx, t)
	require.Equal(p.T, gatekeeper.Elsewhere, released.Position, released.Says)
	require.Equal(p.T, released.Print, p.observe(ctx, t).Print, "the same state has the same print")
	p.mustApply(t)
	reached := p.reach(t)
	if released.Print != "" || reached.Print != "" {
		require.NotEqual(p.T, released.Print, reached.Print, "different states have different prints")
	}
	require.NotEqual(p.T, released.Says, reached.Says, "different states say so")
}

func survives(p *probe) {
	pinned := p.prepare()
	text, err := json.Marshal(pinned)
	require.NoError(p.T, err)
	var t gatekeeper.Target
	require.NoError(p.T, json.Unmarshal(text, &t))
	p.Release()
	p.mustApply(t)
	if !blind(p.Open()) {
		p.reach(t)
		p.reach(pinned)
	}
}

func refuses(p *probe) {
	t := p.prepare()
	p.Release()
	p.Refuse()
	before := p.State()
	ctx, cancel := context.WithTimeout(context.Background(), p.patience)
	defer cancel()
	_, err := p.apply(ctx, t)
	require.ErrorIs(p.T, err, actions.ErrNoEffect, "a refusal certainly changed nothing")
	require.Equal(p.T, before, p.State())
}

func unreachable(p *probe) {
	t := p.prepare()
	p.Release()
	p.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), p.patience)
	defer cancel()
	l := p.observe(ctx, t)
	require.Equal(p.T, gatekeeper.Unknown, l.Position, l.Says)
	_, err := p.apply(ctx, t)
	require.ErrorIs(p.T, err, actions.ErrNoEffect, "who could not be reached was not changed")
	_, err = p.tryPrepare(ctx, p.Open())
	require.Error(p.T, err, "Prepare proves that the system can be reached")
}

func hangs(p *probe) {
	p.abandons(func() (context.Context, context.CancelFunc) {
		return context.WithTimeout(context.Background(), soon)
	})
}

func cancels(p *probe) {
	p.abandons(func() (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancel(context.Background())
		timer := time.AfterFunc(soon, cancel)
		return ctx, func() { timer.Stop(); cancel() }
	})
}

// abandons checks that no call outlives its context when the system hangs.
func (p *probe) abandons(limited func() (context.Context, context.CancelFunc)) {
	t := p.prepare()
	p.Release()
	p.Hang()
	for name, call := range map[string]func(context.Context) error{
		"Apply": func(ctx context.Context) error { _, err := p.apply(ctx, t); return err },
		"Observe": func(ctx context.Context) error {
			if l := p.observe(ctx, t); l.Position == gatekeeper.Unknown {
				return errors.New(l.Says)
			}
			return nil
		},
		"Prepare": func(ctx context.Context) error { _, err := p.tryPrepare(ctx, p.Open()); return err },
	} {
		if blind(p.Open()) && name != "Apply" {
			continue // it may have nobody to ask
		}
		ctx, cancel := limited()
		began := time.Now()
		err := call(ctx)
		took := time.Since(began)
		cancel()
		require.Error(p.T, err, "%s of a hanging system knows nothing", name)
		require.Less(p.T, took, soon+grace, "%s outlived its context", name)
	}
}

func shares(p *probe) {
	t := p.prepare()
	ctx, cancel := context.WithTimeout(context.Background(), p.patience)
	defer cancel()
	one := p.Open()
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() {
			a := one
			if i%2 == 0 {
				a = p.Open()
			}
			if _, err := a.Prepare(ctx); err != nil {
				errs[i] = fmt.Errorf("prepare: %w", err)
				return
			}
			if _, err := a.Observe(ctx, t); err != nil {
				errs[i] = fmt.Errorf("observe: %w", err)
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(p.T, err)
	}
}
