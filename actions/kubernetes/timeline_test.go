package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
	"github.com/gatekeeper-engine/gatekeeper/engine"
	"github.com/gatekeeper-engine/gatekeeper/internal/memory"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// scene is the engine on a workload of the real cluster, with metrics by a script.
type scene struct {
	*shop
	metrics *metrics
	journal *memory.Journal
	e       *engine.Engine
	stop    func()
}

func startScene(t *testing.T) *scene {
	s := &scene{shop: startShop(t, deployment), metrics: &metrics{errors: map[string]float64{"v1": 0}}, journal: memory.New()}
	t.Cleanup(func() { s.stop() })
	s.boot(s.journal)
	return s
}

func (s *scene) boot(j gatekeeper.Journal) {
	s.t.Helper()
	registry, err := actions.NewRegistry(Specs()...)
	require.NoError(s.t, err)
	e, err := engine.New(engine.Config{
		Journal: j, Backends: map[string]rules.Querier{"": s.metrics}, Actions: registry,
		Connections: map[string]actions.Connection{"shop-cluster": {Name: "shop-cluster", Kind: Kind, Settings: json.RawMessage(fmt.Sprintf(`{"kubeconfig":%q}`, s.config))}},
		Phase:       func(string, string, string, time.Duration) time.Duration { return 0 },
	})
	require.NoError(s.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() {
		defer close(over)
		if err := e.Run(ctx); err != nil && !errors.Is(err, gatekeeper.ErrFenced) && !errors.Is(err, errDead) {
			s.t.Errorf("engine: %v", err)
		}
	}()
	s.e, s.stop = e, func() { cancel(); <-over }
	require.Eventually(s.t, func() bool { return e.Ready() == nil }, 5*time.Second, 5*time.Millisecond)
}

// restart ends the engine as kill -9 would and starts another on the journal.
func (s *scene) restart() {
	s.t.Helper()
	s.journal = s.journal.Reopen()
	s.stop()
	s.boot(s.journal)
}

// opened opens a release of the version over v1.
func (s *scene) opened(version, expr string, with ...func(*engine.OpenRequest)) string {
	s.t.Helper()
	file := fmt.Sprintf(`
service: checkout
window: 30m
groups:
  - name: g
    interval: 1s
    rules:
      - {alert: R, expr: '%s > 0.01', for: 1s}
rollback:
  - action: kubernetes/rollout-undo
    connection: shop-cluster
    with: %s
    recover_within: 30s
`, expr, s.with())
	req := engine.OpenRequest{Version: version, PreviousVersion: "v1", Bundle: &rules.Bundle{Name: "health.yml", File: file}}
	for _, f := range with {
		f(&req)
	}
	r, err := s.e.Open(s.t.Context(), req)
	require.NoError(s.t, err)
	require.Equal(s.t, gatekeeper.Waiting, r.State, "%+v", r.Rungs)
	return r.ID
}

const bound = `errors{service="${service}", version="${version}"}`

// deployed tells that the version is there, with an error ratio.
func (s *scene) deployed(id, version string, ratio float64) {
	s.t.Helper()
	s.metrics.set(version, ratio)
	_, err := s.e.Deployed(s.t.Context(), id, engine.By{Actor: "pipeline"})
	require.NoError(s.t, err)
}

// until waits for a state of the release.
func (s *scene) until(id string, want gatekeeper.State) gatekeeper.Release {
	s.t.Helper()
	var r gatekeeper.Release
	deadline := time.Now().Add(40 * time.Second)
	for r.State != want {
		require.True(s.t, time.Now().Before(deadline), "it is %s, not %s: %s", r.State, want, s.story(id))
		var err error
		r, err = s.e.Release(s.t.Context(), id)
		require.NoError(s.t, err)
		time.Sleep(5 * time.Millisecond)
	}
	return r
}

func (s *scene) story(id string) string {
	facts, err := s.e.Facts(context.Background(), id)
	require.NoError(s.t, err)
	var all strings.Builder
	for _, f := range facts {
		body, err := json.Marshal(f.Body)
		require.NoError(s.t, err)
		fmt.Fprintf(&all, "\n  %s %s %.300s", f.At.Format("05.000"), f.Body.Kind(), body)
	}
	return all.String()
}

func (s *scene) rolledBack(id string) gatekeeper.Release {
	s.t.Helper()
	r := s.until(id, gatekeeper.Ended)
	require.Equal(s.t, gatekeeper.OutcomeRolledBack, r.Outcome, s.story(id))
	s.rolledOut("checkout:1")
	w := s.live()
	require.Equal(s.t, id+"/1", w.Annotations[keyAnnotation])
	return r
}

// metrics answers queries about the series errors of each version that serves.
type metrics struct {
	mu     sync.Mutex
	errors map[string]float64
}

func (m *metrics) set(version string, ratio float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.errors[version] = ratio
}

var versionOf = regexp.MustCompile(`version="(v\d)"`)

func (m *metrics) value(expr string) (float64, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	version := "v1" // what isn't bound to a version sees the old one
	if found := versionOf.FindStringSubmatch(expr); found != nil {
		version = found[1]
	}
	v, ok := m.errors[version]
	return v, ok && (!strings.Contains(expr, ">") || v > 0.01)
}

func (m *metrics) Query(_ context.Context, expr string, _ time.Time) (rules.Vector, error) {
	if v, ok := m.value(expr); ok {
		return rules.Vector{Samples: []gatekeeper.Sample{{Labels: map[string]string{"service": "checkout"}, Value: gatekeeper.Float(v)}}}, nil
	}
	return rules.Vector{}, nil
}

func (m *metrics) QueryRange(_ context.Context, expr string, from, to time.Time, step time.Duration) (rules.Matrix, error) {
	v, ok := m.value(expr)
	if !ok {
		return rules.Matrix{}, nil
	}
	series := rules.Series{Labels: map[string]string{"service": "checkout"}}
	for at := from; !at.After(to); at = at.Add(step) {
		series.Points = append(series.Points, rules.Point{At: at, Value: gatekeeper.Float(v)})
	}
	return rules.Matrix{Series: []rules.Series{series}}, nil
}

var errDead = errors.New("the process is dead")

// dying is a journal whose process dies: from one kind of fact on nothing more is recorded.
type dying struct {
	gatekeeper.Journal
	kind  gatekeeper.Kind
	keeps bool // the fact itself is recorded
	dead  atomic.Bool
}

func (d *dying) Commit(ctx context.Context, entries ...gatekeeper.Entry) error {
	if d.dead.Load() {
		return errDead
	}
	here := slices.ContainsFunc(entries, func(e gatekeeper.Entry) bool {
		return slices.ContainsFunc(e.Facts, func(f gatekeeper.Fact) bool { return f.Body.Kind() == d.kind })
	})
	if !here {
		return d.Journal.Commit(ctx, entries...)
	}
	defer d.dead.Store(true)
	if !d.keeps {
		return errDead
	}
	if err := d.Journal.Commit(ctx, entries...); err != nil {
		return err
	}
	return errDead
}

// Facts says nothing once the process is dead, so that it doesn't learn of its last write.
func (d *dying) Facts(ctx context.Context, id string) ([]gatekeeper.Fact, error) {
	if d.dead.Load() {
		return nil, errDead
	}
	return d.Journal.Facts(ctx, id)
}

// dies boots an engine that dies at the kind of fact, and gives when that is so.
func (s *scene) dies(kind gatekeeper.Kind, keeps bool) (dead func() bool) {
	s.t.Helper()
	s.stop()
	d := &dying{Journal: s.journal, kind: kind, keeps: keeps}
	s.boot(d)
	return d.dead.Load
}

func TestClusterTimeline_T19_KilledAfterDecided(t *testing.T) {
	s := startScene(t)
	dead := s.dies(gatekeeper.KindDecided, true)
	id := s.opened("v2", bound)
	s.deploy("checkout:2")
	s.rolledOut("checkout:2")
	s.deployed(id, "v2", 0.05)
	require.Eventually(t, dead, 20*time.Second, 5*time.Millisecond)
	time.Sleep(300 * time.Millisecond) // an effect without a durable intent would come now
	require.Equal(t, "image checkout:2", s.live().template.images(), "no effect before its intent is durable")
	s.restart()
	r := s.rolledBack(id)
	require.Len(t, r.Rungs[0].Attempts, 1)
	require.Equal(t, "3", s.live().Annotations[revisionAnnotation], "one effect")
}

func TestClusterTimeline_T20_KilledBeforeTheReceipt(t *testing.T) {
	s := startScene(t)
	dead := s.dies(gatekeeper.KindAttempted, false)
	id := s.opened("v2", bound)
	s.deploy("checkout:2")
	s.rolledOut("checkout:2")
	s.deployed(id, "v2", 0.05)
	require.Eventually(t, dead, 20*time.Second, 5*time.Millisecond)
	s.rolledOut("checkout:1")
	s.restart()
	r := s.rolledBack(id)
	require.Len(t, r.Rungs[0].Attempts, 1, "no second Apply")
	require.Equal(t, gatekeeper.ResultUnknown, r.Rungs[0].Attempts[0].Result)
	require.Equal(t, "3", s.live().Annotations[revisionAnnotation], "one effect")
}

func TestClusterTimeline_T24_AnotherVersionWhileWatching(t *testing.T) {
	s := startScene(t)
	second := s.opened("v2", bound)
	s.deploy("checkout:2")
	s.rolledOut("checkout:2")
	s.deployed(second, "v2", 0)
	third := s.opened("v3", bound)
	require.Equal(t, gatekeeper.OutcomeSuperseded, s.until(second, gatekeeper.Ended).Outcome)
	s.deploy("checkout:3")
	s.rolledOut("checkout:3")
	s.deployed(third, "v3", 0.05)
	r := s.rolledBack(third)
	require.Contains(t, r.Rungs[0].Target.Says, "image checkout:1")
}

func TestClusterTimeline_T26_ChangedByHand(t *testing.T) {
	s := startScene(t)
	id := s.opened("v2", bound)
	s.deploy("checkout:2")
	s.rolledOut("checkout:2")
	s.deployed(id, "v2", 0)
	s.deploy("checkout:2-hotfix")
	s.metrics.set("v2", 0.05)
	r := s.until(id, gatekeeper.Holding)
	require.Contains(t, r.Hold.Says, "image checkout:2-hotfix")
	require.Contains(t, r.Hold.Says, "released was deployment "+s.namespace+"/checkout has image checkout:2:")
	require.Contains(t, r.Hold.Says, "image checkout:1")
	require.Equal(t, "image checkout:2-hotfix", s.live().template.images())
	_, err := s.e.Approve(t.Context(), id, engine.By{Actor: "ann"})
	require.NoError(t, err)
	s.rolledBack(id)
}

func TestClusterTimeline_T27_NothingWasDeployed(t *testing.T) {
	s := startScene(t)
	id := s.opened("v2", `errors{service="${service}"}`)
	s.deployed(id, "v2", 0)
	s.metrics.set("v1", 0.05)
	r := s.until(id, gatekeeper.Holding)
	require.Contains(t, r.Hold.Says, "there is nothing to roll back")
	require.Equal(t, "1", s.live().Annotations[revisionAnnotation])
}

func TestClusterPreviousForAReleaseOpenedAfterTheDeploy(t *testing.T) {
	s := startScene(t)
	s.deploy("checkout:2")
	s.rolledOut("checkout:2")
	id := s.opened("v2", bound, func(req *engine.OpenRequest) {
		req.AfterDeploy = true
		req.Bundle.File += "    return_to: previous\n"
	})
	s.deployed(id, "v2", 0.05)
	r := s.rolledBack(id)
	require.Contains(t, r.Rungs[0].Target.Says, "image checkout:1")
	facts, err := s.e.Facts(t.Context(), id)
	require.NoError(t, err)
	require.True(t, slices.ContainsFunc(facts, func(f gatekeeper.Fact) bool {
		seen, ok := f.Body.(gatekeeper.Observed)
		return ok && seen.Live.Position == gatekeeper.InProgress && strings.Contains(seen.Live.Says, "has image checkout:1: ")
	}), "the rollout's progress is in the timeline: %s", s.story(id))
}

func TestClusterDeletedWhileWatching(t *testing.T) {
	s := startScene(t)
	id := s.opened("v2", bound)
	s.deploy("checkout:2")
	s.rolledOut("checkout:2")
	s.deployed(id, "v2", 0)
	require.NoError(t, s.workloads().Delete(t.Context(), "checkout", metav1.DeleteOptions{}))
	s.metrics.set("v2", 0.05)
	r := s.until(id, gatekeeper.Holding)
	require.Contains(t, r.Hold.Says, "does not exist any more")
}
