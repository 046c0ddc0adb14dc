package retention

import (
	"context"
	"math"
	"sort"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
)

// oldAudits gives the position of the newest audit record that may go: it and all before it were
// written before the instant; 0 where there is none. The turn by which the kill switch is on stays,
// with what follows it: the engine reads it back when it starts.
func oldAudits(ctx context.Context, j gatekeeper.Journal, before time.Time) (int64, error) {
	newest, err := j.Audits(ctx, 0, 1)
	if err != nil || len(newest) == 0 {
		return 0, err
	}
	var failed error
	young := func(seq int64) bool { // it is there, and not old enough
		page, err := j.Audits(ctx, seq+1, 1)
		if err != nil {
			failed = err
		}
		return err == nil && len(page) == 1 && !page[0].At.Before(before)
	}
	through := int64(sort.Search(int(newest[0].Seq), func(i int) bool { return failed == nil && young(int64(i)+1) }))
	if failed != nil || through == 0 {
		return 0, failed
	}
	left, err := j.Audits(ctx, through+1, 1)
	if err != nil || len(left) == 0 { // it went before
		return 0, err
	}
	turn, err := gatekeeper.LastTurn(ctx, j, math.MaxInt)
	if err != nil {
		return 0, err
	}
	if turn != nil && turn.What == gatekeeper.KillSwitchOn {
		through = min(through, turn.Seq-1)
	}
	return through, nil
}
