package main

import (
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	apiAddress = regexp.MustCompile(`Gatekeeper's API is at (\S+),`)
	staysUp    = "It stays up until you press Ctrl-C"
)

// beginDemo runs the demo in a folder of its own; stop interrupts it and gives its exit code.
func beginDemo(t *testing.T, args ...string) (stop func() int, done <-chan int, said *log) {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	said = &log{}
	ctx, cancel := context.WithCancel(t.Context())
	codes := make(chan int, 1)
	go func() { codes <- run(ctx, append([]string{"demo"}, args...), said, said) }()
	t.Cleanup(cancel)
	return func() int { cancel(); return <-codes }, codes, said
}

// The whole demo: a good release, a bad one, and then the command line against it.
func TestDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("takes about 35 s")
	}
	stop, done, said := beginDemo(t)
	require.Eventually(t, func() bool { return strings.Contains(said.String(), staysUp) || len(done) > 0 }, 3*time.Minute, 50*time.Millisecond)
	require.Empty(t, done, "%s", said)
	for _, want := range []string{
		"alert: HighErrorRate", "traffic", "PASSED at", "pending", "decided", "applied", "reached", "recovered", "ROLLED BACK at",
		"pending → decided", "No request that was sent after the flag was back was answered by v3.",
	} {
		require.Contains(t, said.String(), want)
	}
	require.NotContains(t, said.String(), "\x1b", "it is no terminal")

	t.Setenv("GATEKEEPER_URL", apiAddress.FindStringSubmatch(said.String())[1])
	require.Regexp(t, `(?s)demo-bad.*rolled_back.*demo-good.*passed`, gk(t, 0, "release", "list"))
	require.Contains(t, gk(t, 0, "release", "show", "demo-bad"), "ROLLED BACK")
	require.Regexp(t, `checkout +false +v3=v3 +v2=v2`, gk(t, 0, "flag", "get", "checkout"))
	require.Equal(t, 0, stop(), "%s", said)
}

// A release that does not end as it should is told, and makes the exit code.
func TestDemoThatGoesWrong(t *testing.T) {
	_, done, said := beginDemo(t, "--exit")
	require.Eventually(t, func() bool { return strings.Contains(said.String(), "  deployed  ") }, time.Minute, 10*time.Millisecond, "%s", said)
	t.Setenv("GATEKEEPER_URL", apiAddress.FindStringSubmatch(said.String())[1])
	gk(t, 0, "release", "close", "demo-good", "--why", "a test")
	require.Equal(t, exitError, <-done, "%s", said)
	require.Contains(t, said.String(), `v2 should have ended as "passed" and ended as "aborted"`)
}

func TestDemoInterrupted(t *testing.T) {
	stop, _, said := beginDemo(t, "--exit")
	require.Eventually(t, func() bool { return strings.Contains(said.String(), "All customers get v1") }, time.Minute, 10*time.Millisecond, "%s", said)
	require.Equal(t, exitError, stop())
	require.Contains(t, said.String(), "interrupted")
}
