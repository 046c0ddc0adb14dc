// Package memory is a journal without a disk, for tests and the simulation. It keeps to the
// conformance suite in internal/journaltest and works inside a testing/synctest bubble: waiting
// is done on channels only, and no real time passes.
package memory

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/gatekeeper-engine/gatekeeper"
)

// History is the number of changes that [Journal.Watch] can go back at least; a reader that is
// further behind gets [gatekeeper.ErrGone].
const History = 4096

// Journal is one owner's handle of the facts. It implements [gatekeeper.Journal] and keeps facts
// as JSON, as a journal on disk does, so what is read never shares memory with what was written.
type Journal struct {
	*store
	epoch int64
}

type store struct {
	mu       sync.Mutex
	epoch    int64 // the owner's
	revision int64
	forgot   int64               // changes up to this revision are no longer in log
	releases map[string]*release // by id
	order    []string            // ids, oldest first
	log      []change            // the newest changes, for Watch
	news     chan struct{}       // closed at the next commit
	files    map[string][]byte   // by hash
	audits   [][]byte            // record n at n-1, nil when it was removed
}

type release struct {
	place   int // in order
	last    int64
	closed  bool
	file    string // that it pinned
	records []record
}

type record struct {
	first int64
	data  []byte
}

type change struct {
	revision int64
	release  string
	fact     gatekeeper.Fact
}

var _ gatekeeper.Journal = (*Journal)(nil)

// New gives an empty journal.
func New() *Journal {
	return &Journal{&store{
		releases: make(map[string]*release),
		news:     make(chan struct{}),
		files:    make(map[string][]byte),
	}, 0}
}

// Reopen gives the journal to a new owner, as a restart or a failover does: it holds the same
// facts, and what j writes from now on is refused with [gatekeeper.ErrFenced].
func (j *Journal) Reopen() *Journal {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.store.epoch++
	return &Journal{j.store, j.store.epoch}
}

// Commit appends all entries or none.
func (j *Journal) Commit(ctx context.Context, entries ...gatekeeper.Entry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	records, err := gatekeeper.Records(entries)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.fenced(); err != nil {
		return err
	}
	for _, e := range entries {
		if last := j.last(e.Release); last != e.After {
			return fmt.Errorf("release %s is at fact %d, not %d: %w", e.Release, last, e.After, gatekeeper.ErrConflict)
		}
		if hash, ok := j.pinsMissing(e); ok {
			return gatekeeper.Errorf(gatekeeper.CodeUnavailable, "Do it again: the file is stored again then.",
				"release %s: nothing was written, for the file %s that it pins is not stored any more", e.Release, hash)
		}
	}
	return j.append(entries, records)
}

func (j *Journal) fenced() error {
	if j.epoch != j.store.epoch {
		return gatekeeper.ErrFenced
	}
	return nil
}

// pinsMissing says whether an entry pins a file that is not there.
func (s *store) pinsMissing(e gatekeeper.Entry) (hash string, missing bool) {
	for _, f := range e.Facts {
		if opened, ok := f.Body.(gatekeeper.Opened); ok && opened.File != "" && s.files[opened.File] == nil {
			return opened.File, true
		}
	}
	return "", false
}

func (s *store) last(id string) int64 {
	if r, ok := s.releases[id]; ok {
		return r.last
	}
	return 0
}

func (s *store) append(entries []gatekeeper.Entry, records [][]byte) error {
	decoded := make([][]gatekeeper.Fact, len(entries))
	for i, e := range entries {
		facts, err := gatekeeper.DecodeRecord(records[i], e.After+1)
		if err != nil {
			return fmt.Errorf("release %s: %w", e.Release, err)
		}
		decoded[i] = facts
	}
	if len(entries) == 0 {
		return nil
	}
	s.revision++
	for i, e := range entries {
		r, ok := s.releases[e.Release]
		if !ok {
			r = &release{place: len(s.order)}
			s.releases[e.Release] = r
			s.order = append(s.order, e.Release)
		}
		r.records = append(r.records, record{e.After + 1, records[i]})
		r.last = e.After + int64(len(e.Facts))
		for _, f := range decoded[i] {
			r.closed = r.closed || f.Body.Kind() == gatekeeper.KindClosed
			if opened, ok := f.Body.(gatekeeper.Opened); ok {
				r.file = opened.File
			}
			s.log = append(s.log, change{s.revision, e.Release, f})
		}
	}
	if len(s.log) > 2*History {
		s.forget(len(s.log) - History)
	}
	close(s.news)
	s.news = make(chan struct{})
	return nil
}

