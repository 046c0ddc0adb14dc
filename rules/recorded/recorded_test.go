package recorded_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/storage"
	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/recorded"
)

const lookback = 5 * time.Minute

// minute is so long after the first sample.
func minute(m float64) time.Time {
	return time.Unix(0, 0).UTC().Add(time.Duration(m * float64(time.Minute)))
}

// world is a store with samples, and an engine over it.
type world struct {
	t      *testing.T
	store  storage.Storage
	engine *promql.Engine
	source recorded.Source
}

func load(t *testing.T, samples string) world {
	store := promqltest.LoadedStorage(t, samples)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	engine := promqltest.NewTestEngine(t, false, lookback, 1e6)
	return world{t, store, engine, recorded.Source{Engine: engine, Store: store, Lookback: lookback, MaxSamples: 1e6}}
}

// ask gives the answer to a question over the recording rules, by the series' labels.
func (w world) ask(all []rules.Recording, expr string, at time.Time) (map[string]string, error) {
	v, err := rules.EngineQuery(w.engine, w.source.Over(all, at))(w.t.Context(), expr, at)
	got := map[string]string{}
	for _, s := range v {
		got[s.Metric.String()] = fmt.Sprint(s.F)
		if s.H != nil {
			got[s.Metric.String()] = s.H.String()
		}
	}
	return got, err
}

func record(name, expr string) rules.Recording {
	return rules.Recording{Record: name, Expr: expr, Interval: time.Minute, File: "health.yml", Line: 7}
}

const shop = `load 1m
  req{job="a",code="200"} 0+60x20
  req{job="a",code="500"} 0+6x20
  req{job="b",code="200"} 0+30x20
  gone{job="a"} 1 1 1 _ _ _ _ _ 1 1 1
  hist{job="a"} {{schema:0 sum:1 count:1 buckets:[1]}}+{{schema:0 sum:3 count:2 buckets:[1 1]}}x20
  old:name{job="z"} 7x20
`

func TestQuestions(t *testing.T) {
	w := load(t, shop)
	all := []rules.Recording{
		record("job:req:rate", `sum by (job) (rate(req[2m]))`),
		record("job:err:ratio", `sum by (job) (rate(req{code="500"}[2m])) / job:req:rate`),
		{Record: "labelled", Expr: "job:err:ratio", Labels: map[string]string{"job": "", "team": "shop"}, Interval: time.Minute},
		record("now", "time()"),
		record("old:name", "vector(1)"),
		record("counted", `count(gone)`),
		record("job:hist", "rate(hist[2m])"),
		record("sorted", "sort(gone)"),
		record("began", "max_over_time(vector(time())[1m:30s] @ start())"),
	}
	all[3].QueryOffset = 20 * time.Second
	for expr, want := range map[string]map[string]string{
		`job:req:rate`:                      {`{__name__="job:req:rate", job="a"}`: "1.1", `{__name__="job:req:rate", job="b"}`: "0.5"},
		`job:req:rate{job!="b"}`:            {`{__name__="job:req:rate", job="a"}`: "1.1"},
		`round(job:err:ratio, 0.001)`:       {`{job="a"}`: "0.091"},
		`round(labelled{team="shop"} * 10)`: {`{team="shop"}`: "1"},
		`labelled{team="other"}`:            {},
		`now - 0`:                           {"{}": "580"}, // recorded 20 s before each slot
		`now offset 1m`:                     {`{__name__="now"}`: "520"},
		`now offset 50s`:                    {`{__name__="now"}`: "520"}, // the latest before it
		`now @ 130`:                         {`{__name__="now"}`: "100"},
		`count_over_time(now[3m])`:          {"{}": "3"},
		`max_over_time(now[3m:30s])`:        {"{}": "580"},
		`min_over_time(now[2m] offset 1m)`:  {"{}": "460"},
		`old:name`:                          {`{__name__="old:name"}`: "1"}, // what the store has is hidden
		`count({__name__=~"old:.*|gone"})`:  {"{}": "2"},
		`count({__name__=~"job:.*:r.*"})`:   {"{}": "3"},
		`avg_over_time(job:req:rate[5m])`:   {`{job="a"}`: "1.1", `{job="b"}`: "0.5"},
		`sorted`:                            {`{__name__="sorted", job="a"}`: "1"},
		`began`:                             {`{__name__="began"}`: "600"},
		`delta(began[2m])`:                  {"{}": "120"}, // each instant has its own start
	} {
		got, err := w.ask(all, expr, minute(10))
		require.NoError(t, err, expr)
		require.Equal(t, want, got, expr)
	}
	got, err := w.ask(all, "histogram_count(job:hist)", minute(10))
	require.NoError(t, err)
	require.Len(t, got, 1)
	got, err = w.ask(all[:1], "job:req:rate offset -1m", minute(10))
	require.NoError(t, err)
	require.Len(t, got, 2)
}

