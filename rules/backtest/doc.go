// Package backtest replays health files over past releases: whether and when each rule would have
// decided, what a daemon would have made of it, how much hangs on where the slots lie, and what other
// thresholds and times would have done.
//
// What judges and counts is the daemon's own: [rules.BoundRule.Judge] and [rules.Watch]. Their queries are
// answered from one range query per expression, for all slots, phases, thresholds and times together.
//
// After the first fire nothing more is said: data after a rollback, real or not, is not that of
// the release. What the backend does not hold any more is unknown, and never a pass.
package backtest
