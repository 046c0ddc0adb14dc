package engine_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

// What a rollback takes is what its system takes, and hardly more for looking.
func TestATargetIsSeenSoonAfterItIsReached(t *testing.T) {
	for _, takes := range []time.Duration{100 * time.Millisecond, 650 * time.Millisecond, 3300 * time.Millisecond} {
		t.Run(takes.String(), func(t *testing.T) {
			timeline(t, func(t *testing.T, w *world) {
				bad(w)
				one := w.targets["one"]
				one.rolling = true
				one.after = func() {
					time.AfterFunc(takes, func() {
						w.mu.Lock()
						defer w.mu.Unlock()
						one.rolling = false
					})
				}
				id := w.opened(ruleR + flagPlan)
				w.to(6 * mnt)
				decided, _ := w.one(id, gatekeeper.KindDecided)
				reached, _ := w.one(id, gatekeeper.KindReached)
				require.GreaterOrEqual(t, reached-decided, takes)
				require.LessOrEqual(t, reached-decided-takes, max(20*time.Millisecond, takes/7))
			})
		})
	}
}
