package rules

import "github.com/prometheus/prometheus/model/labels"

// identity gives a label set as text, in the order of the names, as Prometheus writes it.
func identity(set map[string]string) string { return labels.FromMap(set).String() }
