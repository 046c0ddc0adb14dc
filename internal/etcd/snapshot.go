package etcd

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"

	"go.etcd.io/bbolt"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"

	"github.com/gatekeeper-engine/gatekeeper"
)

// sector is what the size of a database is a multiple of, in bytes: a snapshot is longer by its
// checksum (etcdctl's format).
const sector = 512

// Snapshot gives the state of the store at one instant, as etcdctl snapshot save does: the
// database, and the SHA-256 of it at the end. Reading it takes until ctx ends or the store fails;
// the caller closes it.
func (s *Server) Snapshot(ctx context.Context) (io.ReadCloser, error) {
	const doing = "taking a snapshot of the store"
	if err := s.broken(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-s.failed:
			cancel()
		case <-ctx.Done():
		}
	}()
	resp, err := call(ctx, s, func(ctx context.Context) (*clientv3.SnapshotResponse, error) {
		return s.client.SnapshotWithVersion(ctx)
	})
	if err != nil {
		cancel()
		return nil, unavailable(doing, err)
	}
	return &reading{ReadCloser: resp.Snapshot, cancel: cancel}, nil
}

// reading is a snapshot under way; closing it ends it.
type reading struct {
	io.ReadCloser
	cancel context.CancelFunc
}

// Close ends the reading.
func (r *reading) Close() error {
	r.cancel()
	return r.ReadCloser.Close()
}

// CheckSnapshot compares the snapshot in the file at path with the checksum at its end, and walks
// every page that is in use of its database.
func CheckSnapshot(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return gatekeeper.Errorf(gatekeeper.CodeInvalid, "Name a file that gatekeeper store snapshot wrote.", "the snapshot can't be read: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	database := info.Size() - sha256.Size
	if database <= 0 || database%sector != 0 {
		return damaged(path, "it is no snapshot, or not a whole one: %d bytes are not a database with its checksum", info.Size())
	}
	sum := sha256.New()
	if _, err := io.CopyN(sum, f, database); err != nil {
		return damaged(path, "it can't be read to its end: %w", err)
	}
	want, err := io.ReadAll(f)
	if err != nil {
		return damaged(path, "it can't be read to its end: %w", err)
	}
	if got := sum.Sum(nil); !slices.Equal(got, want) {
		return damaged(path, "its checksum is %x, its content's %x", want, got)
	}
	if err := walk(path); err != nil { // the store's disk may have been bad when it was taken
		return damaged(path, "its database was damaged already when it was taken: %w", err)
	}
	return nil
}

func damaged(path, format string, args ...any) error {
	return gatekeeper.Errorf(gatekeeper.CodeInternal, "Take another snapshot, or use an older one.",
		"the snapshot %s is damaged, so nothing can be restored from it: %w", path, fmt.Errorf(format, args...))
}

// Restore makes the store of a snapshot in the directory dir, which must not hold a store yet. It
// is there whole or not at all. The store keeps its revisions, so what was ordered by them stays so.
func Restore(ctx context.Context, path, dir string, log *slog.Logger) error {
	if err := CheckSnapshot(path); err != nil {
		return err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	whole, partial := filepath.Join(dir, "etcd"), filepath.Join(dir, "restoring")
	if Exists(dir) {
		return gatekeeper.Errorf(gatekeeper.CodeConflict, "Name an empty directory, or move this store away first: it is the only record of its releases.",
			"there is a store in %s already; nothing was restored", dir)
	}
	if err := os.RemoveAll(partial); err != nil {
		return unusable(dir, err)
	}
	segments()
	if err := unpack(ctx, path, partial, log); err != nil {
		return errors.Join(gatekeeper.Errorf(gatekeeper.CodeInternal, "See that the disk has space and is healthy, or use another snapshot.",
			"the snapshot %s can't be restored into %s: %w", path, dir, err), os.RemoveAll(partial))
	}
	if err := os.Rename(partial, whole); err != nil {
		return unusable(dir, err)
	}
	return syncDir(dir)
}

// unpack makes etcd's files, on a goroutine of its own: etcd ends the goroutine, or panics, where
// it finds the database damaged.
func unpack(ctx context.Context, path, into string, log *slog.Logger) error {
	failed := make(chan error, 1)
	fail := func(err error) {
		select {
		case failed <- err:
		default: // only the first reason counts
		}
	}
	go func() {
		debug.SetPanicOnFault(true)
		defer func() {
			if p := recover(); p != nil {
				fail(fmt.Errorf("%v", p))
			}
		}()
		advertised := "unix://" + member
		fail(snapshot.NewV3(zapLogger(log, func() bool { return false }, fail)).Restore(snapshot.RestoreConfig{
			SnapshotPath: path, OutputDataDir: into,
			Name: member, PeerURLs: []string{advertised}, InitialCluster: member + "=" + advertised, InitialClusterToken: "etcd-cluster",
		}))
	}()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// member is the name of the embedded store's only node.
const member = "gatekeeper"

// Exists says whether there is a store in dir.
func Exists(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "etcd"))
	return !errors.Is(err, fs.ErrNotExist)
}

// CheckDatabase walks every page that is in use of the database of a stopped store in dir. etcd
// itself would end the process over a damaged one.
func CheckDatabase(dir string) error {
	lock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	path := filepath.Join(dir, "etcd", "member", "snap", "db")
	if err := walk(path); err != nil {
		return gatekeeper.Errorf(gatekeeper.CodeInternal, "Restore the store from a snapshot into an empty directory.",
			"the database %s is damaged: %w", path, err)
	}
	return nil
}

// walk reads a whole database; what bbolt asserts, and a page that leads out of the file, is an error.
func walk(path string) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // it was only read
	return db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error {
			var before []byte
			return b.ForEach(func(k, _ []byte) error {
				if before != nil && string(before) >= string(k) {
					return fmt.Errorf("key %x stands after %x", k, before)
				}
				before = append(before[:0], k...)
				return nil
			})
		})
	})
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
