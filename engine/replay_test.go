package engine_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/explain"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// lacking names the tests whose records may lack slots; no other may.
var lacking = map[string]bool{
	"TestTrailless_RecordsGoOn/pending":                  true, // written before slots were journaled
	"TestTrailless_RecordsGoOn/held":                     true,
	"TestTrailless_RecordsGoOn/verifying":                true,
	"TestTrailless_RecordsGoOn/rolled_back":              true,
	"TestStrand_ABreachThatStoodIsTold/held":             true, // nothing can be judged while the file can't be read
	"TestStrand_ABreachThatStoodIsTold/told":             true,
	"TestStrand_AFileThatCannotBeUsedEndsOnlyItsRelease": true,
}

// replayAll replays the record of every release of the world: what was journaled must lead to what
// was done.
func (w *world) replayAll() {
	ctx := context.Background() // the test's own is over
	ids, err := w.journal.List(ctx, gatekeeper.Listing{Limit: 200})
	require.NoError(w.t, err)
	for _, id := range ids {
		facts, err := w.journal.Facts(ctx, id)
		require.NoError(w.t, err)
		content, err := w.journal.File(ctx, facts[0].Body.(gatekeeper.Opened).File)
		require.NoError(w.t, err)
		bundle, err := rules.DecodeBundle(content)
		if err != nil {
			continue // a test broke it
		}
		file, err := rules.Load(bundle)
		if err != nil {
			continue
		}
		if dir := os.Getenv("RECORDS"); dir != "" { // for internal/explain/testdata
			record, err := json.Marshal(map[string]any{"bundle": bundle, "facts": facts})
			require.NoError(w.t, err)
			require.NoError(w.t, os.WriteFile(filepath.Join(dir, strings.ReplaceAll(w.t.Name(), "/", "_")+".json"), record, 0o644))
		}
		got, err := explain.Replay(facts, file)
		require.NoError(w.t, err)
		require.True(w.t, got.Same(), "%s; %s", got.Says(), w.story(id))
		require.True(w.t, len(got.Missing) == 0 || lacking[w.t.Name()], "%s: %v", got.Says(), got.Missing)
	}
}
