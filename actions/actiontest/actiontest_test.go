package actiontest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
)

// world is a system with one word in it; its flaws are what the suite must find.
type world struct {
	mu      sync.Mutex
	word    string
	mode    string // "", refuse, stop, hang
	effects int
	flaw    string
}

func (w *world) gate(ctx context.Context) error {
	w.mu.Lock()
	mode := w.mode
	w.mu.Unlock()
	switch {
	case mode == "stop":
		return fmt.Errorf("not reachable: %w", actions.ErrNoEffect)
	case mode == "hang" && w.flaw == "answers while hanging":
		return nil
	case mode == "hang":
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return nil
}

// Prepare pins "old".
func (w *world) Prepare(ctx context.Context) (gatekeeper.Target, error) {
	if err := w.gate(ctx); err != nil && w.flaw != "prepares blindly" {
		return gatekeeper.Target{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	says := "the word old"
	switch w.flaw {
	case "prepare changes":
		w.word = "touched"
	case "secret in target":
		says = "the word old, password hunter2"
	case "mute target":
		says = ""
	}
	return gatekeeper.Target{Kind: gatekeeper.Set, Version: 1, Data: json.RawMessage(`"old"`), Says: says}, nil
}

// Apply writes the target's word.
func (w *world) Apply(ctx context.Context, t gatekeeper.Target, _ gatekeeper.Key) (gatekeeper.Receipt, error) {
	if err := w.gate(ctx); err != nil {
		if w.flaw == "secret in error" {
			return gatekeeper.Receipt{}, errors.Join(err, errors.New("password hunter2"))
		}
		return gatekeeper.Receipt{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mode == "refuse" {
		switch w.flaw {
		case "refuses with effect":
			w.word = "old"
		case "refusal unknown":
			return gatekeeper.Receipt{}, errors.New("refused")
		}
		return gatekeeper.Receipt{}, fmt.Errorf("refused: %w", actions.ErrNoEffect)
	}
	w.effects++
	var word string
	if err := json.Unmarshal(t.Data, &word); err != nil {
		return gatekeeper.Receipt{}, err
	}
	switch {
	case w.flaw == "toggles" && w.word == word:
		w.word = "new"
	case w.flaw == "does nothing":
	default:
		w.word = word
	}
	return gatekeeper.Receipt{Says: "wrote " + word}, nil
}

// Observe reads the word.
func (w *world) Observe(ctx context.Context, _ gatekeeper.Target) (gatekeeper.Live, error) {
	if err := w.gate(ctx); err != nil {
		if w.flaw == "unreachable is an error" {
			return gatekeeper.Live{}, err
		}
		return gatekeeper.Live{Position: gatekeeper.Unknown, Says: "not reachable"}, nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	l := gatekeeper.Live{Position: gatekeeper.Elsewhere, Print: w.word, Says: "the word is " + w.word}
	if w.word == "old" || w.flaw == "always at target" {
		l.Position = gatekeeper.AtTarget
	}
	if w.flaw == "one print" {
		l.Print = "same"
	}
	return l, nil
}

func (w *world) set(field *string, to string) func() {
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		*field = to
	}
}

func system(flaw string) System {
	w := &world{word: "new", flaw: flaw}
	return System{
		Open:    func() actions.Action { return w },
		Release: w.set(&w.word, "new"),
		State:   func() string { w.mu.Lock(); defer w.mu.Unlock(); return w.word },
		Refuse:  w.set(&w.mode, "refuse"),
		Stop:    w.set(&w.mode, "stop"),
		Hang:    w.set(&w.mode, "hang"),
		Secrets: []string{"hunter2"},
	}
}

func TestSoundActionPasses(t *testing.T) {
	Run(t, gatekeeper.ByTarget, func(*testing.T) System { return system("") })
}

// recorder takes the place of a test that is expected to fail.
type recorder struct{ failed bool }

// Errorf notes the failure.
func (r *recorder) Errorf(string, ...any) { r.failed = true }

// FailNow ends the check's goroutine.
func (r *recorder) FailNow() { r.failed = true; runtime.Goexit() }

// Helper is for line numbers only.
func (r *recorder) Helper() {}

func TestSuiteFindsFlaws(t *testing.T) {
	for flaw, found := range map[string]string{
		"prepare changes":         "prepare pins a target and changes nothing",
		"mute target":             "prepare pins a target and changes nothing",
		"secret in target":        "prepare pins a target and changes nothing",
		"toggles":                 "apply brings the target about, twice like once",
		"does nothing":            "apply brings the target about, twice like once",
		"always at target":        "observe tells the target from elsewhere",
		"one print":               "observe tells the target from elsewhere",
		"refuses with effect":     "a system that refuses is changed in nothing",
		"refusal unknown":         "a system that refuses is changed in nothing",
		"unreachable is an error": "an unreachable system is unknown",
		"prepares blindly":        "an unreachable system is unknown",
		"secret in error":         "a hanging system is left at the deadline",
		"answers while hanging":   "a hanging system is left when cancelled",
	} {
		t.Run(flaw, func(t *testing.T) {
			t.Parallel()
			for _, c := range checks {
				if c.name != found {
					continue
				}
				r := &recorder{}
				done := make(chan struct{})
				go func() {
					defer close(done)
					c.check(&probe{T: r, System: system(flaw), safety: gatekeeper.ByTarget, patience: time.Second})
				}()
				<-done
				require.True(t, r.failed, "%q went unnoticed by %q", flaw, found)
				return
			}
			require.FailNow(t, "no such check", found)
		})
	}
}
