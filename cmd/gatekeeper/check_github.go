package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// asGitHub is annotations for a workflow's log (GitHub's documentation, "Workflow commands").
const asGitHub format = "github"

// checkFormat is how check prints what it found.
type checkFormat struct{ format }

// Set takes one of the names.
func (f *checkFormat) Set(s string) error {
	if format(s) == asGitHub {
		f.format = asGitHub
		return nil
	}
	if f.format.Set(s) != nil {
		return fmt.Errorf("want text, wide, json, yaml or github")
	}
	return nil
}

var annotations = map[rules.Severity]string{rules.Error: "error", rules.Warning: "warning", rules.Info: "notice"}

var (
	annotationText  = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	annotationValue = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)

// annotate prints one annotation for each problem.
func annotate(w io.Writer, all []checked) error {
	for _, c := range all {
		for _, p := range c.Problems {
			if _, err := fmt.Fprintln(w, annotation(p)); err != nil {
				return err
			}
		}
	}
	return nil
}

func annotation(p rules.Problem) string {
	place := "file=" + annotationValue.Replace(p.File)
	if p.Line > 0 {
		place += fmt.Sprintf(",line=%d,col=%d", p.Line, p.Column)
	}
	text := p.Message
	for _, more := range []string{p.Why, p.Hint, p.Rewrite} {
		if more != "" {
			text += "\n" + more
		}
	}
	return fmt.Sprintf("::%s %s,title=%s::%s", annotations[p.Severity], place, annotationValue.Replace("gatekeeper "+p.Check), annotationText.Replace(text))
}
