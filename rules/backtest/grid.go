package backtest

import "time"

// maxPoints is how many points a backend gives of one series in one request: Prometheus's own limit.
const maxPoints = 11_000

// grid is where the slots of a rule group lie, with those of other phases and with the evaluations
// where a `for` runs out between slots: all of them are whole steps after its start.
type grid struct {
	start  time.Time // the last instant of the grid at or before the release's opening
	step   time.Duration
	phase  time.Duration // the daemon's
	phases int           // how many can be told apart
}

// gridOf lays the grid of a group. waits are the times of `for` that are tried; phases is how many
// phases are wanted. Where the points until end would be more than one request gives, there are
// fewer phases.
func gridOf(interval, phase time.Duration, waits []time.Duration, phases int, opened, end time.Time) grid {
	base := interval
	for _, wait := range waits {
		base = divisor(base, wait%interval)
	}
	g := grid{step: base, phase: phase, phases: 1}
	room := int64(end.Sub(opened)) / maxPoints
	for split := int64(1); split <= int64(base/time.Millisecond) && g.phases < phases; split++ {
		step := int64(base) / split
		if int64(base)%split != 0 || step%int64(time.Millisecond) != 0 {
			continue
		}
		if step <= room && split > 1 {
			break
		}
		g.step = time.Duration(step)
		g.phases = min(phases, int(interval/g.step))
	}
	since := (opened.UnixNano() - int64(phase)) / int64(g.step)
	g.start = time.Unix(0, since*int64(g.step)+int64(phase)).UTC()
	return g
}

// shift gives how much later the slots of the phase numbered i of n lie.
func (g grid) shift(interval time.Duration, i, n int) time.Duration {
	steps := int64(interval / g.step)
	return time.Duration(int64(i)*steps/int64(n)) * g.step
}

// last gives the last instant of the grid at or before t.
func (g grid) last(t time.Time) time.Time {
	if t.Before(g.start) {
		return g.start
	}
	return g.start.Add(t.Sub(g.start) / g.step * g.step)
}

// divisor is the greatest that both have.
func divisor(a, b time.Duration) time.Duration {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
