// Package etcd keeps the journal in etcd: in one that is embedded in this process ([Server]), or
// in any other that a client reaches ([OpenJournal]). The client calls are the same.
//
// The embedded one has no TCP port, only unix sockets in a directory of mode 0700. A commit is
// durable when its transaction is answered: etcd has then synced its write-ahead log. When the
// disk is full, read-only or broken, writes fail with [gatekeeper.CodeUnavailable] and reads go
// on where they can: nothing new is decided, actions under way are still observed.
package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/storage/wal"

	"github.com/gatekeeper-engine/gatekeeper"
)

// DefaultQuota is the size up to which the embedded store grows, in bytes.
const DefaultQuota = 2 << 30

// Options says where and how the embedded store runs.
type Options struct {
	Dir   string       // its own directory; created with mode 0700
	Quota int64        // bytes; 0 means [DefaultQuota]
	Log   *slog.Logger // nil discards

	readyWithin    time.Duration // 0 means [readyWithin]
	worthShrinking int64         // bytes; 0 means [worthShrinking]
}

// Server is an embedded single-node etcd. One process at a time can have a directory.
type Server struct {
	dir    string
	etcd   *embed.Etcd
	client *clientv3.Client
	lock   *os.File
	run    string // directory of the sockets
	quota  int64  // bytes
	log    *slog.Logger

	worthShrinking int64 // bytes

	breaks sync.Once
	failed chan struct{} // closed when etcd gave up
	cause  error         // why; set before failed is closed
	reason error         // the cause, and what it means; likewise

	closes  sync.Once
	closing atomic.Bool
	closed  error
}

// segments sets the size of the write-ahead log's files, which etcd has as a global variable. The
// default of 64 MiB makes a start slow.
var segments = sync.OnceFunc(func() { wal.SegmentSizeBytes = 4 << 20 })

// readyWithin is how long etcd may take from having read its files to its first answer. A single
// node elects itself in a fraction of a second; one whose log ends before its database does waits
// for other nodes for ever.
const readyWithin = 20 * time.Second

// Start starts the store and waits until it answers, or ctx ends.
func Start(ctx context.Context, opts Options) (*Server, error) {
	dir, err := filepath.Abs(opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("data directory %s: %w", opts.Dir, err)
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Quota == 0 {
		opts.Quota = DefaultQuota
	}
	if opts.readyWithin == 0 {
		opts.readyWithin = readyWithin
	}
	if opts.worthShrinking == 0 {
		opts.worthShrinking = worthShrinking
	}
	segments()
	s := &Server{dir: dir, quota: opts.Quota, log: opts.Log, worthShrinking: opts.worthShrinking, failed: make(chan struct{})}
	if s.lock, err = lockDir(dir); err != nil {
		return nil, err
	}
	if err := s.start(ctx, opts); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) start(ctx context.Context, opts Options) error {
	free, err := s.free()
	if err != nil {
		return unavailable("asking for the free space of "+s.dir, err)
	}
	if free < reserve {
		return gatekeeper.Errorf(gatekeeper.CodeUnavailable, "Make space on that disk and start Gatekeeper again.",
			"the disk of the data directory %s is full: %d MiB are free, %d are needed; %s: %w", s.dir, free>>20, int64(reserve)>>20, unstarted, syscall.ENOSPC)
	}
	if s.run, err = socketDir(s.dir); err != nil {
		return err
	}
	cfg := s.config(opts)
	if err := s.launch(ctx, cfg); err != nil {
		return unstartable(s.dir, err)
	}
	late := time.NewTimer(opts.readyWithin)
	defer late.Stop()
	select {
	case <-s.etcd.Server.ReadyNotify():
	case <-s.failed:
		return unstartable(s.dir, s.cause)
	case <-late.C:
		s.fail(errUnfit) // and waits for nothing any more
		return unstartable(s.dir, errUnfit)
	case <-ctx.Done():
		return unstartable(s.dir, ctx.Err())
	}
	s.client = v3client.New(s.etcd.Server)
	if err := s.shrinkAtStart(ctx); err != nil {
		return err
	}
	return s.alarms(ctx, opts.Quota)
}

func (s *Server) config(opts Options) *embed.Config {
	cfg := embed.NewConfig()
	cfg.Name = member
	cfg.Dir = filepath.Join(s.dir, "etcd")
	// etcd listens for peers at a URL's host and forgets its path; an empty host would give an
	// abstract socket, which any user of the machine can open.
	cfg.ListenPeerUrls = []url.URL{{Scheme: "unix", Host: filepath.Join(s.run, "peer")}}
	cfg.ListenClientUrls = []url.URL{{Scheme: "unix", Path: filepath.Join(s.run, "client")}}
	advertised := []url.URL{{Scheme: "unix", Host: cfg.Name}} // a single node is dialled by nobody
	cfg.AdvertisePeerUrls, cfg.AdvertiseClientUrls = advertised, advertised
	cfg.InitialCluster = cfg.Name + "=" + advertised[0].String()
	cfg.EnableGRPCGateway = false
	cfg.TickMs, cfg.ElectionMs = 10, 100 // a single node has no network to wait for
	cfg.QuotaBackendBytes = opts.Quota
	cfg.AutoCompactionMode, cfg.AutoCompactionRetention = embed.CompactorModePeriodic, "1h"
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zapLogger(opts.Log, s.closing.Load, s.fail))
	return cfg
}