// forget drops the n oldest changes, and the rest of the last one's revision: a reader never gets
// half a commit.
func (s *store) forget(n int) {
	if n == 0 {
		return
	}
	s.forgot = s.log[n-1].revision
	for n < len(s.log) && s.log[n].revision == s.forgot {
		n++
	}
	s.log = slices.Clone(s.log[n:])
}

// Facts gives a release's facts in order.
func (j *Journal) Facts(ctx context.Context, id string) ([]gatekeeper.Fact, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	j.mu.Lock()
	r, ok := j.releases[id]
	var records []record
	if ok {
		records = slices.Clone(r.records)
	}
	j.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("release %s: %w", id, gatekeeper.ErrNotFound)
	}
	var facts []gatekeeper.Fact
	for _, rec := range records {
		more, err := gatekeeper.DecodeRecord(rec.data, rec.first)
		if err != nil {
			return nil, fmt.Errorf("release %s: %w", id, err)
		}
		facts = append(facts, more...)
	}
	return facts, nil
}

// List gives the ids of releases, newest first.
func (j *Journal) List(ctx context.Context, q gatekeeper.Listing) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if q.Limit < 1 || q.Limit > 1000 {
		return nil, gatekeeper.Errorf(gatekeeper.CodeInvalid, "", "a listing takes a limit from 1 to 1000, not %d", q.Limit)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	next := len(j.order) - 1
	if q.After != "" {
		r, ok := j.releases[q.After]
		if !ok {
			return nil, fmt.Errorf("release %s: %w", q.After, gatekeeper.ErrNotFound)
		}
		next = r.place - 1
	}
	var ids []string
	for ; next >= 0 && len(ids) < q.Limit; next-- {
		if id := j.order[next]; !q.Open || !j.releases[id].closed {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// Watch gives every change with a revision above after; "from now on" is from this call on.
func (j *Journal) Watch(ctx context.Context, after int64) iter.Seq2[gatekeeper.Change, error] {
	j.mu.Lock()
	if after < 0 {
		after = j.revision
	}
	j.mu.Unlock()
	return func(yield func(gatekeeper.Change, error) bool) {
		for {
			changes, news, err := j.since(after)
			if err != nil {
				yield(gatekeeper.Change{}, err)
				return
			}
			for _, c := range changes {
				if ctx.Err() != nil {
					return
				}
				if !yield(gatekeeper.Change{Revision: c.revision, Release: c.release, Fact: c.fact}, nil) {
					return
				}
				after = c.revision
			}
			select {
			case <-ctx.Done():
				return
			case <-news:
			}
		}
	}
}

// since gives the changes of the next revision above after, and what is closed when there are more.
func (s *store) since(after int64) ([]change, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if after < s.forgot {
		return nil, nil, fmt.Errorf("changes after revision %d: %w", after, gatekeeper.ErrGone)
	}
	from, _ := slices.BinarySearchFunc(s.log, after+1, func(c change, rev int64) int { return int(c.revision - rev) })
	if from == len(s.log) {
		return nil, s.news, nil
	}
	to := from
	for to < len(s.log) && s.log[to].revision == s.log[from].revision {
		to++
	}
	more := make(chan struct{})
	close(more)
	return slices.Clone(s.log[from:to]), more, nil
}

// PutFile stores content under its hash.
func (j *Journal) PutFile(ctx context.Context, content []byte) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if len(content) > gatekeeper.MaxFile {
		return "", gatekeeper.Errorf(gatekeeper.CodeInvalid, "", "a file of %d bytes is too large for the journal, which takes %d", len(content), gatekeeper.MaxFile)
	}
	hash := hashOf(content)
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.fenced(); err != nil {
		return "", err
	}
	if _, ok := j.files[hash]; !ok {
		j.files[hash] = append([]byte{}, content...) // never nil
	}
	return hash, nil
}

// File gives the content stored under hash.
func (j *Journal) File(ctx context.Context, hash string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	j.mu.Lock()
	content, ok := j.files[hash]
	content = bytes.Clone(content)
	j.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("file %s: %w", hash, gatekeeper.ErrNotFound)
	}
	if hashOf(content) != hash {
		return nil, fmt.Errorf("file %s: its content does not match its hash", hash)
	}
	return content, nil
}

func hashOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}