// What is gone at the next instant is gone at once, though the sample before it is not old.
func TestASeriesEnds(t *testing.T) {
	w := load(t, "load 1m\n  x{pod=\"a\"} 1 1 1 stale\n  x{pod=\"b\"} 1 1 1 1 1 1 1\n  h {{schema:0 count:1 sum:1 buckets:[1]}} {{schema:0 count:1 sum:1 buckets:[1]}} stale\n")
	all := []rules.Recording{record("r", "x > 0"), record("hr", "h")}
	for m, want := range map[float64]string{2: "2", 2.5: "2", 3: "1", 4.5: "1"} {
		got, err := w.ask(all, "count(r)", minute(m))
		require.NoError(t, err)
		require.Equal(t, map[string]string{"{}": want}, got, m)
	}
	// seen from a later question, at each of its own instants
	got, err := w.ask(all, "min_over_time(count(r)[5m:1m])", minute(6))
	require.NoError(t, err)
	require.Equal(t, "1", got["{}"])
	got, err = w.ask(all, "max_over_time(count(r)[4m:10s])", minute(6))
	require.NoError(t, err)
	require.Equal(t, "2", got["{}"])
	got, err = w.ask(all, "count(r offset 30s)", minute(3.25)) // at 2:45 the last one of 2:15 holds
	require.NoError(t, err)
	require.Equal(t, "2", got["{}"])
	got, err = w.ask(all, "count(r @ 200)", minute(6)) // 180 has ended it, within the lookback of 120
	require.NoError(t, err)
	require.Equal(t, "1", got["{}"])
	got, err = w.ask(all, "hr @ 130", minute(6))
	require.NoError(t, err)
	require.Empty(t, got)
}

// A rule sees those before it; what is behind it is hidden, and has nothing yet.
func TestRulesSeeThoseBeforeThem(t *testing.T) {
	w := load(t, "load 1m\n  first 100x20\n  second 100x20\n  x 1x20\n")
	all := []rules.Recording{record("first", `x + 1`), record("second", `first * 10`), record("third", `count({__name__=~"first|second|third|x"})`)}
	got, err := w.ask(all, `{__name__=~"first|second|third"}`, minute(5))
	require.NoError(t, err)
	require.Equal(t, map[string]string{`{__name__="first"}`: "2", `{__name__="second"}`: "20", `{__name__="third"}`: "3"}, got)
	got, err = w.ask([]rules.Recording{all[1], all[0]}, "second", minute(5))
	require.NoError(t, err)
	require.Empty(t, got)
}

// Two releases record other things by one name, and neither sees the other's.
func TestReleasesAreApart(t *testing.T) {
	w := load(t, shop)
	one, err := w.ask([]rules.Recording{record("errors", `sum(rate(req{job="a",code="500"}[2m]))`)}, "errors", minute(10))
	require.NoError(t, err)
	two, err := w.ask([]rules.Recording{record("errors", `sum(rate(req{job="b"}[2m]))`)}, "errors", minute(10))
	require.NoError(t, err)
	require.Equal(t, "0.1", one[`{__name__="errors"}`])
	require.Equal(t, "0.5", two[`{__name__="errors"}`])
	none, err := w.ask(nil, "errors", minute(10))
	require.NoError(t, err)
	require.Empty(t, none, "nothing was written")
}

func TestWhatCannotBeRecorded(t *testing.T) {
	w := load(t, shop)
	limited := record("limited", "sum by (job) (req)")
	limited.Limit = 1
	twins := record("twins", "req")
	twins.Labels = map[string]string{"code": ""}
	again := record("one", "vector(2)")
	for expr, says := range map[string]string{
		"limited":               "recording rule limited (health.yml:7): it gives 2 series, more than the group's limit of 1",
		"twins":                 "two of its samples have the same labels",
		"one":                   "two of its samples have the same labels",
		"failing":               "recording rule failing (health.yml:7): ",
		"uses":                  "series: recording rule failing (health.yml:7): ", // and not the one that uses it
		"sum_over_time(r[50d])": "at more than 50000 instants",
	} {
		_, err := w.ask([]rules.Recording{
			limited, twins, record("one", "vector(1)"), again, record("r", "vector(1)"),
			record("failing", "req * on () req"), record("uses", "failing"),
		}, expr, minute(10))
		require.ErrorContains(t, err, says, expr)
	}
	few := w
	few.source.MaxSamples = 100
	_, err := few.ask([]rules.Recording{record("r", "vector(1)")}, "sum_over_time(r[2h])", minute(10))
	require.ErrorAs(t, err, new(promql.ErrTooManySamples))
}

