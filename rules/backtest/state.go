package backtest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
)

// State keeps what was found in a file, so that an interrupted backtest can go on. A nil State keeps
// nothing. Its methods may be called concurrently.
type State struct {
	path string

	mu      sync.Mutex
	written time.Time
	dirty   bool
	kept
}

type kept struct {
	Format int                          `json:"format"`
	Inputs string                       `json:"inputs"` // of what was asked: other inputs are another backtest
	Files  map[string]map[string]Result `json:"files"`  // by health file and release
}

const stateFormat = 1

// maxState is how many bytes of a state are read.
const maxState = 1 << 30

// OpenState reads what an earlier run left at path; a file that is not there yet is an empty state.
// Inputs is everything that the results rest on: a state of others is an error.
func OpenState(path string, inputs any) (*State, error) {
	data, err := json.Marshal(inputs)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	s := &State{path: path, kept: kept{Format: stateFormat, Inputs: hex.EncodeToString(sum[:]), Files: map[string]map[string]Result{}}}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil && info.Size() > maxState {
		err = errors.New("it is too large to be one")
	}
	if err == nil {
		data, err = os.ReadFile(path)
	}
	var old kept
	if err == nil {
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.DisallowUnknownFields()
		err = dec.Decode(&old)
	}
	const hint = "name the file that an interrupted backtest with the same arguments wrote, or a new one"
	switch {
	case err != nil:
		return nil, gatekeeper.Errorf(gatekeeper.CodeInvalid, hint, "the state %s can't be read: %w", path, err)
	case old.Format != s.Format || old.Inputs != s.Inputs || old.Files == nil:
		return nil, gatekeeper.Errorf(gatekeeper.CodeInvalid, hint, "the state %s is of another backtest: other files, releases, backend or settings", path)
	}
	s.Files = old.Files
	return s, nil
}

// Known gives what was found of a release with a health file.
func (s *State) Known(file, release string) (Result, bool) {
	if s == nil {
		return Result{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.Files[file][release]
	return r, ok
}

// often is how much time lies between two writes at least: a state grows, and is written whole.
const often = time.Second

// Keep takes one more result. What was found in the last second is written by the next Keep, or by
// [State.Close].
func (s *State) Keep(file string, r Result) error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Files[file] == nil {
		s.Files[file] = map[string]Result{}
	}
	s.Files[file][r.Release.ID] = r
	s.dirty = true
	if time.Since(s.written) < often {
		return nil
	}
	return s.write()
}

// Close writes what is not written yet: the file holds the old state or the new one, whatever happens
// meanwhile.
func (s *State) Close() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.write()
}

// write writes the state if it has anything new.
func (s *State) write() error {
	if !s.dirty {
		return nil
	}
	data, err := json.Marshal(s.kept)
	if err != nil {
		return err
	}
	if err := replaceFile(s.path, data); err != nil {
		return gatekeeper.Errorf(gatekeeper.CodeInvalid, "name a file in a folder that you can write to", "the state can't be written: %w", err)
	}
	s.written, s.dirty = time.Now(), false
	return nil
}

func replaceFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
