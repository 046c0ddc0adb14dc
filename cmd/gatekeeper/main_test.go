package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"gatekeeper": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Setenv("USER", "alice")
			env.Setenv("NO_COLOR", "1")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}

// exits runs a command and compares its exit code: exits 2 gatekeeper check bad.yml.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	// The shell's own word for the exit code, so that the script's stdout and stderr stay those of
	// the command.
	err := ts.Exec("sh", append([]string{"-c", `"$@"; code=$?; test "$code" = "$0" || { echo "exit code $code" >&2; exit 1; }`}, args...)...)
	if err != nil {
		ts.Fatalf("want exit code %s: %v", args[0], err)
	}
}
