package execaction

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
	"github.com/gatekeeper-engine/gatekeeper/actions/actiontest"
)

const secret = "s3cr3t-t0k3n"

// script is a program with one word of state. Its mode is what goes wrong with it. When it hangs
// it ignores SIGTERM, and so does its child, which holds the pipes.
const script = `#!/bin/sh
cat >> input
echo "token $TOKEN" >&2
case $(cat mode) in
hang) trap '' TERM; sleep 1000 & echo $! > child; wait ;;
refuse) [ "$1" = apply ] && exit 75 ;;
crash) [ "$1" = apply ] && kill -9 $$ ;;
fail) echo "no good: $TOKEN" >&2; exit 3 ;;
leave) sleep 1000 & echo $! > child ;;
detach) sleep 1000 >/dev/null 2>&1 </dev/null & echo $! > child ;;
flood) yes | head -c 1000000 ;;
garbage) echo "not json" ;;
leak) echo "\"$TOKEN\"" ;;
env) env | grep -vE '^(PWD|SHLVL|_|OLDPWD)=' | sort ;;
esac
case $1 in
prepare) echo '{"word": "v1", "says": "the word v1"}' ;;
apply) echo v1 > word; echo "wrote v1" ;;
observe) word=$(cat word); echo "the word is $word"; [ "$word" = v1 ] || exit ${2:-1} ;;
esac
exit 0
`

type tool struct {
	t         *testing.T
	dir, path string
}

func newTool(t *testing.T) *tool {
	t.Helper()
	dir := t.TempDir()
	x := &tool{t: t, dir: dir, path: filepath.Join(dir, "tool")}
	require.NoError(t, os.WriteFile(x.path, []byte(script), 0o700))
	x.put("word", "v2")
	x.put("mode", "")
	x.put("token", secret+"\n")
	return x
}

func (x *tool) put(name, text string) {
	x.t.Helper()
	require.NoError(x.t, os.WriteFile(filepath.Join(x.dir, name), []byte(text), 0o600))
}

func (x *tool) get(name string) string {
	x.t.Helper()
	text, err := os.ReadFile(filepath.Join(x.dir, name))
	require.NoError(x.t, err)
	return strings.TrimSpace(string(text))
}

func (x *tool) open(with map[string]any) (actions.Action, gatekeeper.RetrySafety, error) {
	x.t.Helper()
	connection, err := json.Marshal(map[string]any{
		"programs": []string{x.path}, "dir": x.dir,
		"env": map[string]string{"A": "b"}, "env_files": map[string]string{"TOKEN": filepath.Join(x.dir, "token")},
	})
	require.NoError(x.t, err)
	settings, err := json.Marshal(with)
	require.NoError(x.t, err)
	registry, err := actions.NewRegistry(Specs()...)
	require.NoError(x.t, err)
	return registry.Open("exec/run", settings, actions.Binding{
		Subject: actions.Subject{Release: "r1", Service: "checkout"}, Connection: actions.Connection{Name: "tools", Kind: Kind, Settings: connection},
	})
}

func (x *tool) mustOpen(phases ...string) actions.Action {
	x.t.Helper()
	with := map[string]any{"run": []string{x.path, "apply"}}
	for _, phase := range phases {
		with[phase] = []string{x.path, phase}
	}
	a, _, err := x.open(with)
	require.NoError(x.t, err)
	return a
}

// gone waits for the end of the process whose id is in the file child.
func (x *tool) gone() {
	x.t.Helper()
	pid, err := strconv.Atoi(x.get("child"))
	require.NoError(x.t, err)
	require.Eventually(x.t, func() bool {
		stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		return err != nil || strings.Contains(string(stat), ") Z ")
	}, 5*time.Second, 10*time.Millisecond, "process %d is still there", pid)
}

func TestConformance(t *testing.T) {
	for name, phases := range map[string][]string{"restore": {"prepare", "observe"}, "set": {"observe"}, "blind": nil} {
		t.Run(name, func(t *testing.T) {
			actiontest.Run(t, gatekeeper.NoRetry, func(t *testing.T) actiontest.System {
				x := newTool(t)
				return actiontest.System{
					Open:    func() actions.Action { return x.mustOpen(phases...) },
					Release: func() { x.put("word", "v2") },
					State:   func() string { return x.get("word") },
					Refuse:  func() { x.put("mode", "refuse") },
					Stop:    func() { require.NoError(t, os.Remove(x.path)) },
					Hang:    func() { x.put("mode", "hang") },
					Secrets: []string{secret},
				}
			})
		})
	}
}

func apply(ctx context.Context, x *tool, phases ...string) (gatekeeper.Receipt, error) {
	x.t.Helper()
	mode := x.get("mode")
	x.put("mode", "")
	a := x.mustOpen(phases...)
	pinned, err := a.Prepare(ctx)
	require.NoError(x.t, err)
	x.put("mode", mode)
	return a.Apply(ctx, pinned, "r1/0")
}

