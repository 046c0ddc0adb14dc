package tsdb

import (
	"context"
	"hash/fnv"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// recordingGroup is the recording rules of one group of a file, evaluated one after the other.
type recordingGroup struct {
	name, file string
	interval   time.Duration
	rules      []*rules.Recorder
	failing    bool // for the log
}

// CheckRules reads the files of recording rules, and says what is wrong with them.
func (c Config) CheckRules() error {
	_, err := recordingGroups(c.RecordingRuleFiles)
	return err
}

// recordingGroups reads the files of recording rules; every problem of one is told with its position.
func recordingGroups(files []string) ([]*recordingGroup, error) {
	var groups []*recordingGroup
	for _, file := range files {
		text, err := readRules(file)
		if err != nil {
			return nil, err
		}
		found, err := rules.RecordingRules(file, text)
		if err != nil {
			return nil, invalid("", "the recording rules of the metric store can't be used:\n%v", err)
		}
		for _, r := range found {
			last := len(groups) - 1
			if last < 0 || groups[last].file != file || groups[last].name != r.Group {
				groups = append(groups, &recordingGroup{name: r.Group, file: file, interval: r.Interval})
				last++
			}
			groups[last].rules = append(groups[last].rules, rules.NewRecorder(r))
		}
	}
	return groups, nil
}

func readRules(file string) (string, error) {
	info, err := os.Stat(file)
	if err != nil {
		return "", invalid("name a rule file of Prometheus that the daemon can read", "recording_rule_files: %v", err)
	}
	if info.Size() > rules.MaxBundle {
		return "", invalid("split it into several files", "recording_rule_files: %s has %d bytes, more than %d", file, info.Size(), rules.MaxBundle)
	}
	text, err := os.ReadFile(filepath.Clean(file))
	if err != nil {
		return "", invalid("name a rule file of Prometheus that the daemon can read", "recording_rule_files: %v", err)
	}
	return string(text), nil
}

// slot gives the group's first slot after t. Groups are spread over their interval, as in Prometheus.
func (g *recordingGroup) slot(t time.Time) time.Time {
	h := fnv.New64a()
	_, _ = h.Write([]byte(g.name + "\x00" + g.file))
	phase := time.Duration(h.Sum64() % uint64(g.interval)) //nolint:gosec // an interval is at least a second
	return t.Add(-phase).Truncate(g.interval).Add(g.interval + phase)
}

// record evaluates every group at its slots until ctx ends; slots that were missed are skipped.
func (s *Store) record(ctx context.Context) {
	var groups sync.WaitGroup
	for _, g := range s.recordings {
		groups.Go(func() {
			for {
				at := g.slot(time.Now())
				select {
				case <-ctx.Done():
					return
				case <-time.After(time.Until(at)):
				}
				s.recordGroup(ctx, g, at)
			}
		})
	}
	groups.Wait()
}

// recordGroup evaluates one group at a slot. Samples are kept to the millisecond.
func (s *Store) recordGroup(ctx context.Context, g *recordingGroup, at time.Time) {
	at = at.Truncate(time.Millisecond)
	err := rules.RecordGroup(ctx, g.rules, s.ask, s.db, at)
	log := s.log.With("group", g.name, "file", g.file)
	switch {
	case err != nil && ctx.Err() == nil && !g.failing:
		log.Warn("recording rules fail: alerts that use what they record see no data", "err", err, "hint", gatekeeper.HintOf(err))
	case err == nil && g.failing:
		log.Log(ctx, slog.LevelWarn, "recording rules work again")
	}
	g.failing = err != nil
}

// ask is a query of a recording rule; a partial answer is none.
func (s *Store) ask(ctx context.Context, expr string, at time.Time) (promql.Vector, error) {
	ctx, done, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	return rules.EngineQuery(s.engine, storage.Queryable(s.db))(ctx, expr, at)
}
