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

	"github.com/gatekeeper-engine/gatekeeper"
)

// maxEvidenceLabels is how many labels of a sample are kept as evidence.
const maxEvidenceLabels = 32

// unhealthy is the reading of an expression that gave samples.
func (r *BoundRule) unhealthy(ctx context.Context, q Querier, at time.Time, active []gatekeeper.Sample) gatekeeper.Reading {
	active = r.worstFirst(active)
	e := r.expander(q, at.Add(r.QueryOffset))
	ids, unsure, err := r.identities(ctx, e, active)
	if err != nil {
		return noAnswer(err)
	}
	reading := gatekeeper.Reading{Verdict: gatekeeper.Unhealthy, Count: len(active), Active: ids, Unsure: unsure}
	reading.Samples = r.evidence(active)
	for _, name := range []string{"summary", "description"} {
		if text, ok := r.Annotations[name]; ok {
			reading.Summary = capText(e.expand(ctx, text, active[0]), gatekeeper.MaxEvidenceText)
			break
		}
	}
	if r.Limit > 0 && len(active) > r.Limit {
		reading.Detail = fmt.Sprintf("%d alerts, more than the group's limit of %d: Prometheus would drop them all, here they count", len(active), r.Limit)
	}
	return reading
}

// shortIdentity is an identity as it is journaled: a long one stays itself by its hash, and so does
// one of many marks that take several bytes each there.
func shortIdentity(id string) string {
	short := gatekeeper.Clip(capText(id, gatekeeper.MaxEvidenceText), 2*gatekeeper.MaxEvidenceText)
	if short == id {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return fmt.Sprintf("%s %x", short, sum[:8])
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
