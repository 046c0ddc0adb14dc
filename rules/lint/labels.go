package lint

import (
	"context"
	"fmt"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// checkLabels asks whether the metrics carry the labels that a rule selects by.
var checkLabels = &Spec{
	Name:   "labels",
	Finds:  "a label, or a label's value, that no series of the metric has",
	Why:    "The selector finds nothing, whatever happens: a label is named otherwise, or is written by another relabelling.",
	Online: true,
	asked:  askLabels,
}

func askLabels(ctx context.Context, o *online) ([]finding, error) {
	var found []finding
	for _, vs := range o.selectorsOnce() {
		if there, err := o.has(ctx, only(vs.Name, nil)); err != nil {
			return nil, err
		} else if !there {
			continue // check series tells
		}
		for _, m := range vs.LabelMatchers {
			if m.Name == model.MetricNameLabel || m.Type != labels.MatchEqual && m.Type != labels.MatchRegexp || m.Value == "" {
				continue
			}
			f, ok, err := o.label(ctx, vs, m)
			if err != nil {
				return nil, err
			}
			if ok {
				found = append(found, f)
			}
		}
	}
	return found, nil
}

// label judges one matcher. Values of status labels come and go: no failure yet is no mistake.
func (o *online) label(ctx context.Context, vs *parser.VectorSelector, m *labels.Matcher) (finding, bool, error) {
	there, err := o.has(ctx, only(vs.Name, labels.MustNewMatcher(labels.MatchNotEqual, m.Name, "")))
	if err != nil {
		return finding{}, false, err
	}
	if !there {
		return o.rule.at(rules.Error, vs.PositionRange(), fmt.Sprintf("no series of %s has the label %q", vs.Name, m.Name),
			"Write the name that the metrics have for it."), true, nil
	}
	asked := relaxedMatcher(o.file, m)
	if isStatus(m.Name) || asked.Type == labels.MatchNotEqual {
		return finding{}, false, nil
	}
	if there, err = o.has(ctx, only(vs.Name, asked)); err != nil || there {
		return finding{}, false, err
	}
	return o.rule.at(rules.Warning, vs.PositionRange(), fmt.Sprintf("no series of %s has %s", vs.Name, asked), "Look for a typing error in the value."), true, nil
}
