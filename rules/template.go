package rules

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	texttemplate "text/template"
	"text/template/parse"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/timestamp"
	prom "github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/template"
	"github.com/prometheus/prometheus/util/strutil"
	"go.yaml.in/yaml/v3"

	"github.com/gatekeeper-engine/gatekeeper"
)

// Caps on templates: health files are half trusted, and a template is a program.
const (
	maxTemplate = 4 << 10  // bytes of its text
	maxExpanded = 64 << 10 // bytes that any of its functions may give
)

// templateVars are the short names that Prometheus gives to a template's data (rules/alerting.go).
const templateVars = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}"

func isTemplate(text string) bool { return strings.Contains(text, "{{") }

var templateLine = regexp.MustCompile(`^template: alert:(\d+):(?:\d+:)? ?`)

// template checks a text that may be a template.
func (r *reader) template(n *yaml.Node) {
	text := n.Value
	if !isTemplate(text) {
		return
	}
	err := checkedTemplate(text)
	if err == nil {
		return
	}
	message, offset := err.Error(), 0
	if m := templateLine.FindStringSubmatch(message); m != nil {
		message = message[len(m[0]):]
		line, _ := strconv.Atoi(m[1])
		offset = startOfLine(text, line)
	}
	offset += max(0, strings.Index(text[offset:], "{{"))
	length := strings.Index(text[offset:], "}}") + len("}}")
	r.tellAt(Error, n, offset, length, checkTemplate, "Templates are those of Prometheus: {{ $value | humanizePercentage }}, {{ $labels.pod }}.", "bad template: %s", message)
}

func startOfLine(text string, line int) int {
	offset := 0
	for ; line > 1; line-- {
		next := strings.IndexByte(text[offset:], '\n')
		if next < 0 {
			return offset
		}
		offset += next + 1
	}
	return offset
}

func checkedTemplate(text string) error {
	if len(text) > maxTemplate {
		return fmt.Errorf("it has more than %d bytes", maxTemplate)
	}
	if err := expander(context.Background(), text, nil, time.Time{}).ParseTest(); err != nil {
		return err
	}
	tree := parse.New("alert")
	tree.Mode = parse.SkipFuncCheck
	set := map[string]*parse.Tree{}
	if _, err := tree.Parse(templateVars+text, "", "", set); err != nil {
		return err
	}
	if relabelled.MatchString(text) {
		return errors.New("$labels can't be set")
	}
	if len(set) > 1 {
		return errors.New("{{define}} and {{block}} are not supported yet")
	}
	return bounded(tree.Root, false)
}

// bounded refuses what could make a template run long: templates that call one another, and loops
// over anything but labels, or inside one another.
func bounded(n parse.Node, looping bool) error {
	switch n := n.(type) {
	case *parse.ListNode:
		if n == nil {
			return nil
		}
		for _, c := range n.Nodes {
			if err := bounded(c, looping); err != nil {
				return err
			}
		}
	case *parse.TemplateNode:
		return errors.New("{{template}} is not supported yet")
	case *parse.RangeNode:
		if over := n.Pipe.String(); looping || !loopable.MatchString(over) {
			return fmt.Errorf("{{range %s}} is not supported yet: a loop can go over $labels only, and not inside another", over)
		}
		return errors.Join(bounded(n.List, true), bounded(n.ElseList, looping))
	case *parse.IfNode:
		return errors.Join(bounded(n.List, looping), bounded(n.ElseList, looping))
	case *parse.WithNode:
		return errors.Join(bounded(n.List, looping), bounded(n.ElseList, looping))
	}
	return nil
}

// loopable is what a range may go over: the labels, or the answer of a query, of which there is none.
var loopable = regexp.MustCompile(`^(?:\$\w+(?:, ?\$\w+)? := )?(?:\$labels|\$?\.Labels|query .*)$`)

// relabelled finds a template that makes $labels something else, such as a big number to loop over.
var relabelled = regexp.MustCompile(`\$labels\s*(?::?=|,)`)

// errNoQuery is what templates get for asking a query of their own.
var errNoQuery = errors.New("query() can't be used in a release's rules")

func noQuery(context.Context, string, time.Time) (prom.Vector, error) { return nil, errNoQuery }

func expander(ctx context.Context, text string, s *gatekeeper.Sample, at time.Time) *template.Expander {
	var data any
	if s != nil {
		data = template.AlertTemplateData(s.Labels, map[string]string{}, "", prom.Sample{F: float64(s.Value)})
	}
	e := template.NewTemplateExpander(ctx, templateVars+text, "alert", data,
		model.Time(timestamp.FromTime(at)), noQuery, &url.URL{}, nil)
	e.Funcs(cappedFuncs)
	return e
}

// expand gives a template's text for one sample; an error of it becomes part of the text, as in
// Prometheus.
func expand(ctx context.Context, text string, s gatekeeper.Sample, at time.Time) string {
	if !isTemplate(text) {
		return text
	}
	s.Labels = maps.Clone(s.Labels)
	out, err := expander(ctx, text, &s, at).Expand()
	if err != nil {
		return capText(fmt.Sprintf("<error expanding template: %v>", err), gatekeeper.MaxEvidenceText)
	}
	return capText(out, maxExpanded)
}

// wideVerb is a width or precision that would make one verb of printf give thousands of bytes.
var wideVerb = regexp.MustCompile(`%[^a-zA-Z%]*(?:\d{3,}|\*)`)

// cappedFuncs are those functions of templates whose answer can be longer than what they were
// given, each with a cap: without it thirty of them in a row fill any memory.
var cappedFuncs = map[string]any{
	"print":   func(args ...any) (string, error) { return capped(fmt.Sprint(args...)) },
	"println": func(args ...any) (string, error) { return capped(fmt.Sprintln(args...)) },
	"printf": func(format string, args ...any) (string, error) {
		if wideVerb.MatchString(format) {
			return "", fmt.Errorf("printf %q is wider than 99 characters", capText(format, 60))
		}
		return capped(fmt.Sprintf(format, args...))
	},
	"reReplaceAll": func(pattern, repl, text string) (string, error) {
		re, err := regexp.Compile(pattern)
		if err != nil {
			return "", err
		}
		if len(text)*(len(repl)+1) > 16*maxExpanded {
			return "", errTooLong
		}
		return capped(re.ReplaceAllString(text, repl))
	},
	"html":           func(args ...any) (string, error) { return capped(texttemplate.HTMLEscaper(args...)) },
	"js":             func(args ...any) (string, error) { return capped(texttemplate.JSEscaper(args...)) },
	"urlquery":       func(args ...any) (string, error) { return capped(texttemplate.URLQueryEscaper(args...)) },
	"urlQueryEscape": func(s string) (string, error) { return capped(url.QueryEscape(s)) },
	"graphLink":      func(s string) (string, error) { return capped(strutil.GraphLinkForExpression(s)) },
	"tableLink":      func(s string) (string, error) { return capped(strutil.TableLinkForExpression(s)) },
}

var errTooLong = fmt.Errorf("a template's text has more than %d bytes", maxExpanded)

func capped(s string) (string, error) {
	if len(s) > maxExpanded {
		return "", errTooLong
	}
	return s, nil
}
