package execaction

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
)

const (
	targetVersion = 1
	exNoEffect    = 75 // EX_TEMPFAIL of sysexits.h
)

// program is the action exec/run.
type program struct {
	settings   settings
	connection connection
	subject    actions.Subject
}

// Names gives the programs' paths.
func (p *program) Names() []string {
	var all []string
	for _, argv := range [][]string{p.settings.Run, p.settings.Prepare, p.settings.Observe} {
		if len(argv) > 0 && !slices.Contains(all, filepath.Clean(argv[0])) {
			all = append(all, filepath.Clean(argv[0]))
		}
	}
	return all
}

// Safety gives the retry safety that the health file declares.
func (p *program) Safety() gatekeeper.RetrySafety {
	switch {
	case p.settings.Retry != "":
		return p.settings.Retry
	case len(p.settings.Observe) > 0:
		return gatekeeper.ByTarget
	}
	return gatekeeper.NoRetry
}

// Unobservable says whether there is no program to observe with.
func (p *program) Unobservable() bool { return len(p.settings.Observe) == 0 }

// target is what is pinned: the command, and what prepare printed.
type target struct {
	Run    []string        `json:"run"`
	Pinned json.RawMessage `json:"pinned,omitempty"`
}

// input is what a program reads.
type input struct {
	Phase   string          `json:"phase"`
	Key     gatekeeper.Key  `json:"key,omitempty"`
	Subject actions.Subject `json:"subject"`
	Target  json.RawMessage `json:"target"` // null where nothing is pinned
}

func (p *program) run(ctx context.Context, phase string, argv []string, key gatekeeper.Key, pinned json.RawMessage) (ended, error) {
	stdin, err := json.Marshal(input{Phase: phase, Key: key, Subject: p.subject, Target: pinned})
	if err != nil {
		return ended{}, errors.Join(errNotStarted, err)
	}
	e, err := p.connection.run(ctx, argv, append(stdin, '\n'))
	if err != nil {
		return e, fmt.Errorf("%s: %w%s", argv[0], err, e.because())
	}
	return e, nil
}

// because gives what the program complained of last.
func (e ended) because() string {
	if e.complain == "" {
		return ""
	}
	return ": " + e.complain
}

// how says how it ended, in words.
func (e ended) how(argv []string) string {
	if e.code < 0 {
		return argv[0] + " was ended by a signal"
	}
	return fmt.Sprintf("%s exited with %d", argv[0], e.code)
}

// Prepare runs the program prepare and pins what it prints; without one it pins the command. It
// proves that the programs are there and that observe has an answer.
func (p *program) Prepare(ctx context.Context) (gatekeeper.Target, error) {
	for _, argv := range [][]string{p.settings.Run, p.settings.Observe} {
		if err := runnable(argv); err != nil {
			return gatekeeper.Target{}, err
		}
	}
	t := gatekeeper.Target{
		Kind: gatekeeper.Set, Version: targetVersion,
		Says: fmt.Sprintf("what %q brings about", strings.Join(p.settings.Run, " ")),
	}
	data := target{Run: p.settings.Run}
	if len(p.settings.Prepare) > 0 {
		var err error
		if data.Pinned, t.Says, err = p.pin(ctx); err != nil {
			return gatekeeper.Target{}, err
		}
		t.Kind = gatekeeper.Restore
	}
	var err error
	if t.Data, err = json.Marshal(data); err != nil {
		return gatekeeper.Target{}, fmt.Errorf("target: %w", err)
	}
	if p.Unobservable() {
		return t, nil
	}
	live, err := p.Observe(ctx, t)
	if err == nil && live.Position == gatekeeper.Unknown {
		err = gatekeeper.Errorf(gatekeeper.CodeUnavailable, "run observe by hand and see why",
			"observe can't tell where the live system is: %s", live.Says)
	}
	return t, err
}

// runnable says whether there is a program to run.
func runnable(argv []string) error {
	if len(argv) == 0 {
		return nil
	}
	info, err := os.Stat(argv[0])
	if err == nil && (!info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0) {
		err = errors.New("it is no executable file")
	}
	if err != nil {
		return gatekeeper.Errorf(gatekeeper.CodeUnavailable, "install the program where Gatekeeper runs", "program %s can't be run: %w", argv[0], err)
	}
	return nil
}

