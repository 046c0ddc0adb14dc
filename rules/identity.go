package rules

import (
	"github.com/prometheus/prometheus/model/labels"

	"github.com/gatekeeper-engine/gatekeeper/rules/promexpr"
)

// identity gives a label set as text, in the order of the names, as Prometheus writes it.
func identity(set map[string]string) string { return labels.FromMap(set).String() }

// AlertLabels gives the labels of an alert by its identity, as readings and tracks hold it. It is false
// for one that was too long to be kept whole.
func AlertLabels(id string) (map[string]string, bool) {
	set, err := promexpr.Parser.ParseMetric(id)
	if err != nil {
		return nil, false
	}
	return set.Map(), true
}
