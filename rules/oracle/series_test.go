package oracle

import (
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/teststorage"
	"github.com/stretchr/testify/require"
)

const (
	scrape  = 15 * time.Second
	scrapes = 40
)

// series is one random series; next gives its sample at a scrape, or none.
type series struct {
	labels labels.Labels
	next   func(r *rand.Rand) sample
}

type sample struct {
	gap bool
	f   float64
	h   *histogram.FloatHistogram
}

// fill puts random series of every kind into a store: counters with resets, gauges with NaN, native
// and classic histograms, series that come and go and labels that change.
func fill(t *testing.T, r *rand.Rand) storage.Storage {
	store := teststorage.New(t)
	var all []series
	for _, version := range []string{"v1", "v2"} {
		for _, code := range []string{"200", "500", "503"} {
			for _, pod := range []string{"a", "b"} {
				if r.IntN(8) == 0 {
					continue // never there
				}
				set := labels.FromStrings("__name__", "req_total", "version", version, "code", code, "pod", pod)
				all = append(all, series{set, holed(r, counter(r.Float64()*20))})
			}
		}
	}
	for _, pod := range []string{"a", "b", "c"} {
		all = append(all,
			series{labels.FromStrings("__name__", "temp", "pod", pod), holed(r, gauge)},
			series{labels.FromStrings("__name__", "warmth", "pod", pod), holed(r, gauge)},
			series{labels.FromStrings("__name__", "native", "pod", pod), holed(r, native())})
	}
	for i, le := range []string{"0.1", "0.5", "1", "+Inf"} {
		all = append(all, series{labels.FromStrings("__name__", "lat_bucket", "le", le), counter(float64(1 + i))})
	}
	for i := range 6 { // one of them is there at a time
		all = append(all, series{labels.FromStrings("__name__", "leader", "pod", strconv.Itoa(i)), holed(r, gauge)})
	}
	scrapeAll(t, r, store, all)
	return store
}

func scrapeAll(t *testing.T, r *rand.Rand, store storage.Appendable, all []series) {
	ended := make([]bool, len(all))
	leader := 0
	for n := range scrapes {
		if r.IntN(6) == 0 {
			leader = r.IntN(6)
		}
		app := store.Appender(t.Context())
		at := (time.Duration(n) * scrape).Milliseconds()
		for i, s := range all {
			v := s.next(r)
			if s.labels.Get("__name__") == "leader" && s.labels.Get("pod") != strconv.Itoa(leader) {
				v = sample{f: math.Float64frombits(value.StaleNaN)}
			}
			if value.IsStaleNaN(v.f) && ended[i] || v.gap {
				continue
			}
			ended[i] = value.IsStaleNaN(v.f)
			var err error
			if v.h != nil {
				_, err = app.AppendHistogram(0, s.labels, at, nil, v.h)
			} else {
				_, err = app.Append(0, s.labels, at, v.f)
			}
			require.NoError(t, err)
		}
		require.NoError(t, app.Commit())
	}
}

// holed makes scrapes fail and series end for a while.
func holed(r *rand.Rand, next func(*rand.Rand) sample) func(*rand.Rand) sample {
	rarely, away := 5+r.IntN(30), 0
	stale := false
	return func(r *rand.Rand) sample {
		v := next(r)
		switch {
		case away > 0:
			if away--; stale {
				return sample{f: math.Float64frombits(value.StaleNaN)}
			}
			return sample{gap: true}
		case r.IntN(rarely) == 0:
			away, stale = r.IntN(12), r.IntN(2) == 0
			return sample{gap: true}
		}
		return v
	}
}

func counter(rate float64) func(*rand.Rand) sample {
	total := rate * 10
	return func(r *rand.Rand) sample {
		switch r.IntN(25) {
		case 0:
			total = 0 // restarted
		case 1, 2: // idle
		default:
			total += math.Floor(rate * (0.5 + r.Float64()) * scrape.Seconds())
		}
		return sample{f: total}
	}
}

func gauge(r *rand.Rand) sample {
	switch r.IntN(12) {
	case 0:
		return sample{f: math.NaN()}
	case 1:
		return sample{f: math.Inf(1)}
	}
	return sample{f: float64(r.IntN(11)) - 2}
}

func native() func(*rand.Rand) sample {
	h := histogram.FloatHistogram{
		Schema: 0, ZeroThreshold: 0.001,
		PositiveSpans: []histogram.Span{{Offset: 0, Length: 3}}, PositiveBuckets: []float64{1, 1, 1}, Count: 3, Sum: 6,
	}
	return func(r *rand.Rand) sample {
		if r.IntN(25) == 0 {
			h.PositiveBuckets, h.Count, h.Sum = []float64{0, 0, 0}, 0, 0
		}
		b := append([]float64(nil), h.PositiveBuckets...)
		i, more := r.IntN(3), float64(r.IntN(5))
		b[i] += more
		h.PositiveBuckets, h.Count, h.Sum = b, h.Count+more, h.Sum+more*float64(i+1)
		return sample{h: h.Copy()}
	}
}
