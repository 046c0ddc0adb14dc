package rules

import (
	"bytes"
	"fmt"

	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"
)

// expandedRule is a rule as Prometheus writes it.
type expandedRule struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         model.Duration    `yaml:"for"`
	Labels      map[string]string `yaml:"labels,omitempty"`
	Annotations map[string]string `yaml:"annotations"`
}

// ExpandSLOs writes the rules that the file's SLOs became, as groups of YAML that could stand in the
// file in their place, each with what its numbers are in a comment. It is empty without SLOs.
func (f *File) ExpandSLOs() (string, error) {
	if len(f.SLOs) == 0 {
		return "", nil
	}
	groups := &yaml.Node{Kind: yaml.SequenceNode}
	for _, s := range f.SLOs {
		group, err := f.expand(s)
		if err != nil {
			return "", err
		}
		groups.Content = append(groups.Content, group)
	}
	var out bytes.Buffer
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	if err := e.Encode(map[string]*yaml.Node{"groups": groups}); err != nil {
		return "", fmt.Errorf("the rules of the SLOs can't be written: %w", err)
	}
	return out.String(), e.Close()
}

// expand gives the group of one SLO.
func (f *File) expand(s SLO) (*yaml.Node, error) {
	list := &yaml.Node{Kind: yaml.SequenceNode}
	group := &yaml.Node{Kind: yaml.MappingNode}
	for _, r := range f.Rules {
		if r.SLO != s.Name {
			continue
		}
		var one yaml.Node
		if err := one.Encode(expandedRule{r.Alert, r.Expr + "\n", model.Duration(r.For), r.Labels, r.Annotations}); err != nil {
			return nil, fmt.Errorf("SLO %s: %w", s.Name, err)
		}
		one.HeadComment = s.comment(s.Burns[len(list.Content)])
		if len(list.Content) == 0 {
			group.Content = append(group.Content, text("name"), text(r.Group), text("interval"), text(model.Duration(r.Interval).String()))
		}
		list.Content = append(list.Content, &one)
	}
	group.Content = append(group.Content, text("rules"), list)
	return group, nil
}

// comment says in words what a burn's numbers are.
func (s SLO) comment(b Burn) string {
	return fmt.Sprintf("# %s of the errors that %s allows in %s, within %s: %.3g times as fast as allowed, an error ratio of %.3g%%",
		percent(b.Share), percent(s.Objective), model.Duration(s.Period), model.Duration(b.Long), b.Rate, 100*b.Ratio)
}

func text(value string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: value} }
