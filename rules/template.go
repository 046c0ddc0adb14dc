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
	"github.com/prometheus/prometheus/model/labels"
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

	maxTemplateQueries = 20  // that the templates of one reading may ask
	maxTemplateSamples = 100 // that one of these may give
)

// templateVars are the short names that Prometheus gives to a template's data (rules/alerting.go).
const templateVars = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}"

func isTemplate(text string) bool { return strings.Contains(text, "{{") }

var templateLine = regexp.MustCompile(`^template: __alert_:(\d+):(?:\d+:)? ?`)

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
	if err := (&expander{}).template(context.Background(), text, nil).ParseTest(); err != nil {
		return err
	}
	tree := parse.New("__alert_")
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

// loopable is what a range may go over: the labels, or the answer of a query, which is capped.
var loopable = regexp.MustCompile(`^(?:\$\w+(?:, ?\$\w+)? := )?(?:\$labels|\$?\.Labels|query .*)$`)

// relabelled finds a template that makes $labels something else, such as a big number to loop over.
var relabelled = regexp.MustCompile(`\$labels\s*(?::?=|,)`)

// expander expands the templates of one reading. It belongs to one goroutine.
type expander struct {
	q     Querier // nil: queries give nothing, as while a file is checked
	alert string
	at    time.Time // the slot: templates ask at it, whatever the group's query_offset
	asked map[string]prom.Vector

	external external
}

// external is what templates know of the Prometheus that a rule is tested for.
type external struct {
	labels  map[string]string
	address string
	url     *url.URL // the address
}

func (r *BoundRule) expander(q Querier, slot time.Time) *expander {
	return &expander{q: q, alert: r.Alert, at: slot, asked: map[string]prom.Vector{}, external: r.external}
}

// query is the function of templates by that name. What a reading asks is capped: a label's template
// is expanded for each sample.
func (e *expander) query(ctx context.Context, expr string, at time.Time) (prom.Vector, error) {
	if known, ok := e.asked[expr]; ok {
		return known, nil
	}
	switch {
	case e.q == nil:
		return nil, nil
	case len(e.asked) >= maxTemplateQueries:
		return nil, fmt.Errorf("the templates of one reading ask more than %d queries", maxTemplateQueries)
	case len(expr) > maxQuery:
		return nil, fmt.Errorf("a query of a template has more than %d bytes", maxQuery)
	}
	samples, err := ask(ctx, e.q, expr, at)
	if err != nil {
		return nil, err
	}
	if len(samples) > maxTemplateSamples {
		return nil, fmt.Errorf("%s gives %d samples, more than %d: aggregate in it", capText(expr, 200), len(samples), maxTemplateSamples)
	}
	found := make(prom.Vector, len(samples))
	for i, s := range samples {
		found[i] = prom.Sample{Metric: labels.FromMap(s.Labels), T: timestamp.FromTime(at), F: float64(s.Value)}
	}
	e.asked[expr] = found
	return found, nil
}

func (e *expander) template(ctx context.Context, text string, data any) *template.Expander {
	address := e.external.url
	if address == nil {
		address = &url.URL{}
	}
	t := template.NewTemplateExpander(ctx, templateVars+text, "__alert_"+e.alert, data,
		model.Time(timestamp.FromTime(e.at)), e.query, address, nil)
	t.Funcs(cappedFuncs)
	return t
}

// expand gives a template's text for one sample; an error of it becomes part of the text, as in
// Prometheus (rules/alerting.go).
func (e *expander) expand(ctx context.Context, text string, s gatekeeper.Sample) string {
	if !isTemplate(text) {
		return text
	}
	out, err := e.template(ctx, text, e.data(s)).Expand()
	if err != nil {
		out = fmt.Sprintf("<error expanding template: %v>", err)
	}
	return capText(out, maxExpanded)
}

// data is what a template sees of a sample; the value of a native histogram is its text.
func (e *expander) data(s gatekeeper.Sample) any {
	set, outside, address := maps.Clone(s.Labels), maps.Clone(e.external.labels), e.external.address
	if s.Histogram == "" {
		return template.AlertTemplateData(set, outside, address, prom.Sample{F: float64(s.Value)})
	}
	return struct {
		Labels, ExternalLabels map[string]string
		ExternalURL            string
		Value                  any
	}{set, outside, address, s.Histogram}
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
			return "", fmt.Errorf("regexp: Compile(%s): %w", likeRegexp(pattern), err)
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

// likeRegexp writes a pattern as Go's regexp does in its errors.
func likeRegexp(pattern string) string {
	if strconv.CanBackquote(pattern) {
		return "`" + pattern + "`"
	}
	return strconv.Quote(pattern)
}

var errTooLong = fmt.Errorf("a template's text has more than %d bytes", maxExpanded)

func capped(s string) (string, error) {
	if len(s) > maxExpanded {
		return "", errTooLong
	}
	return s, nil
}
