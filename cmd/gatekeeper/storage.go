package main

import (
	"context"
	"io"
	"log/slog"
	"path/filepath"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/gatekeeper-engine/gatekeeper/internal/etcd"
)

// store is where the journal and the flags are: an embedded etcd, or one that runs elsewhere.
type store interface {
	Client() *clientv3.Client
	OpenJournal(ctx context.Context) (*etcd.Journal, error)
	Snapshot(ctx context.Context) (io.ReadCloser, error)
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

// reached makes a nil of any kind of store a nil store.
func reached[S store](s S, err error) (store, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// storeDir is the embedded store's part of a data directory.
func storeDir(dataDir string) string { return filepath.Join(dataDir, "store") }