func TestInput(t *testing.T) {
	x := newTool(t)
	receipt, err := apply(t.Context(), x, "prepare")
	require.NoError(t, err)
	require.Equal(t, "wrote v1", receipt.Says)
	lines := strings.Split(x.get("input"), "\n")
	require.Len(t, lines, 2)
	const who = `"subject":{"release":"r1","service":"checkout","environment":"","version":"","previous_version":"","labels":null}`
	require.JSONEq(t, `{"phase":"prepare",`+who+`,"target":null}`, lines[0])
	require.JSONEq(t, `{"phase":"apply","key":"r1/0",`+who+`,"target":{"word":"v1","says":"the word v1"}}`, lines[1])
}

func TestEnvironmentIsTheConnections(t *testing.T) {
	t.Setenv("GATEKEEPER_SECRET", "x")
	x := newTool(t)
	x.put("mode", "env")
	e, err := connection{Dir: x.dir, Env: map[string]string{"A": "b"}}.run(t.Context(), []string{x.path}, nil)
	require.NoError(t, err)
	require.Equal(t, "A=b\nPATH=/usr/local/bin:/usr/bin:/bin\n", string(e.stdout))
}

func TestApplyOutcomes(t *testing.T) {
	for mode, c := range map[string]struct {
		says string
		none bool
	}{
		"refuse": {"exited with 75: token <secret>", true},
		"fail":   {"exited with 3: no good: <secret>", false},
		"crash":  {"was ended by a signal", false},
		"detach": {"it left processes behind, which were ended", false},
		"leave":  {"it left processes behind, which were ended", false},
	} {
		t.Run(mode, func(t *testing.T) {
			x := newTool(t)
			x.put("mode", mode)
			_, err := apply(t.Context(), x)
			require.ErrorContains(t, err, c.says)
			require.NotContains(t, err.Error(), secret)
			if c.none {
				require.ErrorIs(t, err, actions.ErrNoEffect)
			} else {
				require.NotErrorIs(t, err, actions.ErrNoEffect)
			}
			if mode == "leave" || mode == "detach" {
				x.gone()
			}
		})
	}
}

func TestDeadlineEndsTheWholeGroup(t *testing.T) {
	x := newTool(t)
	x.put("mode", "hang")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err := apply(ctx, x)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, ctx.Err(), "it returns within the deadline, not after it")
	require.NotErrorIs(t, err, actions.ErrNoEffect)
	x.gone()
}

func TestObservePositions(t *testing.T) {
	x := newTool(t)
	for code, want := range map[string]gatekeeper.Position{
		"1": gatekeeper.Elsewhere, "2": gatekeeper.InProgress, "3": gatekeeper.Unknown, "75": gatekeeper.Unknown,
	} {
		a, _, err := x.open(map[string]any{"run": []string{x.path, "apply"}, "observe": []string{x.path, "observe", code}})
		require.NoError(t, err)
		data, err := json.Marshal(target{Run: []string{x.path, "apply"}})
		require.NoError(t, err)
		live, err := a.Observe(t.Context(), gatekeeper.Target{Version: 1, Data: data})
		require.NoError(t, err)
		require.Equal(t, want, live.Position)
		if want != gatekeeper.Unknown {
			require.Equal(t, "the word is v2", live.Says)
		}
	}
}

func TestPrepareRefusesWhatCantBePinned(t *testing.T) {
	for mode, says := range map[string]string{
		"garbage": "printed no JSON",
		"flood":   "printed more than 64 KiB",
		"fail":    "exited with 3: no good: <secret>",
		"leak":    "printed no JSON", // the secret and the target: two values
	} {
		x := newTool(t)
		x.put("mode", mode)
		_, err := x.mustOpen("prepare").Prepare(t.Context())
		require.ErrorContains(t, err, says)
		require.NotContains(t, err.Error(), secret)
	}
}

func TestBadSettings(t *testing.T) {
	x := newTool(t)
	link := filepath.Join(x.dir, "link")
	require.NoError(t, os.Symlink("/bin/sh", link))
	for says, with := range map[string]map[string]any{
		"run: is missing":                   {},
		"run: want a program":               {"run": []string{}},
		"run: want a list of string":        {"run": "rm -rf /"},
		"does not allow the program \"/bin": {"run": []string{"/bin/sh", "-c", "true"}},
		"does not allow the program \"tool": {"run": []string{"tool"}},
		"/link\"":                           {"run": []string{link}},
		"does not allow the program \"/opt": {"run": []string{x.path}, "observe": []string{"/opt/x"}},
		"zero byte":                         {"run": []string{x.path, "a\x00b"}},
		"by_target needs observe":           {"run": []string{x.path}, "retry": "by_target"},
		"want by_key, by_target or none":    {"run": []string{x.path}, "retry": "often"},
	} {
		_, _, err := x.open(with)
		require.ErrorContains(t, err, says)
	}
}

func TestAnotherCommandThanPinnedIsNotRun(t *testing.T) {
	x := newTool(t)
	pinned, err := x.mustOpen().Prepare(t.Context())
	require.NoError(t, err)
	a, safety, err := x.open(map[string]any{"run": []string{x.path, "apply", "more"}, "retry": "by_key"})
	require.NoError(t, err)
	require.Equal(t, gatekeeper.ByKey, safety)
	_, err = a.Apply(t.Context(), pinned, "k")
	require.ErrorIs(t, err, actions.ErrNoEffect)
	require.Equal(t, "v2", x.get("word"))
}
