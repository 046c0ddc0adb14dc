// Package execaction runs a program to take a release back: the way to everything that has no
// action of its own. There is no shell and no search path, and only programs that the operator
// named are run.
//
// A program reads one JSON object from its standard input:
//
//	{"phase": "prepare" | "apply" | "observe", "key": "…", "subject": {…}, "target": …}
//
// where target is what prepare printed (null in prepare, and where there is none), and key is
// the same for every attempt of one decision. What its exit code means:
//
//	prepare  0: standard output is the target, JSON; else the rung is unusable
//	apply    0: accepted; 75 (EX_TEMPFAIL of sysexits.h): certainly nothing was changed; else unknown
//	observe  0: at the target; 1: elsewhere; 2: in progress; else unknown
//
// The first line of observe's standard output says what is there, the same line for the same
// state. A program gets the process group to itself: at the deadline, and when it leaves
// processes behind, all of the group is ended, first by SIGTERM, then by SIGKILL.
package execaction

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
)

// Kind is the kind of connection that the actions of this package need.
const Kind = "exec"

type connection struct {
	Programs []string          `json:"programs" required:"true" doc:"absolute paths of the programs that health files may run, with any arguments"`
	Dir      string            `json:"dir" default:"/" doc:"the working directory"`
	Env      map[string]string `json:"env" doc:"the environment, added to PATH=/usr/local/bin:/usr/bin:/bin; nothing of Gatekeeper's own is passed on"`
	EnvFiles map[string]string `json:"env_files" doc:"environment variables whose values are read from these files; they are hidden wherever the program's output is shown"`
}

// Validate wants absolute paths and names that can be in an environment.
func (c *connection) Validate() error {
	for i, p := range c.Programs {
		if !filepath.IsAbs(p) || filepath.Clean(p) != p {
			return actions.Problem{Path: []string{"programs", fmt.Sprint(i)}, Says: "want an absolute path without . and .."}
		}
	}
	if !filepath.IsAbs(c.Dir) {
		return actions.Problem{Path: []string{"dir"}, Says: "want an absolute path"}
	}
	for _, name := range slices.Concat(slices.Sorted(maps.Keys(c.Env)), slices.Sorted(maps.Keys(c.EnvFiles))) {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.Contains(c.Env[name], "\x00") {
			return actions.Problem{Path: []string{"env", name}, Says: "can't be in an environment"}
		}
	}
	return nil
}

type settings struct {
	Run     []string               `json:"run" required:"true" doc:"the program and its arguments that bring the target about"`
	Prepare []string               `json:"prepare" doc:"the program and its arguments that print what to return to as JSON, at most 64 KiB, with a sentence in its field says; without it, the target is what run brings about by itself"`
	Observe []string               `json:"observe" doc:"the program and its arguments that tell by exit code whether the target is reached; without it, run's exit code 0 counts as reached"`
	Retry   gatekeeper.RetrySafety `json:"retry" doc:"what run promises when it is run twice: by_key (it knows a key again), by_target (running it again does no harm, and observe tells) or none; by default by_target with observe, none without"`
}

// Validate checks what can be checked without the operator's list.
func (s *settings) Validate() error {
	for name, argv := range map[string][]string{"run": s.Run, "prepare": s.Prepare, "observe": s.Observe} {
		if name == "run" && len(argv) == 0 {
			return actions.Problem{Path: []string{name}, Says: "want a program"}
		}
		if strings.Contains(strings.Join(argv, ""), "\x00") {
			return actions.Problem{Path: []string{name}, Says: "an argument can't hold a zero byte"}
		}
	}
	switch s.Retry {
	case "", gatekeeper.ByKey, gatekeeper.NoRetry:
		return nil
	case gatekeeper.ByTarget:
		if len(s.Observe) > 0 {
			return nil
		}
		return actions.Problem{Path: []string{"retry"}, Says: "by_target needs observe"}
	}
	return actions.Problem{Path: []string{"retry"}, Says: "want by_key, by_target or none"}
}

// Specs gives the actions of this package.
func Specs() []actions.Spec {
	return []actions.Spec{
		actions.Define("exec/run",
			"Runs a program that the operator allows, without a shell, with the release, the key and the target "+
				"as JSON on its standard input. It gets a deadline and its own process group.",
			gatekeeper.NoRetry, open).WithConnection(Kind, connection{}),
	}
}

func open(s settings, b actions.Binding) (actions.Action, error) {
	var c connection
	if err := b.Connection.Decode(&c); err != nil {
		return nil, err
	}
	for _, argv := range [][]string{s.Run, s.Prepare, s.Observe} {
		if len(argv) == 0 {
			continue
		}
		if !slices.Contains(c.Programs, filepath.Clean(argv[0])) {
			return nil, gatekeeper.Errorf(gatekeeper.CodeRefused, "name it by its absolute path, or ask the operator to allow it",
				"connection %q does not allow the program %q", b.Connection.Name, argv[0])
		}
	}
	return &program{settings: s, connection: c, subject: b.Subject}, nil
}
