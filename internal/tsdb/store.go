package tsdb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/util/compression"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// The same lookback as Prometheus's, and as far samples may come late.
const (
	lookback   = 5 * time.Minute
	outOfOrder = 5 * time.Minute
)

// Store keeps samples and answers queries from them. Its methods may be called concurrently.
type Store struct {
	db         *tsdb.DB
	engine     *promql.Engine
	maxSamples int // of one query
	scraper    *scraper
	recordings []*recordingGroup
	log        *slog.Logger

	closing context.Context // ends when the store begins to close
	close   context.CancelFunc

	mu      sync.Mutex // guards the fields below
	closed  bool
	queries sync.WaitGroup     // under way
	stop    context.CancelFunc // of Run
	ran     chan struct{}      // closed when Run has returned
}

var _ rules.Querier = (*Store)(nil)

// Open opens the folder, replays what is not yet in blocks, and makes it answer queries. The
// caller runs [Store.Run] to scrape and record, and closes the store. reg may be nil.
func Open(c Config, log *slog.Logger, reg prometheus.Registerer) (*Store, error) {
	c = c.withDefaults()
	if err := c.Validate(); err != nil {
		return nil, err
	}
	recordings, err := recordingGroups(c.RecordingRuleFiles)
	if err != nil {
		return nil, err
	}
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	db, err := tsdb.Open(c.Path, log.With("component", "tsdb"), reg, options(c), nil)
	if err != nil {
		return nil, gatekeeper.Errorf(gatekeeper.CodeUnavailable,
			"check that the folder can be written, has space, and is used by no other process",
			"the metric store in %s can't be opened: %w", c.Path, err)
	}
	s, err := newScraper(c.Scrape, db, log, reg)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	closing, closeAll := context.WithCancel(context.Background())
	return &Store{
		db: db, scraper: s, maxSamples: c.MaxSamples, recordings: recordings, log: log, closing: closing, close: closeAll,
		engine: promql.NewEngine(promql.EngineOpts{
			Logger: log.With("component", "promql"), Reg: reg,
			MaxSamples: c.MaxSamples, Timeout: time.Duration(c.QueryTimeout), LookbackDelta: lookback,
			EnableAtModifier: true, EnableNegativeOffset: true,
			NoStepSubqueryIntervalFn: func(int64) int64 { return time.Minute.Milliseconds() },
			Parser:                   parser.NewParser(parser.Options{}),
		}),
	}, nil
}

func options(c Config) *tsdb.Options {
	o := tsdb.DefaultOptions()
	o.RetentionDuration = time.Duration(c.Retention).Milliseconds()
	o.MaxBytes = int64(c.RetentionSize)
	o.WALCompression = compression.Snappy
	o.OutOfOrderTimeWindow = outOfOrder.Milliseconds()
	// As Prometheus's main: no block spans more than a tenth of the retention, so that time is
	// bounded in fine steps.
	o.MaxBlockDuration = max(o.MinBlockDuration, o.RetentionDuration/10)
	return o
}

// Run scrapes the targets and evaluates the recording rules until ctx ends or the store is closed. It may be called once.
func (s *Store) Run(ctx context.Context) error {
	s.mu.Lock()
	switch {
	case s.closed: // before it could begin, as after a reload that was refused
		s.mu.Unlock()
		return nil
	case s.ran != nil:
		s.mu.Unlock()
		return errors.New("the metric store scrapes already")
	}
	ctx, s.stop = context.WithCancel(ctx)
	s.ran = make(chan struct{})
	s.mu.Unlock()
	defer close(s.ran)
	defer s.stop()
	var recording sync.WaitGroup
	recording.Go(func() { s.record(ctx) })
	err := s.scraper.run(ctx)
	s.stop() // the scraper ends early when it fails
	recording.Wait()
	return err
}

// Close ends Run and the queries under way, waits for them, and closes the folder; nothing that
// was scraped is lost. Closing again does nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	stop, ran := s.stop, s.ran
	s.mu.Unlock()
	s.close()
	s.queries.Wait()
	if stop != nil {
		stop()
		<-ran
	}
	if err := errors.Join(s.db.Close(), s.engine.Close()); err != nil {
		return fmt.Errorf("the metric store can't be closed cleanly: %w", err)
	}
	return nil
}