// pin runs prepare and gives what it printed, compact, with a sentence for people.
func (p *program) pin(ctx context.Context) (json.RawMessage, string, error) {
	argv := p.settings.Prepare
	fail := func(format string, args ...any) error {
		return gatekeeper.Errorf(gatekeeper.CodeUnavailable, "run prepare by hand and see why", format, args...)
	}
	e, err := p.run(ctx, "prepare", argv, "", nil)
	switch {
	case err != nil:
		return nil, "", fail("%w", err)
	case e.code != 0:
		return nil, "", fail("%s%s", e.how(argv), e.because())
	case e.overflow:
		return nil, "", fail("%s printed more than 64 KiB", argv[0])
	}
	var out bytes.Buffer
	if err := json.Compact(&out, e.stdout); err != nil {
		return nil, "", fail("%s printed no JSON: %w", argv[0], err)
	}
	_, hide, err := p.connection.environment()
	if err != nil {
		return nil, "", fail("%w", err)
	}
	if hide.hide(out.String()) != out.String() {
		return nil, "", fail("%s printed a secret or bytes that are no text; a target is kept in the journal", argv[0])
	}
	var told struct {
		Says string `json:"says"`
	}
	says := hide.line(out.String())
	if json.Unmarshal(out.Bytes(), &told) == nil && told.Says != "" {
		says = hide.line(told.Says)
	}
	return out.Bytes(), says, nil
}

// Apply runs the program.
func (p *program) Apply(ctx context.Context, t gatekeeper.Target, key gatekeeper.Key) (gatekeeper.Receipt, error) {
	pinned, err := p.decode(t)
	if err != nil {
		return gatekeeper.Receipt{}, fmt.Errorf("%w (%w)", err, actions.ErrNoEffect)
	}
	argv := p.settings.Run
	e, err := p.run(ctx, "apply", argv, key, pinned)
	switch {
	case errors.Is(err, errNotStarted):
		return gatekeeper.Receipt{}, fmt.Errorf("%w (%w)", err, actions.ErrNoEffect)
	case err != nil:
		return gatekeeper.Receipt{}, err
	case e.code == exNoEffect:
		return gatekeeper.Receipt{}, fmt.Errorf("%s%s (%w)", e.how(argv), e.because(), actions.ErrNoEffect)
	case e.code != 0:
		return gatekeeper.Receipt{}, fmt.Errorf("%s%s", e.how(argv), e.because())
	}
	if e.line == "" {
		e.line = e.how(argv)
	}
	return gatekeeper.Receipt{Says: e.line}, nil
}

// Observe runs the program observe.
func (p *program) Observe(ctx context.Context, t gatekeeper.Target) (gatekeeper.Live, error) {
	pinned, err := p.decode(t)
	if err != nil {
		return gatekeeper.Live{}, err
	}
	if p.Unobservable() {
		return gatekeeper.Live{
			Position: gatekeeper.Unknown,
			Says:     "the health file names no program to observe with: an exit code of 0 is all that is known",
		}, nil
	}
	argv := p.settings.Observe
	e, err := p.run(ctx, "observe", argv, "", pinned)
	if err != nil {
		return gatekeeper.Live{Position: gatekeeper.Unknown, Says: err.Error()}, nil
	}
	l := gatekeeper.Live{Says: e.line, Print: e.line}
	switch e.code {
	case 0:
		l.Position = gatekeeper.AtTarget
	case 1:
		l.Position = gatekeeper.Elsewhere
	case 2:
		l.Position = gatekeeper.InProgress
	default:
		return gatekeeper.Live{Position: gatekeeper.Unknown, Says: e.how(argv) + e.because()}, nil
	}
	if l.Says == "" {
		l.Says = e.how(argv)
	}
	return l, nil
}

func (p *program) decode(t gatekeeper.Target) (json.RawMessage, error) {
	var data target
	if err := json.Unmarshal(t.Data, &data); err != nil || t.Version != targetVersion {
		return nil, gatekeeper.Errorf(gatekeeper.CodeInvalid, "", "the target %q can't be read (version %d)", t.Says, t.Version)
	}
	if !slices.Equal(data.Run, p.settings.Run) {
		return nil, gatekeeper.Errorf(gatekeeper.CodeConflict, "open a new release, so that the command is pinned again",
			"the command is not the one that was pinned when the release opened")
	}
	return data.Pinned, nil
}