// A name that is used twice by a rule that is used twice, and so on, is evaluated once for each.
func TestUsedTwiceIsEvaluatedOnce(t *testing.T) {
	w := load(t, "load 1m\n  x 1x20\n")
	all := []rules.Recording{record("r0", "x")}
	for n := 1; n < 40; n++ {
		all = append(all, record(fmt.Sprintf("r%d", n), strings.ReplaceAll("(r + r) / 2", "r", fmt.Sprintf("r%d", n-1))))
	}
	got, err := w.ask(all, "r39", minute(10))
	require.NoError(t, err)
	require.Equal(t, "1", got[`{__name__="r39"}`])
}

// A store into which the same rules recorded slot by slot gives the same answers, once they have recorded
// for as long as the question looks back.
func TestSameAsRecordedSlotBySlot(t *testing.T) {
	all := []rules.Recording{
		record("job:req", `sum by (job) (rate(req[90s]))`),
		record("job:top", `topk(1, job:req)`),
		record("job:high", `job:req > 1`),
		record("job:held", `max_over_time(job:high[3m])`),
		record("job:count", `count(job:high) or vector(0)`),
		record("job:old", `job:req offset 2m`),
	}
	all[3].Labels = map[string]string{"kind": "held"}
	for i := range all {
		all[i].Interval = 30 * time.Second
	}
	for seed := range uint64(4) {
		w := load(t, someSamples(rand.New(rand.NewPCG(seed, 1))))
		kept := load(t, "load 1m\n x 0\n")
		fanout := storage.NewFanout(nil, kept.store, w.store)
		var group []*rules.Recorder
		for _, r := range all {
			group = append(group, rules.NewRecorder(r))
		}
		for slot := minute(0.25); slot.Before(minute(30)); slot = slot.Add(30 * time.Second) {
			require.NoError(t, rules.RecordGroup(t.Context(), group, rules.EngineQuery(w.engine, fanout), kept.store, slot))
			if slot.Before(minute(12)) {
				continue
			}
			for _, expr := range []string{
				"job:req", "job:top", "job:high", "job:held", "job:count", "job:old", "avg_over_time(job:req[5m])",
				"count_over_time(job:high[4m])", "job:high offset 45s", "max_over_time(job:count[2m:20s])", `{__name__=~"job:.*"}`,
				"changes(job:count[3m] offset 1m)", "sum(job:held) - sum(job:held offset 100s)", "absent(job:high)", "timestamp(job:top)",
			} {
				was, err := rules.EngineQuery(w.engine, fanout)(t.Context(), expr, slot)
				require.NoError(t, err)
				now, err := rules.EngineQuery(w.engine, w.source.Over(all, slot))(t.Context(), expr, slot)
				require.NoError(t, err)
				require.ElementsMatch(t, was, now, "seed %d at %s: %s", seed, slot, expr)
			}
		}
	}
}

// someSamples are counters that come, go and begin anew.
func someSamples(r *rand.Rand) string {
	var b strings.Builder
	b.WriteString("load 15s\n")
	for _, job := range []string{"a", "b", "c"} {
		for pod := range 2 {
			fmt.Fprintf(&b, "  req{job=%q,pod=\"%d\"}", job, pod)
			for v, there, i := 0, true, 0; i < 130; i++ {
				switch {
				case r.IntN(12) == 0:
					there = !there
				case r.IntN(30) == 0:
					v = 0
				}
				if v += r.IntN(40); there {
					fmt.Fprintf(&b, " %d", v)
				} else if r.IntN(2) == 0 {
					b.WriteString(" stale")
				} else {
					b.WriteString(" _")
				}
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

func TestCodes(t *testing.T) {
	w := load(t, shop)
	_, err := w.ask([]rules.Recording{record("r", "vector(1)")}, "sum_over_time(r[50d])", minute(10))
	require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(err))
	require.Equal(t, "Take shorter ranges, or a longer interval for its group.", gatekeeper.HintOf(err))
}
