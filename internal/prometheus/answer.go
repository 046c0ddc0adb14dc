package prometheus

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// answer is the envelope of Prometheus's HTTP API (prometheus.io/docs, "HTTP API"). Infos are
// left out: they are advice about the expression and leave the answer whole.
type answer struct {
	Status string `json:"status"`
	Data   struct {
		ResultType string          `json:"resultType"`
		Result     json.RawMessage `json:"result"`
		Stats      struct {
			Samples struct {
				Total int64 `json:"totalQueryableSamples"`
			} `json:"samples"`
		} `json:"stats"` // where they were asked for
	} `json:"data"`
	ErrorType string   `json:"errorType"`
	Error     string   `json:"error"`
	Warnings  []string `json:"warnings"`
	Partial   bool     `json:"isPartial"` // VictoriaMetrics in a cluster
}

func (a *answer) warnings() []string {
	if a.Partial {
		return append(a.Warnings, "the backend calls the answer partial (isPartial)")
	}
	return a.Warnings
}

// failure is the error that the backend itself gave.
func (a *answer) failure(resp *http.Response) error {
	code, hint := gatekeeper.CodeUnavailable, "look into the backend's log"
	switch {
	case a.ErrorType == "bad_data" || resp.StatusCode == http.StatusBadRequest:
		code, hint = gatekeeper.CodeInvalid, "correct the expression"
	case a.ErrorType == "execution" || resp.StatusCode == http.StatusUnprocessableEntity:
		code, hint = gatekeeper.CodeInvalid, "try the expression in the backend's own interface"
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
		code, hint = gatekeeper.CodeRefused, "check the credentials of this backend"
	case a.ErrorType == "timeout" || a.ErrorType == "canceled":
		hint = "the expression is too slow there: ask for less, or raise timeout"
	}
	return gatekeeper.Errorf(code, hint, "it answered %s: %s: %s", resp.Status, a.ErrorType, shorten(a.Error))
}

func shorten(text string) string {
	if len(text) <= gatekeeper.MaxEvidenceText {
		return text
	}
	cut := gatekeeper.MaxEvidenceText
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}

// vector gives the samples at an instant. A native histogram is a sample of value 0, as in the
// value of a Prometheus alert.
func (a *answer) vector() ([]gatekeeper.Sample, error) {
	switch a.Data.ResultType {
	case "vector":
	case "scalar":
		var p point
		if err := a.into(&p); err != nil {
			return nil, err
		}
		return []gatekeeper.Sample{{Value: p.value}}, nil
	case "string", "matrix":
		return nil, gatekeeper.Errorf(gatekeeper.CodeInvalid, "write an expression that gives a vector or a number",
			"the expression gives a %s: that is no value at an instant", a.Data.ResultType)
	default:
		return nil, a.odd("a vector")
	}
	var raw []struct {
		Metric    map[string]string `json:"metric"`
		Value     *point            `json:"value"`
		Histogram *histogram        `json:"histogram"`
	}
	if err := a.into(&raw); err != nil {
		return nil, err
	}
	if err := capSeries(len(raw)); err != nil {
		return nil, err
	}
	samples := make([]gatekeeper.Sample, 0, len(raw))
	for _, one := range raw {
		if (one.Value == nil) == (one.Histogram == nil) {
			return nil, errors.New("a sample holds not exactly one of a value and a histogram")
		}
		s := gatekeeper.Sample{Labels: one.Metric}
		if one.Value != nil {
			s.Value = one.Value.value
		} else {
			s.Histogram = one.Histogram.text
		}
		samples = append(samples, s)
	}
	return samples, nil
}

// grid is the instants of a piece of a range: start is the caller's, asked the backend's.
type grid struct {
	start, asked time.Time
	step         time.Duration
	n            int
}

// at gives the caller's instant of a point, so that it is the slot's own however the backend
// rounds.
func (g grid) at(ms int64) (time.Time, error) {
	since := time.Duration(ms-g.asked.UnixMilli()) * time.Millisecond
	if since < 0 || since%g.step != 0 || int(since/g.step) >= g.n {
		return time.Time{}, gatekeeper.Errorf(gatekeeper.CodeUnavailable, "backends that align ranges must be told not to: VictoriaMetrics by params: {nocache: [\"1\"]}",
			"a point is at %s, which was not asked for", time.UnixMilli(ms).UTC().Format(time.RFC3339Nano))
	}
	return g.start.Add(since), nil
}

// addTo adds the series of a range answer to m.
func (a *answer) addTo(m *matrix, g grid) error {
	if a.Data.ResultType != "matrix" {
		return a.odd("a matrix")
	}
	var raw []struct {
		Metric     map[string]string `json:"metric"`
		Values     points            `json:"values"`
		Histograms []histogram       `json:"histograms"`
	}
	if err := a.into(&raw); err != nil {
		return err
	}
	if m.series == nil {
		m.series = map[string]*rules.Series{}
	}
	for _, one := range raw {
		all := one.Values
		for _, h := range one.Histograms {
			all = append(all, point{ms: h.ms, histogram: h.text})
		}
		slices.SortStableFunc(all, func(a, b point) int { return cmp.Compare(a.ms, b.ms) })
		key, err := json.Marshal(one.Metric) // sorted by name
		if err != nil {
			return err
		}
		series, ok := m.series[string(key)]
		if !ok {
			series = &rules.Series{Labels: one.Metric}
			m.series[string(key)] = series
		}
		if err := extend(series, all, g); err != nil {
			return err
		}
	}
	for _, w := range a.warnings() {
		if !slices.Contains(m.warned, w) {
			m.warned = append(m.warned, w)
		}
	}
	return capSeries(len(m.series))
}

func extend(s *rules.Series, all points, g grid) error {
	s.Points = slices.Grow(s.Points, len(all))
	for _, p := range all {
		at, err := g.at(p.ms)
		if err != nil {
			return err
		}
		if n := len(s.Points); n > 0 && !at.After(s.Points[n-1].At) {
			return fmt.Errorf("a series has two values at %s", at.UTC().Format(time.RFC3339Nano))
		}
		s.Points = append(s.Points, rules.Point{At: at, Value: p.value, Histogram: p.histogram})
	}
	return nil
}

func capSeries(n int) error {
	if n <= maxSeries {
		return nil
	}
	return gatekeeper.Errorf(gatekeeper.CodeInvalid, "aggregate in the expression, so that it gives fewer series",
		"the answer has %d series, more than %d", n, maxSeries)
}

func (a *answer) into(v any) error {
	if len(a.Data.Result) == 0 || string(a.Data.Result) == "null" {
		return fmt.Errorf("an answer of the type %q holds no result", a.Data.ResultType)
	}
	if err := json.Unmarshal(a.Data.Result, v); err != nil {
		return fmt.Errorf("the result is not a %s: %w", a.Data.ResultType, err)
	}
	return nil
}

func (a *answer) odd(want string) error {
	return fmt.Errorf("the result is of the type %q, want %s", shorten(a.Data.ResultType), want)
}
