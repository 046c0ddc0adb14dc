package engine

import (
	"context"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// maxSettle is how long after a scrape a slot lies at most: until the scrape is surely stored.
const maxSettle = 500 * time.Millisecond

// follow finds out, once the rule has data, when that is scraped, and lays the rule's slots right
// behind: harm is seen half an interval earlier on average. What one scrape feeds is spread over a
// tenth of the interval, so that many releases do not ask in one instant. at is the slot just judged. Where the
// scrape can't be told the slots stay as they are; that is no harm, only later.
func (u *run) follow(w *watch, at time.Time) {
	if w.followed || !u.e.follows || !w.Last.Verdict.Answered() {
		return
	}
	w.followed = true
	var scraped time.Time
	u.job("phase of "+w.job, u.e.cfg.QueryTimeout, func(ctx context.Context) {
		var err error
		if scraped, err = w.Rule.Newest(ctx, u.q, at); err != nil {
			u.log.Debug("it can't be told when the rule's metrics are scraped", "rule", w.Rule.Name, "err", err)
		}
	}, func() {
		if !scraped.IsZero() {
			w.shift(scraped.Add(rules.HashPhase(u.r.Service, u.r.Environment, w.Rule.Group, w.Rule.Interval/10)))
		}
	})
}

// shift lays the slots right behind the instants at which the metrics are scraped, of which one is
// given. Slots that were missed meanwhile are asked by range, as after any gap.
func (w *watch) shift(scraped time.Time) {
	settle := min(w.Rule.Interval/20, maxSettle)
	w.Phase = time.Duration(scraped.Add(settle).UnixNano() % int64(w.Rule.Interval))
	judged := w.Next.Add(-w.Rule.Interval)
	w.Next = w.Slot(judged.Add(time.Nanosecond))
}

// phaseOf gives the phase of a slot, which holds over a restart.
func phaseOf(known gatekeeper.Track, interval time.Duration) time.Duration {
	return time.Duration(known.LastSlot.UnixNano() % int64(interval))
}
