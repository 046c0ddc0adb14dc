package ruletest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/explain"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// The journal of a release that was judged by what its health file records explains itself: nothing of
// that is needed again.
func TestReleasesOverRecordedSeriesAreReplayed(t *testing.T) {
	b, err := rules.ReadBundle(examples + "/recorded.yml")
	require.NoError(t, err)
	file, err := rules.Load(b)
	require.NoError(t, err)
	rolledBack := 0
	for _, one := range result(t, examples+"/recorded.test.yml").Tests {
		for _, release := range one.Releases {
			replayed, err := explain.Replay(release.Facts, file)
			require.NoError(t, err)
			require.True(t, replayed.Same(), "%s: %v", one.Name, replayed.Differences)
			if release.Outcome == string(gatekeeper.OutcomeRolledBack) {
				rolledBack++
			}
		}
	}
	require.Equal(t, 3, rolledBack)
}
