package prometheus

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules/lint"
)

var _ lint.Backend = (*Querier)(nil)

// Types gives the types that scraped targets declare for a metric (/api/v1/metadata), each once; none
// where the backend has no such page or does not know the metric.
func (q *Querier) Types(ctx context.Context, metric string) ([]string, error) {
	var data map[string][]struct {
		Type string `json:"type"`
	}
	if _, err := q.get(ctx, "metadata", url.Values{"metric": {metric}}, &data); err != nil {
		return nil, err
	}
	var types []string
	for _, one := range data[metric] {
		if one.Type != "" && one.Type != "unknown" && !slices.Contains(types, one.Type) {
			types = append(types, one.Type)
		}
	}
	slices.Sort(types)
	return types, nil
}

// Retention is how far back the backend keeps samples (/api/v1/status/runtimeinfo); 0 where it does not
// tell, or limits them by size only.
func (q *Querier) Retention(ctx context.Context) (time.Duration, error) {
	var data struct {
		StorageRetention string `json:"storageRetention"` // such as "15d", "10GB" or "15d or 10GB"
	}
	if _, err := q.get(ctx, "status/runtimeinfo", nil, &data); err != nil {
		return 0, err
	}
	for part := range strings.SplitSeq(data.StorageRetention, " or ") {
		if d, err := model.ParseDuration(part); err == nil {
			return time.Duration(d), nil
		}
	}
	return 0, nil
}

// SampleTimes gives the instants of the samples of one series that a selector finds in the time before
// an instant: the series with the most. It is exact to the millisecond.
func (q *Querier) SampleTimes(ctx context.Context, selector string, over time.Duration, at time.Time) ([]time.Time, error) {
	span := model.Duration(over).String()
	fullest, err := q.Query(ctx, fmt.Sprintf("topk(1, count_over_time(%s[%s]))", selector, span), at)
	if err != nil || len(fullest.Samples) == 0 {
		return nil, err
	}
	answer, err := q.ask(ctx, "query", url.Values{"query": {exactly(selector, fullest.Samples[0].Labels) + "[" + span + "]"}, "time": {seconds(at.Add(-q.offset))}})
	if err != nil {
		return nil, err
	}
	var series []struct {
		Values     []point     `json:"values"`
		Histograms []histogram `json:"histograms"`
	}
	if err := answer.into(&series); err != nil {
		return nil, q.noAnswer(err)
	}
	var times []time.Time
	for _, s := range series[:min(len(series), 1)] {
		for _, p := range s.Values {
			times = append(times, time.UnixMilli(p.ms))
		}
		for _, h := range s.Histograms {
			times = append(times, time.UnixMilli(h.ms))
		}
	}
	slices.SortFunc(times, time.Time.Compare)
	return times, nil
}

// exactly gives the selector of the one series with these labels among those of a selector.
func exactly(selector string, set map[string]string) string {
	begin, ok := strings.CutSuffix(selector, "}")
	if ok {
		begin += ","
	} else {
		begin += "{"
	}
	var matchers []string
	for _, name := range slices.Sorted(maps.Keys(set)) {
		matchers = append(matchers, labels.MustNewMatcher(labels.MatchEqual, name, set[name]).String())
	}
	return begin + strings.Join(matchers, ",") + "}"
}

// Cost evaluates an expression at an instant and gives the samples that were read, where the backend
// tells (stats=all), and the time that it took, the way there and back included.
func (q *Querier) Cost(ctx context.Context, expr string, at time.Time) (lint.Cost, error) {
	begin := time.Now()
	answer, err := q.ask(ctx, "query", url.Values{"query": {expr}, "time": {seconds(at.Add(-q.offset))}, "stats": {"all"}})
	if err != nil {
		return lint.Cost{}, err
	}
	return lint.Cost{Samples: answer.Data.Stats.Samples.Total, Took: time.Since(begin)}, nil
}

// get reads a page of the API into v. ok is false where the backend has no such page: compatible ones
// leave many out.
func (q *Querier) get(ctx context.Context, path string, params url.Values, v any) (ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, q.timeout)
	defer cancel()
	address := q.base.JoinPath("api/v1", path)
	address.RawQuery = params.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), http.NoBody)
	if err != nil {
		return false, q.noAnswer(err)
	}
	resp, err := q.client.Do(req)
	if err != nil {
		return false, q.noAnswer(err)
	}
	defer func() { _ = resp.Body.Close() }() // it was read, or it no longer matters
	switch resp.StatusCode {
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return false, nil
	}
	body, err := readBody(resp)
	if err != nil {
		return false, q.noAnswer(err)
	}
	var page struct {
		Status string          `json:"status"`
		Data   json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(body, &page); err != nil || resp.StatusCode != http.StatusOK || page.Status != "success" {
		return false, q.noAnswer(notAPI(resp, body, err))
	}
	if err := json.Unmarshal(page.Data, v); err != nil {
		return false, q.noAnswer(gatekeeper.Errorf(gatekeeper.CodeUnavailable, "check that url is the address of a Prometheus-compatible API",
			"the page %s is not what Prometheus has there: %w", path, err))
	}
	return true, nil
}
