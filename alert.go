package gatekeeper

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// AlertNameLabel is the label that holds an alert's name.
const AlertNameLabel = "alertname"

// AlertKey identifies an external alert whoever sends it: its name and its labels, sorted, as in PromQL.
func AlertKey(name string, labels map[string]string) string {
	var b strings.Builder
	b.WriteString(name)
	sep := "{"
	for _, label := range slices.Sorted(maps.Keys(labels)) {
		if label != AlertNameLabel {
			fmt.Fprintf(&b, "%s%s=%q", sep, label, labels[label])
			sep = ","
		}
	}
	if sep == "," {
		b.WriteString("}")
	}
	return b.String()
}
