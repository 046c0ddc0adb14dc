package backtest_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/backtest"
)

// BenchmarkBacktest replays past releases beside asking the same real Prometheus the same rules
// instant by instant, one query after the other, as a script would, with the same code that judges. The
// backtest replays four releases at once, as the command does. Both take turns. ms-with-sweep is
// ours with 70 to 80 pairs of threshold and time tried for each rule.
func BenchmarkBacktest(b *testing.B) {
	samples, list := history(tales(rand.New(rand.NewPCG(1, 2)), 16), apart-20*mnt)
	list = backtest.Arrange(list)
	q := backend(b, samples)
	file := load(b, health)
	for _, phases := range []int{1, 10} {
		b.Run(fmt.Sprintf("phases=%d", phases), func(b *testing.B) {
			ours, theirs := &counting{Querier: q}, &counting{Querier: q}
			var ourTime, theirTime, sweepTime time.Duration
			o := backtest.Options{Phases: phases, Phase: still(0)}
			run := func(q rules.Querier, o backtest.Options) ([]backtest.Result, time.Duration) {
				begin := time.Now()
				results, err := backtest.Run(b.Context(), file, list, q, o)
				require.NoError(b, err)
				return results, time.Since(begin)
			}
			run(q, o) // Prometheus reads its blocks from the disk once
			for b.Loop() {
				results, took := run(ours, o)
				ourTime += took
				begin := time.Now()
				fired := oneByOne(b, file, list, phases, theirs)
				theirTime += time.Since(begin)
				for i, r := range results {
					for k, rule := range r.Rules {
						require.Equal(b, rule.Decision.At, fired[i][k], "both say the same")
					}
				}
				o.Sweep.On = true
				_, took = run(q, o)
				o.Sweep.On = false
				sweepTime += took
			}
			n := float64(b.N)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(ours.total())/n, "queries")
			b.ReportMetric(float64(theirs.total())/n, "queries-one-by-one")
			b.ReportMetric(ourTime.Seconds()*1000/n, "ms")
			b.ReportMetric(theirTime.Seconds()*1000/n, "ms-one-by-one")
			b.ReportMetric(sweepTime.Seconds()*1000/n, "ms-with-sweep")
			b.ReportMetric(float64(theirs.total())/float64(ours.total()), "times-fewer-queries")
			b.ReportMetric(theirTime.Seconds()/ourTime.Seconds(), "times-faster")
		})
	}
}

// oneByOne asks each rule at each of its slots, one query after the other, until it fires or the window
// is over, in every phase. It gives when each would have decided in the first.
func oneByOne(b *testing.B, file *rules.File, list []backtest.Release, phases int, q rules.Querier) [][]time.Time {
	var all [][]time.Time
	for _, r := range list {
		bound, err := file.Bind(rules.Vars{Service: r.Service, Environment: r.Environment, Version: r.Version, PreviousVersion: r.PreviousVersion})
		require.NoError(b, err)
		var fired []time.Time
		for _, rule := range bound.Rules {
			for k := range phases {
				at := instants(b, rule, r, rule.Interval*time.Duration(k)/time.Duration(phases), file.Window, q)
				if k == 0 {
					fired = append(fired, at)
				}
			}
		}
		all = append(all, fired)
	}
	return all
}

func instants(b *testing.B, rule *rules.BoundRule, r backtest.Release, phase, window time.Duration, q rules.Querier) time.Time {
	w := rules.NewWatch(rule, phase, gatekeeper.Track{}, gatekeeper.Reading{})
	preexisting := w.Open(rule.Judge(b.Context(), q, r.Opened))
	w.Deploy(r.Deployed, w.Base)
	end, overtime := r.Deployed.Add(window), time.Duration(0)
	for {
		at := w.At()
		if at.After(end) {
			more := w.Extends(end, end, overtime)
			if !more.After(end) {
				return time.Time{}
			}
			overtime += more.Sub(end)
			end = more
		}
		question, due := w.Ask(at)
		require.True(b, due)
		question.From = time.Time{} // what was asked before needs no second question
		w.Take(question, question.Answer(b.Context(), rule, q))
		if w.Full() && (!preexisting || w.Base.EverHealthy) {
			return at
		}
	}
}
