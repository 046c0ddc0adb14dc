package rules

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"strings"
	texttemplate "text/template"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/timestamp"
	prom "github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/template"

	"github.com/gatekeeper-engine/gatekeeper"
)

// Caps on templates: health files are half trusted, and a template is a program. What it may take in
// all is capped too, see meter.
const (
	maxTemplate = 4 << 10  // bytes of its text
	maxExpanded = 64 << 10 // bytes of what it gives, and of any value in it

	maxTemplateQueries = 20  // that the templates of one reading may ask
	maxTemplateSamples = 100 // that one of these may give
	maxTemplateEntries = 100 // labels of a sample, arguments of args: a loop sorts them
)

var (
	errManyLabels = fmt.Errorf("more than %d labels", maxTemplateEntries)
	errLongSample = fmt.Errorf("more than %d bytes of labels", maxExpanded)
)

// templateVars are the short names that Prometheus gives to a template's data (rules/alerting.go).
const templateVars = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}"

// mainTemplate is what Prometheus calls a rule's template, before the alert's name.
const mainTemplate = "__alert_"

func isTemplate(text string) bool { return strings.Contains(text, "{{") }

// parseTemplate parses a template as Prometheus does (template/template.go), with what it defines.
func parseTemplate(name, text string, funcs texttemplate.FuncMap) (*texttemplate.Template, error) {
	return texttemplate.New(name).Funcs(funcs).Option("missingkey=zero").Parse(templateVars + text)
}

// expander expands the templates of one reading. It belongs to one goroutine.
type expander struct {
	q     Querier // nil: queries give nothing, as while a file is checked
	alert string
	at    time.Time // the slot: templates ask at it, whatever the group's query_offset
	asked map[string]queried

	external external

	funcs  texttemplate.FuncMap // made for the first template
	parsed map[string]*texttemplate.Template
	meter  meter
}

// external is what templates know of the Prometheus that a rule is tested for.
type external struct {
	labels  map[string]string
	address string
	url     *url.URL // the address
}

// queried is what a query of a template gave.
type queried struct {
	found prom.Vector
	err   error
}

func (r *BoundRule) expander(q Querier, slot time.Time) *expander {
	return &expander{q: q, alert: r.Alert, at: slot, external: r.external}
}

// expand gives a template's text for one sample; an error of it becomes part of the text, as in
// Prometheus (rules/alerting.go). The context is the reading's, the same every time.
func (e *expander) expand(ctx context.Context, text string, s gatekeeper.Sample) string {
	e.meter.failed = false
	if !isTemplate(text) {
		return text
	}
	out, err := "", e.meter.fail(fits(s))
	if err == nil {
		out, err = e.execute(ctx, text, e.data(s))
	}
	if err != nil {
		out = fmt.Sprintf("<error expanding template: %v>", err)
	}
	return capText(out, maxExpanded)
}

// fits says whether templates can take a sample.
func fits(s gatekeeper.Sample) error {
	if len(s.Labels) > maxTemplateEntries {
		return errManyLabels
	}
	size := len(s.Histogram)
	for name, value := range s.Labels {
		size += len(name) + len(value)
	}
	if size > maxExpanded {
		return errLongSample
	}
	return nil
}

// execute words its errors as Prometheus's expander does. A panic costs the text, not the process.
func (e *expander) execute(ctx context.Context, text string, data any) (out string, err error) {
	name := mainTemplate + e.alert
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic expanding template %v: %v", name, r)
		}
	}()
	if e.funcs == nil {
		e.funcs = e.functions(ctx)
	}
	t, ok := e.parsed[text]
	if !ok {
		if t, err = parseTemplate(name, text, e.funcs); err != nil {
			return "", fmt.Errorf("error parsing template %v: %w", name, err)
		}
		pace(t)
		if e.parsed == nil {
			e.parsed = map[string]*texttemplate.Template{}
		}
		e.parsed[text] = t
	}
	e.meter.start(ctx)
	if err = t.Execute(&e.meter, data); err != nil {
		return "", fmt.Errorf("error executing template %v: %w", name, err)
	}
	return e.meter.out.String(), nil
}

// rehearse expands a template without data and gives the error of one that could never end: its
// loops or its values are too big whatever the data.
func (e *expander) rehearse(text string) error {
	_, err := e.execute(context.Background(), text, e.data(gatekeeper.Sample{}))
	for _, endless := range []error{errTooMuch, errTooLong} {
		if errors.Is(err, endless) {
			return endless
		}
	}
	return nil
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

// query is the function of templates by that name. What a reading asks is capped: a label's template
// is expanded for each sample, so a query is asked once, whatever comes of it.
func (e *expander) query(ctx context.Context, expr string, at time.Time) (prom.Vector, error) {
	known, ok := e.asked[expr]
	switch {
	case ok:
	case e.q == nil:
		return nil, nil
	case len(e.asked) >= maxTemplateQueries:
		return nil, e.meter.fail(fmt.Errorf("the templates of one reading ask more than %d queries", maxTemplateQueries))
	case len(expr) > maxQuery:
		return nil, fmt.Errorf("a query of a template has more than %d bytes", maxQuery)
	default:
		known.found, known.err = e.look(ctx, expr, at)
		if e.asked == nil {
			e.asked = map[string]queried{}
		}
		e.asked[expr] = known
	}
	if known.err != nil {
		return nil, e.meter.fail(known.err)
	}
	return known.found, e.meter.spend(len(known.found) * stepsPerSample)
}

// look asks the backend.
func (e *expander) look(ctx context.Context, expr string, at time.Time) (prom.Vector, error) {
	samples, err := ask(ctx, e.q, expr, at)
	if err != nil {
		return nil, err
	}
	if len(samples) > maxTemplateSamples {
		return nil, fmt.Errorf("%s gives %d samples, more than %d: aggregate in it", capText(expr, 200), len(samples), maxTemplateSamples)
	}
	found := make(prom.Vector, len(samples))
	for i, s := range samples {
		if err := fits(s); err != nil {
			return nil, fmt.Errorf("%s gives a sample of %w", capText(expr, 200), err)
		}
		found[i] = prom.Sample{Metric: labels.FromMap(s.Labels), T: timestamp.FromTime(at), F: float64(s.Value)}
	}
	return found, nil
}
