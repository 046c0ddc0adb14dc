package bench

import (
	"slices"
	"testing"
	"time"
)

// spread is a set of measured times.
type spread []time.Duration

// at gives the time below which the fraction q of them lies.
func (s spread) at(q float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func (s spread) median() time.Duration { return s.at(0.5) }

// report tells a time in milliseconds.
func report(b *testing.B, d time.Duration, what string) {
	b.ReportMetric(float64(d.Microseconds())/1000, what+"-ms")
}

// ratio tells how the median of ours is to that of theirs.
func ratio(b *testing.B, ours, theirs spread, what string) {
	b.ReportMetric(float64(ours.median())/float64(theirs.median()), what)
}
