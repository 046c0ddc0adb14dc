package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/alertmanager"
)

// calm is how long customers go on after the old version serves again.
const calm = 2 * time.Second

func TestPollingPrometheus(t *testing.T) {
	t.Parallel()
	s := start(t, production("prometheus.yml"))
	told := badRelease(t, s, "health/polled.yml")
	require.Contains(t, told, "HighErrorRate")
	require.Regexp(t, `pending +HighErrorRate: 0\.\d+, limit > 0\.05`, told)
}

func TestPrometheusPushes(t *testing.T) {
	t.Parallel()
	s := start(t, production("prometheus.yml"))
	told := badRelease(t, s, "health/alerted.yml")
	require.Contains(t, told, "ShopErrors is firing, says prometheus")
	require.NotContains(t, told, "says alertmanager")
}

func TestAlertmanagerCallsTheWebhook(t *testing.T) {
	t.Parallel()
	s := start(t, production("prometheus-alertmanager.yml"))
	told := badRelease(t, s, "health/alerted.yml")
	require.Contains(t, told, "ShopErrors is firing, says alertmanager")
	require.NotContains(t, told, "says prometheus")
}

// The files that docker-compose.yml mounts.
func TestTheLaboratory(t *testing.T) {
	t.Parallel()
	s := start(t, laboratory())
	require.Contains(t, badRelease(t, s, "health.yml"), "HighErrorRate")
}

// A good version passes by each way, and nothing is switched.
func TestAGoodReleasePasses(t *testing.T) {
	t.Parallel()
	for _, health := range []string{"health/polled.yml", "health/alerted.yml"} {
		t.Run(health, func(t *testing.T) {
			t.Parallel()
			s := start(t, production("prometheus.yml"))
			id := open(s, health, "--window", "20s")
			s.deploy()
			deployed := time.Now()
			s.gives(0, "release", "deployed", id)
			told := s.gives(0, "release", "wait", id)
			require.Contains(t, told, "PASSED")
			r := s.release(id)
			require.Equal(t, gatekeeper.OutcomePassed, r.Outcome)
			require.Nil(t, r.Decision)
			before, after := s.weights()
			require.Equal(t, [2]string{"0", "100"}, [2]string{before, after})
			by, err := s.traffic.since(deployed)
			require.NoError(t, err)
			require.NotZero(t, by["v2"])
			require.Zero(t, by["v1"], "nobody was sent back")
			require.Zero(t, s.traffic.failures())
			require.Empty(t, s.alerts())
		})
	}
}

// open opens the release of v2 and gives its id.
func open(s *stack, health string, more ...string) string {
	s.t.Helper()
	args := []string{"release", "open", "--version", "v2", "--previous-version", "v1", "-f", s.path(health)}
	return strings.TrimSpace(s.gives(0, append(args, more...)...))
}

// badRelease releases v2, which then goes bad, and gives what the command line told of it: it is
// taken back, and from then on nobody meets it.
func badRelease(t *testing.T, s *stack, health string) (told string) {
	t.Helper()
	id := open(s, health)
	s.deploy()
	s.gives(0, "release", "deployed", id)
	s.new.bad.Store(true)
	told = s.gives(3, "release", "wait", id)
	for _, want := range []string{"deployed", "decided", "applied", "reached", "recovered", "ROLLED BACK"} {
		require.Contains(t, told, want)
	}
	t.Log("\n" + told)

	r := s.release(id)
	require.Equal(t, gatekeeper.OutcomeRolledBack, r.Outcome)
	reached := r.Rungs[0].ReachedAt
	require.False(t, reached.IsZero())
	eventually(t, func() bool { return time.Since(reached) > calm }, "the calm after the rollback")
	onlyOld(t, s, reached)
	eventually(t, func() bool { return s.alerts()[alertmanager.RolledBack] != nil }, "Alertmanager is told")
	sent := s.alerts()[alertmanager.RolledBack]
	require.Equal(t, id, sent.Labels["release"])
	require.Equal(t, "v2", sent.Labels["version"])
	return told
}

// onlyOld checks that since then the old version served alone, and everybody.
func onlyOld(t *testing.T, s *stack, since time.Time) {
	t.Helper()
	by, err := s.traffic.since(since)
	require.NoError(t, err, "a customer got no answer at all")
	require.Zero(t, by["v2"], "the bad version answered after it was taken back: %v", by)
	require.Greater(t, by["v1"], 50)
	require.Len(t, by, 1, "only the shop answers: %v", by)
	require.True(t, time.Unix(0, s.new.last.Load()).Before(since), "the bad version answered last at %s, after %s", time.Unix(0, s.new.last.Load()), since)
	before, after := s.weights()
	require.Equal(t, [2]string{"100", "0"}, [2]string{before, after})
	require.NotZero(t, s.traffic.failures(), "the version was bad at all")
}
