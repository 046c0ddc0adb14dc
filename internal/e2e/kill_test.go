package e2e

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/servertest"
)

const kills = 50

var killSeed = flag.Uint64("kill.seed", 0, "kill at the moments of this seed; 0: of a new one")

// moment is when the daemon is killed: that long after something happened.
type moment struct {
	after string // "open", "asked" or "changed"
	delay time.Duration
}

// choose gives how long the i-th target takes from a request to its effect, and when its daemon is
// killed. The moments lie over the whole way of a release. Most of its time is spent until the
// decision; most can go wrong around the effect, so two of three kills aim there. A slow target
// has its effect only after the next daemon has looked for it.
func choose(random *rand.Rand, i int) (takes time.Duration, m moment) {
	within := func(d time.Duration) time.Duration { return time.Duration(random.Int64N(int64(d))) }
	takes = within(40 * time.Millisecond)
	if i%4 == 3 {
		takes = within(2 * time.Second)
	}
	switch i % 3 {
	case 0:
		return takes, moment{"open", within(3500 * time.Millisecond)}
	case 1:
		return takes, moment{"asked", within(takes + 20*time.Millisecond)}
	default:
		return takes, moment{"changed", within(400 * time.Millisecond)}
	}
}

// Each of fifty bad releases loses its daemon to SIGKILL at a random moment between open and
// closed. A new one on the same data takes it up, rolls it back, and changes the target once:
// also where the target itself does not tell a repeated request from a new one.
func TestKilledAtRandomMoments(t *testing.T) {
	seed := *killSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d; the same moments again: go test ./internal/e2e -run Killed -kill.seed %[1]d", seed)
	for i := range kills {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		takes, m := choose(random, i)
		retry := "by_key"
		if i%2 == 1 {
			retry = "by_target"
		}
		t.Run(fmt.Sprintf("%02d %s after %s %s", i+1, m.delay.Round(time.Microsecond), m.after, retry), func(t *testing.T) {
			t.Parallel()
			killed(t, m, startTarget(t, retry == "by_key", takes), retry)
		})
	}
}

// victim is a daemon that is killed, with what it leaves behind.
type victim struct {
	commandLine
	dir     string
	address string // host:port
	daemon  *process
}

// startVictim starts a daemon whose release has that retry safety.
func startVictim(t *testing.T, g *target, retry string) *victim {
	t.Helper()
	v := &victim{dir: t.TempDir(), address: servertest.Address(t)}
	v.commandLine = commandLine{t: t, env: []string{"GATEKEEPER_URL=http://" + v.address}}
	replacer := strings.NewReplacer("LISTEN", v.address, "SHOP", g.address, "RETRY", retry)
	for _, name := range []string{"gatekeeper.yml", "health.yml"} {
		text, err := os.ReadFile(filepath.Join("testdata", "killed", name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(v.dir, name), []byte(replacer.Replace(string(text))), 0o600))
	}
	v.serve()
	return v
}

// serve starts the daemon on what there is.
func (v *victim) serve() {
	v.t.Helper()
	v.daemon = run(v.t, program, "serve", "--config", filepath.Join(v.dir, "gatekeeper.yml"))
	eventually(v.t, func() bool { return answers("http://" + v.address + "/-/ready") }, "the daemon is ready")
}

// ending is how following a release ended.
type ending struct {
	code           int
	stdout, stderr string
}

// unreachable is the exit code that tells a pipeline to try again.
const unreachable = 7

// pipeline says that the release is deployed and follows it to its end, all beside the test. What
// the daemon is not there to hear is said again; once followed, only the command line itself waits
// for the daemon to come back.
func (v *victim) pipeline(id string) <-chan ending {
	ended := make(chan ending, 1)
	insist := func(args ...string) (e ending) {
		for {
			e.code, e.stdout, e.stderr = v.try(args...)
			if again := e.code == unreachable && e.stdout == ""; !again || v.t.Context().Err() != nil {
				return e
			}
		}
	}
	go func() {
		e := insist("release", "deployed", id)
		if e.code == 0 {
			e = insist("release", "wait", id)
		}
		ended <- e
	}()
	return ended
}

// killed runs a bad release whose daemon is killed at that moment.
func killed(t *testing.T, m moment, g *target, retry string) {
	t.Helper()
	v := startVictim(t, g, retry)
	id := strings.TrimSpace(v.gives(0, "release", "open", "--version", "v2", "--previous-version", "v1", "-f", filepath.Join(v.dir, "health.yml")))
	opened := make(chan struct{})
	close(opened)
	at := map[string]<-chan struct{}{"open": opened, "asked": g.asked, "changed": g.changed}[m.after]
	g.deploy("v2")
	ended := v.pipeline(id)
	select {
	case <-at:
	case <-time.After(patience):
		t.Fatalf("nothing was %s", m.after)
	}
	time.Sleep(m.delay)
	v.daemon.end(syscall.SIGKILL)
	gone := time.Now()
	v.serve()

	told := <-ended
	require.Equal(t, 3, told.code, "%s\n%s", told.stdout, told.stderr)
	require.Contains(t, told.stdout, "ROLLED BACK")
	var r gatekeeper.Release
	require.NoError(t, json.Unmarshal([]byte(v.gives(0, "release", "show", id, "-o", "json")), &r))
	require.Equal(t, gatekeeper.OutcomeRolledBack, r.Outcome, "%s", told.stdout)
	require.True(t, r.ClosedAt.After(gone), "it was closed at %s, before the kill at %s: this was no test", r.ClosedAt, gone)
	keys, effects, live := g.counts()
	require.Equal(t, "v1", live)
	require.Equal(t, 1, keys, "distinct keys")
	require.Equal(t, 1, effects, "effects at the target\n%s", told.stdout)
	v.replays(t, id, filepath.Join(v.dir, "health.yml"))
}
