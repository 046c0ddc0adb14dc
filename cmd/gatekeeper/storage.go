package main

import (
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"reflect"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/gatekeeper-engine/gatekeeper/internal/etcd"
	"github.com/gatekeeper-engine/gatekeeper/internal/retention"
)

// storeConfig is the configuration's section store: where it is, when it is not embedded, and how
// long it keeps what is over.
type storeConfig struct {
	etcd.ExternalConfig `yaml:",inline"`

	Retention model.Duration `yaml:"retention"` // of releases, from their last fact on; 0: all are kept
}

// defaultRetention keeps every release of a year: what a yearly audit looks at.
const defaultRetention = 365 * 24 * time.Hour

// external gives the settings of an etcd that runs elsewhere, or nil.
func (c storeConfig) external() *etcd.ExternalConfig {
	if reflect.ValueOf(c.ExternalConfig).IsZero() {
		return nil
	}
	return &c.ExternalConfig
}

// Validate says what is wrong with the settings.
func (c storeConfig) Validate() error {
	if c.Retention != 0 {
		if err := retention.Check(time.Duration(c.Retention)); err != nil {
			return err
		}
	}
	if x := c.external(); x != nil {
		return x.Validate()
	}
	return nil
}

// store is where the journal and the flags are: an embedded etcd, or one that runs elsewhere.
type store interface {
	Client() *clientv3.Client
	OpenJournal(ctx context.Context) (*etcd.Journal, error)
	Snapshot(ctx context.Context) (io.ReadCloser, error)
	Beside(ctx context.Context) (*etcd.Journal, error)
	Failed() <-chan struct{} // closed when only a restart of the process helps
	Ready() error
	Close() error
}

// openStore opens the store that the configuration names.
func openStore(ctx context.Context, s settings, log *slog.Logger) (store, error) {
	if s.external != nil {
		return reached(etcd.Connect(ctx, *s.external, log))
	}
	return reached(etcd.Start(ctx, etcd.Options{Dir: storeDir(s.DataDir), Log: embedded(log)}))
}

// measure registers how much room an embedded store takes; of another one its operator has that.
func measure(reg prometheus.Registerer, s store) {
	if embedded, ok := s.(*etcd.Server); ok {
		etcd.Measure(reg, embedded.Space)
	}
}

// reached makes a nil of any kind of store a nil store.
func reached[S store](s S, err error) (store, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// kept is a store with what prunes it.
type kept struct {
	store
	*retention.Keeper
}

// storeDir is the embedded store's part of a data directory.
func storeDir(dataDir string) string { return filepath.Join(dataDir, "store") }
