package flags

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
	"github.com/gatekeeper-engine/gatekeeper/actions/actiontest"
	"github.com/gatekeeper-engine/gatekeeper/actions/flag"
	"github.com/gatekeeper-engine/gatekeeper/internal/etcd"
)

// place is a store that flags and their audit records are kept in.
type place struct {
	*etcd.Server
	*etcd.Journal
}

func server(t *testing.T) place {
	t.Helper()
	s, err := etcd.Start(t.Context(), etcd.Options{Dir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	j, err := s.OpenJournal(t.Context())
	require.NoError(t, err)
	return place{s, j}
}

var alice = gatekeeper.By{Actor: "alice", Means: gatekeeper.MeansToken, Why: "because"}

func open(t *testing.T, p place) *Store {
	t.Helper()
	s, err := Open(t.Context(), p.Client(), p.Journal, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

func put(t *testing.T, s *Store, f Flag) Flag {
	t.Helper()
	f, err := s.Put(t.Context(), f, alice)
	require.NoError(t, err)
	return f
}

func requireCode(t *testing.T, code gatekeeper.Code, err error) {
	t.Helper()
	require.Equal(t, code, gatekeeper.CodeOf(err), "%v", err)
	require.NotEmpty(t, gatekeeper.HintOf(err))
}

func TestStore(t *testing.T) {
	s := open(t, server(t))
	require.Equal(t, ErrorNotFound, s.Evaluate("f", Context{}).Error)
	require.Empty(t, s.List())

	first := put(t, s, Flag{Key: "f", Enabled: true, Percentage: 100})
	require.Positive(t, first.Version)
	require.Equal(t, true, s.Evaluate("f", Context{}).Value, "visible at once")
	_, err := s.Put(t.Context(), Flag{Key: "f"}, alice)
	requireCode(t, gatekeeper.CodeConflict, err)

	change := first
	change.Enabled = false
	second := put(t, s, change)
	require.Greater(t, second.Version, first.Version)
	require.Equal(t, ReasonDisabled, s.Evaluate("f", Context{}).Reason)
	_, err = s.Put(t.Context(), change, alice)
	requireCode(t, gatekeeper.CodeConflict, err)
	requireCode(t, gatekeeper.CodeConflict, s.Delete(t.Context(), "f", first.Version, alice))
	requireCode(t, gatekeeper.CodeInvalid, s.Delete(t.Context(), "f", 0, alice))

	got, err := s.Get(t.Context(), "f")
	require.NoError(t, err)
	require.Equal(t, second, got)
	got.Variants["on"] = "changed by the reader"
	require.Equal(t, []Flag{second}, s.List())

	put(t, s, Flag{Key: "a"})
	require.Equal(t, []string{"a", "f"}, []string{s.List()[0].Key, s.List()[1].Key})
	require.NoError(t, s.Delete(t.Context(), "f", second.Version, alice))
	require.Equal(t, ErrorNotFound, s.Evaluate("f", Context{}).Error)
	_, err = s.Get(t.Context(), "f")
	requireCode(t, gatekeeper.CodeNotFound, err)
	_, err = s.Put(t.Context(), second, alice)
	requireCode(t, gatekeeper.CodeNotFound, err)
	again := put(t, s, Flag{Key: "f"})
	require.Greater(t, again.Version, second.Version, "a version never comes back")
}

func TestFollowsChangesOfOthers(t *testing.T) {
	srv := server(t)
	one := open(t, srv)
	f := put(t, one, Flag{Key: "f"})
	two := open(t, srv)
	require.Equal(t, one.List(), two.List(), "loaded")
	f.Enabled = true
	f = put(t, one, f)
	require.Eventually(t, func() bool { return two.List()[0].Version == f.Version }, 10*time.Second, time.Millisecond)
	require.NoError(t, one.Delete(t.Context(), "f", f.Version, alice))
	require.Eventually(t, func() bool { return len(two.List()) == 0 }, 10*time.Second, time.Millisecond)
}

func TestServesWhileEtcdIsDown(t *testing.T) {
	srv := server(t)
	s := open(t, srv)
	f := put(t, s, Flag{Key: "f", Enabled: true, Percentage: 100})
	require.NoError(t, srv.Close())
	require.Equal(t, true, s.Evaluate("f", Context{}).Value)
	require.Len(t, s.List(), 1)
	f.Enabled = false
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := s.Put(ctx, f, alice)
	requireCode(t, gatekeeper.CodeUnavailable, err)
	require.Equal(t, true, s.Evaluate("f", Context{}).Value, "what is not stored is not served")
}

func TestOldNewsChangesNothing(t *testing.T) {
	s := &Store{seen: make(map[string]int64)}
	s.flags.Store(&map[string]*definition{})
	s.remember("f", served(t, Flag{Enabled: true}), 10)
	s.remember("f", nil, 12)
	s.remember("f", served(t, Flag{}), 11)
	require.Empty(t, s.List(), "a deleted flag came back")
}

func TestConcurrentChanges(t *testing.T) {
	s := open(t, server(t))
	f := put(t, s, Flag{Key: "f"})
	var wg sync.WaitGroup
	won := make([]bool, 8)
	for i := range won {
		wg.Go(func() {
			_, err := s.Put(t.Context(), f, alice)
			won[i] = err == nil
			_ = s.EvaluateAll(Context{TargetingKey: "ann"})
		})
	}
	wg.Wait()
	n := 0
	for _, w := range won {
		if w {
			n++
		}
	}
	require.Equal(t, 1, n)
}

func TestCorruptedDefinition(t *testing.T) {
	srv := server(t)
	_, err := srv.Client().Put(t.Context(), prefix+"f", `{"variants":{"on":3}}`)
	require.NoError(t, err)
	_, err = Open(t.Context(), srv.Client(), srv.Journal, slog.New(slog.DiscardHandler))
	requireCode(t, gatekeeper.CodeInternal, err)
}

// faulty is etcd's key-value API with faults.
type faulty struct {
	clientv3.KV
	mu   sync.Mutex
	mode string // "", refuse, stop, hang
}

func (f *faulty) set(mode string) func() {
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.mode = mode
	}
}

func (f *faulty) fault(modes ...string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range modes {
		if f.mode != m {
			continue
		}
		switch m {
		case "refuse":
			return rpctypes.ErrNoSpace
		case "stop":
			return errors.New("connection refused")
		}
	}
	return nil
}

// hang waits longer than any deadline allows.
func (f *faulty) hang(ctx context.Context) {
	f.mu.Lock()
	hangs := f.mode == "hang"
	f.mu.Unlock()
	if hangs {
		<-ctx.Done()
	}
}

// Get implements clientv3.KV.
func (f *faulty) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	if err := f.fault("stop"); err != nil {
		return nil, err
	}
	f.hang(ctx)
	return f.KV.Get(ctx, key, opts...)
}

// Txn implements clientv3.KV.
func (f *faulty) Txn(ctx context.Context) clientv3.Txn { return &faultyTxn{f.KV.Txn(ctx), f} }

type faultyTxn struct {
	clientv3.Txn
	f *faulty
}

func (t *faultyTxn) If(c ...clientv3.Cmp) clientv3.Txn  { t.Txn = t.Txn.If(c...); return t }
func (t *faultyTxn) Then(o ...clientv3.Op) clientv3.Txn { t.Txn = t.Txn.Then(o...); return t }
func (t *faultyTxn) Else(o ...clientv3.Op) clientv3.Txn { t.Txn = t.Txn.Else(o...); return t }

func (t *faultyTxn) Commit() (*clientv3.TxnResponse, error) {
	if err := t.f.fault("refuse", "stop"); err != nil {
		return nil, err
	}
	return t.Txn.Commit()
}

func TestFlagSet(t *testing.T) {
	for name, with := range map[string]string{
		"off":        `{"flag":"f","enabled":false}`,
		"variant":    `{"flag":"f","variant":"off"}`,
		"percentage": `{"flag":"f","percentage":0}`,
		"restore":    `{"flag":"f","restore":true}`,
	} {
		t.Run(name, func(t *testing.T) {
			actiontest.Run(t, gatekeeper.ByTarget, func(t *testing.T) actiontest.System { return system(t, with) })
		})
	}
}

func system(t *testing.T, with string) actiontest.System {
	srv := server(t)
	kv := &faulty{KV: srv.Client().KV}
	t.Cleanup(kv.set(""))
	srv.Client().KV = kv
	s := open(t, srv)
	put(t, s, Flag{Key: "f", Enabled: true, Percentage: 10, Allow: []string{"ann"}})
	registry, err := actions.NewRegistry(flag.Set(s.Serving()))
	require.NoError(t, err)
	return actiontest.System{
		Open: func() actions.Action {
			a, _, err := registry.Open("flag/set", []byte(with), actions.Binding{Connection: actions.Connection{Name: "flags", Kind: "flags"}})
			require.NoError(t, err)
			return a
		},
		Release: func() {
			f := s.List()[0]
			f.Enabled, f.Percentage, f.Allow = true, 50, nil
			put(t, s, f)
		},
		State: func() string {
			f := s.List()[0]
			d, e := define(f), Context{TargetingKey: "ann"}
			return string(encode([]any{f.Enabled, f.On, f.Off, f.Percentage, f.Allow, d.evaluate(e).Variant}))
		},
		Refuse: kv.set("refuse"),
		Stop:   kv.set("stop"),
		Hang:   kv.set("hang"),
	}
}

func TestFlagSetBySomebodyElseMeanwhile(t *testing.T) {
	s := open(t, server(t))
	f := put(t, s, Flag{Key: "f", Enabled: true, Percentage: 100})
	v := s.Serving()
	state, err := v.Read(t.Context(), "f")
	require.NoError(t, err)
	f.Description = "changed by a person"
	put(t, s, f)
	state.Enabled = false
	_, err = v.Write(t.Context(), "f", state)
	require.Equal(t, gatekeeper.CodeConflict, gatekeeper.CodeOf(err))
	require.ErrorIs(t, err, actions.ErrNoEffect)
	require.True(t, s.List()[0].Enabled)
}