// launch starts etcd on a goroutine of its own: where etcd finds its files damaged it panics, or
// logs a fatal error, which ends the goroutine (see zapLogger).
func (s *Server) launch(ctx context.Context, cfg *embed.Config) error {
	type started struct {
		etcd *embed.Etcd
		err  error
	}
	done := make(chan started, 1)
	go func() {
		var e started
		defer func() {
			if p := recover(); p != nil {
				s.fail(fmt.Errorf("%v", p))
				return
			}
			done <- e
		}()
		e.err = errors.New("etcd ended while it started")
		e.etcd, e.err = embed.StartEtcd(cfg)
	}()
	select {
	case e := <-done:
		select {
		case <-s.failed:
			return s.cause
		default:
		}
		s.etcd = e.etcd
		return e.err
	case <-s.failed:
		return s.cause
	case <-ctx.Done():
		s.fail(ctx.Err()) // it can't be stopped half-way: the directory stays locked
		return ctx.Err()
	}
}

// alarms clears a quota alarm of an earlier run when there is room again, and refuses a store
// that found itself corrupted.
func (s *Server) alarms(ctx context.Context, quota int64) error {
	doing := "reading the store's alarms"
	list, err := call(ctx, s, s.client.AlarmList)
	if err != nil {
		return unavailable(doing, err)
	}
	for _, a := range list.Alarms {
		switch a.Alarm {
		case etcdserverpb.AlarmType_CORRUPT:
			return corrupted("the store in "+s.dir, errors.New("etcd raised its alarm CORRUPT"))
		case etcdserverpb.AlarmType_NOSPACE:
			if s.etcd.Server.Backend().Size() > quota {
				continue // writes tell
			}
			_, err := call(ctx, s, func(ctx context.Context) (*clientv3.AlarmResponse, error) {
				return s.client.AlarmDisarm(ctx, (*clientv3.AlarmMember)(a))
			})
			if err != nil {
				return unavailable(doing, err)
			}
		case etcdserverpb.AlarmType_NONE:
		}
	}
	return nil
}

// Client gives the client of the store. It belongs to the server; don't close it.
func (s *Server) Client() *clientv3.Client { return s.client }

// OpenJournal opens the journal in this store and takes it over from any earlier owner.
func (s *Server) OpenJournal(ctx context.Context) (*Journal, error) {
	if err := s.room(); err != nil {
		return nil, err
	}
	return open(ctx, s.client, s)
}

// Failed is closed when the store gave up: its disk failed or its files are damaged. Only a
// restart of the process brings it back.
func (s *Server) Failed() <-chan struct{} { return s.failed }

// fail makes the store unusable. Only the first reason counts.
func (s *Server) fail(reason error) {
	s.breaks.Do(func() {
		s.cause = reason
		s.reason = gatekeeper.Errorf(gatekeeper.CodeUnavailable,
			"See that the disk has space and is healthy and restart Gatekeeper; if it fails again, restore the directory from a backup.",
			"the store in %s gave up; %s: %w", s.dir, meanwhile, reason)
		close(s.failed)
	})
}

// broken gives the reason for which the store gave up, or nil.
func (s *Server) broken() error {
	select {
	case <-s.failed:
		return s.reason
	default:
		return nil
	}
}

// Ready says whether the store takes writes: nil, or why not.
func (s *Server) Ready() error {
	if err := s.broken(); err != nil {
		return err
	}
	return s.room()
}

// closeWithin is how long Close waits for etcd.
const closeWithin = 10 * time.Second

// Close stops the store. After a failure nothing of etcd can be relied on to stop, so its
// goroutines and the directory's lock stay until the process ends.
func (s *Server) Close() error {
	s.closes.Do(func() { s.closed = s.close() })
	return s.closed
}

func (s *Server) close() error {
	s.closing.Store(true)
	var errs []error
	if s.broken() != nil {
		return os.RemoveAll(s.run)
	}
	if s.client != nil {
		// A client without a connection has nothing to close but its context, and says so.
		if err := s.client.Close(); !errors.Is(err, context.Canceled) {
			errs = append(errs, err)
		}
	}
	if s.etcd != nil {
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.etcd.Close()
		}()
		select {
		case <-done:
		case <-time.After(closeWithin):
			return fmt.Errorf("the store in %s did not stop within %s", s.dir, closeWithin)
		}
	}
	if s.run != "" {
		errs = append(errs, os.RemoveAll(s.run))
	}
	return errors.Join(append(errs, s.lock.Close())...)
}
