package prometheus

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// Querier is a [rules.Querier] over HTTP. Its methods may be called concurrently.
type Querier struct {
	base    *url.URL
	client  *http.Client
	params  url.Values
	offset  time.Duration
	timeout time.Duration
	slots   chan struct{}
}

var _ rules.Querier = (*Querier)(nil)

// New gives a querier, or an error that says which setting can't work. It does not ask the
// backend: one that is down now may be up when it is needed.
func New(c Config) (*Querier, error) {
	c = c.withDefaults()
	if err := c.Validate(); err != nil {
		return nil, err
	}
	base, err := c.Base()
	if err != nil {
		return nil, err
	}
	client, err := c.New("prometheus")
	if err != nil {
		return nil, err
	}
	return &Querier{
		base: base, client: client, params: c.Params,
		offset: time.Duration(c.QueryOffset), timeout: time.Duration(c.Timeout),
		slots: make(chan struct{}, c.MaxConcurrent),
	}, nil
}

// Close lets go of idle connections. Queries under way go on.
func (q *Querier) Close() error {
	q.client.CloseIdleConnections()
	return nil
}

// Query asks for expr at the instant at, to the millisecond.
func (q *Querier) Query(ctx context.Context, expr string, at time.Time) (rules.Vector, error) {
	form := url.Values{"query": {expr}, "time": {seconds(at.Add(-q.offset))}}
	answer, err := q.ask(ctx, "query", form)
	if err != nil {
		return rules.Vector{}, err
	}
	samples, err := answer.vector()
	if err != nil {
		return rules.Vector{}, q.noAnswer(err)
	}
	return rules.Vector{Samples: samples, Warnings: answer.warnings()}, nil
}

// QueryRange asks for expr at from, from+step, … to. A range of more than 11,000 points is asked
// in pieces, so `@ start()` and `@ end()` mean the ends of a piece there.
func (q *Querier) QueryRange(ctx context.Context, expr string, from, to time.Time, step time.Duration) (rules.Matrix, error) {
	if step < time.Millisecond || step%time.Millisecond != 0 || to.Before(from) {
		return rules.Matrix{}, gatekeeper.Errorf(gatekeeper.CodeInvalid, "give a step of whole milliseconds and an end after the start",
			"can't ask from %s to %s every %s", from.UTC().Format(time.RFC3339Nano), to.UTC().Format(time.RFC3339Nano), step)
	}
	var whole matrix
	for last := int(to.Sub(from) / step); ; {
		first := whole.asked
		n := min(last-first+1, maxPoints)
		if err := q.piece(ctx, &whole, expr, from, step, first, n); err != nil {
			return rules.Matrix{}, err
		}
		if whole.asked > last {
			return whole.result(), nil
		}
	}
}

// piece asks for n points from the point numbered first and adds them to whole.
func (q *Querier) piece(ctx context.Context, whole *matrix, expr string, from time.Time, step time.Duration, first, n int) error {
	start := from.Add(time.Duration(first) * step)
	end := start.Add(time.Duration(n-1) * step)
	answer, err := q.ask(ctx, "query_range", url.Values{
		"query": {expr}, "step": {strconv.FormatInt(step.Milliseconds(), 10) + "ms"},
		"start": {seconds(start.Add(-q.offset))}, "end": {seconds(end.Add(-q.offset))},
	})
	if err != nil {
		return err
	}
	if err := answer.addTo(whole, grid{start: start, asked: start.Add(-q.offset), step: step, n: n}); err != nil {
		return q.noAnswer(err)
	}
	whole.asked += n
	return nil
}

// seconds gives a Unix time as Prometheus reads it, exact to the millisecond.
func seconds(t time.Time) string {
	return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64)
}

// matrix gathers the pieces of a range.
type matrix struct {
	asked  int // points asked for so far
	series map[string]*rules.Series
	warned []string
}

func (m *matrix) result() rules.Matrix {
	out := rules.Matrix{Warnings: m.warned}
	for _, key := range slices.Sorted(maps.Keys(m.series)) {
		out.Series = append(out.Series, *m.series[key])
	}
	return out
}
