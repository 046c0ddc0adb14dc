package rules

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/gatekeeper-engine/gatekeeper"
)

// maxEvidenceLabels is how many labels of a sample are kept as evidence.
const maxEvidenceLabels = 32

// unhealthy is the reading of an expression that gave samples. Their identities are those of
// Prometheus: two samples with one fail the whole reading.
func (r *BoundRule) unhealthy(ctx context.Context, at time.Time, active []gatekeeper.Sample) gatekeeper.Reading {
	active = r.worstFirst(active)
	reading := gatekeeper.Reading{Verdict: gatekeeper.Unhealthy, Count: len(active)}
	known := make(map[string]bool, len(active))
	for _, s := range active {
		id := r.identity(ctx, s, at)
		if known[id] {
			return gatekeeper.Reading{
				Verdict: gatekeeper.NoAnswer,
				Detail:  fmt.Sprintf("two samples are one alert, %s: a label of the rule hides the label that tells them apart", id),
			}
		}
		known[id] = true
		reading.Active = append(reading.Active, id)
	}
	reading.Samples = r.evidence(active)
	for _, name := range []string{"summary", "description"} {
		if text, ok := r.Annotations[name]; ok {
			reading.Summary = capText(expand(ctx, text, active[0], at), gatekeeper.MaxEvidenceText)
			break
		}
	}
	return reading
}

// identity is the alert that a sample is (rules/alerting.go of Prometheus): its labels without its
// name, the rule's labels over them, and the alert's name.
func (r *BoundRule) identity(ctx context.Context, s gatekeeper.Sample, at time.Time) string {
	b := labels.NewBuilder(labels.FromMap(s.Labels))
	b.Del(model.MetricNameLabel)
	for name, value := range r.Labels {
		b.Set(name, expand(ctx, value, s, at))
	}
	b.Set(model.AlertNameLabel, r.Alert)
	id := b.Labels().String()
	if len(id) <= gatekeeper.MaxEvidenceText {
		return id
	}
	sum := sha256.Sum256([]byte(id)) // identities are journaled; a long one stays itself by its hash
	return fmt.Sprintf("%s %x", capText(id, gatekeeper.MaxEvidenceText), sum[:8])
}

// worstFirst sorts samples: far beyond the limit first, NaN last.
func (r *BoundRule) worstFirst(samples []gatekeeper.Sample) []gatekeeper.Sample {
	falling := r.condition.operand.Falling()
	keys := make(map[int]string, len(samples))
	order := make([]int, len(samples))
	for i, s := range samples {
		order[i], keys[i] = i, identity(s.Labels)
	}
	slices.SortFunc(order, func(i, j int) int {
		a, b := float64(samples[i].Value), float64(samples[j].Value)
		byValue := cmp.Compare(b, a) // NaN is below every number
		if falling && !math.IsNaN(a) && !math.IsNaN(b) {
			byValue = -byValue
		}
		return cmp.Or(byValue, cmp.Compare(keys[i], keys[j]))
	})
	sorted := make([]gatekeeper.Sample, len(samples))
	for i, from := range order {
		sorted[i] = samples[from]
	}
	return sorted
}

// evidence gives the worst of the samples, capped.
func (r *BoundRule) evidence(samples []gatekeeper.Sample) []gatekeeper.Sample {
	if len(samples) == 0 {
		return nil
	}
	worst := r.worstFirst(samples)
	worst = worst[:min(len(worst), gatekeeper.MaxEvidenceSamples)]
	for i, s := range worst {
		worst[i].Labels = cappedLabels(s.Labels)
	}
	return worst
}

func cappedLabels(set map[string]string) map[string]string {
	if len(set) == 0 {
		return nil
	}
	kept := make(map[string]string, min(len(set), maxEvidenceLabels))
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if len(kept) == maxEvidenceLabels {
			break
		}
		kept[capText(name, gatekeeper.MaxEvidenceText)] = capText(set[name], gatekeeper.MaxEvidenceText)
	}
	return kept
}
