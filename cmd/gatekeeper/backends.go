package main

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	prometheusapi "github.com/gatekeeper-engine/gatekeeper/internal/prometheus"
	"github.com/gatekeeper-engine/gatekeeper/internal/tsdb"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// backend is a metric backend by its name: what is asked goes to the source that the configuration
// of the moment gives the name.
type backend struct{ now atomic.Pointer[source] }

// Query asks the source of the moment; see [rules.Querier].
func (b *backend) Query(ctx context.Context, expr string, at time.Time) (rules.Vector, error) {
	return b.now.Load().Query(ctx, expr, at)
}

// QueryRange asks the source of the moment; see [rules.Querier].
func (b *backend) QueryRange(ctx context.Context, expr string, from, to time.Time, step time.Duration) (rules.Matrix, error) {
	return b.now.Load().QueryRange(ctx, expr, from, to, step)
}

var _ rules.RecordingQuerier = (*backend)(nil)

// WithRecordings gives the source of the moment with recording rules; see [rules.RecordingQuerier].
func (b *backend) WithRecordings(all []rules.Recording) (rules.Querier, error) {
	return rules.WithRecordings(b.now.Load().Querier, all)
}

// embedded says whether the backend is an embedded store.
func (b *backend) embedded() bool {
	_, ok := b.now.Load().settings.(tsdb.Config)
	return ok
}

// changed says whether c are other settings of the embedded store that the backend is.
func (b *backend) changed(c tsdb.Config) bool {
	is, ok := b.now.Load().settings.(tsdb.Config)
	return ok && !reflect.DeepEqual(is, c)
}

// source is where the samples come from.
type source struct {
	rules.Querier
	settings any                 // a prometheusapi.Config or a tsdb.Config
	metrics  prometheus.Gatherer // its own; nil: none
	close    func() error
}

// backends are the metric backends. One goroutine at a time opens, replaces and closes them.
type backends struct {
	log    *slog.Logger
	failed chan error // why a source ended by itself
	named  map[string]*backend
	shown  atomic.Pointer[prometheus.Gatherers] // the sources' own metrics
}

func newBackends(log *slog.Logger) *backends {
	b := &backends{log: log, failed: make(chan error, 1), named: map[string]*backend{}}
	b.shown.Store(&prometheus.Gatherers{})
	return b
}

// Gather gives the metrics of the sources of the moment.
func (b *backends) Gather() ([]*dto.MetricFamily, error) { return b.shown.Load().Gather() }

// prepare opens what is configured and not there yet, beside what is there: a source whose settings
// did not change is kept. Nothing else changes until the change is used.
func (b *backends) prepare(s settings) (*change, error) {
	c := &change{all: b, sources: map[string]*source{}, named: map[string]*backend{}}
	for name, settings := range s.prometheus {
		err := c.add(name, settings, func() (*source, error) { return openPrometheus(settings) })
		if err != nil {
			return nil, errors.Join(err, c.drop())
		}
	}
	for name, settings := range s.tsdb {
		err := c.add(name, settings, func() (*source, error) { return b.openTSDB(name, settings) })
		if err != nil {
			return nil, errors.Join(err, c.drop())
		}
	}
	return c, nil
}

func openPrometheus(c prometheusapi.Config) (*source, error) {
	q, err := prometheusapi.New(c)
	if err != nil {
		return nil, err
	}
	return &source{Querier: q, settings: c, close: q.Close}, nil
}

// openTSDB opens a store, which scrapes until it is closed.
func (b *backends) openTSDB(name string, c tsdb.Config) (*source, error) {
	reg := prometheus.NewRegistry()
	store, err := tsdb.Open(c, embedded(b.log).With("backend", name), prometheus.WrapRegistererWith(prometheus.Labels{"backend": name}, reg))
	if err != nil {
		return nil, err
	}
	go func() {
		if err := store.Run(context.Background()); err != nil {
			select {
			case b.failed <- err:
			default: // one is enough to end the daemon
			}
		}
	}()
	return &source{Querier: store, settings: c, metrics: reg, close: store.Close}, nil
}

// change is another set of backends, ready to be used.
type change struct {
	all     *backends
	sources map[string]*source
	named   map[string]*backend
	opened  []*source
}

func (c *change) add(name string, settings any, open func() (*source, error)) error {
	known, ok := c.all.named[name]
	if ok && reflect.DeepEqual(known.now.Load().settings, settings) {
		c.sources[name], c.named[name] = known.now.Load(), known
		return nil
	}
	s, err := open()
	if err != nil {
		return err
	}
	c.opened = append(c.opened, s)
	if !ok {
		known = &backend{}
		known.now.Store(s)
	}
	c.sources[name], c.named[name] = s, known
	return nil
}

// queriers gives the backends for the engine. They answer before the change is used, too.
func (c *change) queriers() map[string]rules.Querier {
	all := make(map[string]rules.Querier, len(c.named))
	for name, b := range c.named {
		all[name] = b
	}
	return all
}

// use has the change in force, and closes what is not needed any more.
func (c *change) use() error {
	gone := map[*source]bool{}
	for _, b := range c.all.named {
		gone[b.now.Load()] = true
	}
	var shown prometheus.Gatherers
	for name, s := range c.sources {
		delete(gone, s)
		c.named[name].now.Store(s)
		if s.metrics != nil {
			shown = append(shown, s.metrics)
		}
	}
	c.all.named = c.named
	c.all.shown.Store(&shown)
	return closeAll(maps.Keys(gone))
}

// drop closes what was opened for a change that is not used.
func (c *change) drop() error { return closeAll(slices.Values(c.opened)) }

// close closes every backend.
func (b *backends) close() error {
	return (&change{all: b}).use()
}

func closeAll(all iter.Seq[*source]) error {
	var errs []error
	for s := range all {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}
