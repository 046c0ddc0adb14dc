package rules

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
	texttemplate "text/template"
	"unsafe"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/template"
)

// templateFunctions are the functions by name, for parsing alone.
var templateFunctions = new(expander).functions(context.Background())

// functions gives the functions of templates, each metered: Prometheus's, those of text/template that
// can give more bytes than they were given, and our own of those that regular expressions or
// formats make expensive.
func (e *expander) functions(ctx context.Context) texttemplate.FuncMap {
	address := e.external.url
	if address == nil {
		address = &url.URL{}
	}
	all := maps.Clone(prometheusFunctions(template.NewTemplateExpander(ctx, "", "", nil,
		model.Time(timestamp.FromTime(e.at)), e.query, address, nil)))
	known := patterns{meter: &e.meter, compiled: map[string]pattern{}}
	maps.Copy(all, texttemplate.FuncMap{
		"print": fmt.Sprint, "println": fmt.Sprintln, "printf": printf,
		"html": texttemplate.HTMLEscaper, "js": texttemplate.JSEscaper, "urlquery": texttemplate.URLQueryEscaper,
		"args":  arguments(all["args"].(func(...any) map[string]any)),
		"match": known.match, "reReplaceAll": known.replace,
	})
	for name, function := range all {
		all[name] = e.meter.metered(reflect.ValueOf(function)).Interface()
	}
	return all
}

// prometheusFunctions are the functions in Prometheus's expander. That runs a template without a limit,
// so it can't be used as a whole, and it gives its functions to nobody.
func prometheusFunctions(e *template.Expander) texttemplate.FuncMap {
	field := reflect.ValueOf(e).Elem().FieldByName("funcMap")
	if !field.IsValid() || field.Type() != reflect.TypeFor[texttemplate.FuncMap]() {
		panic("package template of Prometheus holds its functions elsewhere now")
	}
	return *(*texttemplate.FuncMap)(unsafe.Pointer(field.UnsafeAddr()))
}

// metered gives a function that does the same and counts what it is given and gives.
func (m *meter) metered(f reflect.Value) reflect.Value {
	t := f.Type()
	var in, out []reflect.Type
	for i := range t.NumIn() {
		in = append(in, t.In(i))
	}
	out = append(out, t.Out(0), reflect.TypeFor[error]())
	call := f.Call
	if t.IsVariadic() {
		call = f.CallSlice
	}
	return reflect.MakeFunc(reflect.FuncOf(in, out, t.IsVariadic()), func(args []reflect.Value) []reflect.Value {
		answer := func(v reflect.Value, err error) []reflect.Value {
			return []reflect.Value{v, reflect.ValueOf(&err).Elem()}
		}
		nothing := reflect.Zero(out[0])
		if err := m.weighed(t.IsVariadic(), args...); err != nil {
			return answer(nothing, err)
		}
		results := call(args)
		if len(results) == 2 && !results[1].IsNil() {
			return answer(nothing, results[1].Interface().(error))
		}
		if results[0].Kind() == reflect.String {
			if err := m.weighed(false, results[0]); err != nil {
				return answer(nothing, err)
			}
		}
		return answer(results[0], nil)
	})
}

// weighed counts values, and refuses those that have too many bytes together.
func (m *meter) weighed(variadic bool, values ...reflect.Value) error {
	bytes := 0
	for i, v := range values {
		if variadic && i == len(values)-1 {
			for j := range v.Len() {
				bytes += weigh(v.Index(j), 0)
			}
			continue
		}
		bytes += weigh(v, 0)
	}
	if err := m.spend(bytes / bytesPerStep); err != nil {
		return err
	}
	if bytes > maxExpanded {
		return m.fail(errTooLong)
	}
	return nil
}

// arguments is args with a cap.
func arguments(theirs func(...any) map[string]any) func(...any) (map[string]any, error) {
	return func(args ...any) (map[string]any, error) {
		if len(args) > maxTemplateEntries {
			return nil, fmt.Errorf("more than %d arguments", maxTemplateEntries)
		}
		return theirs(args...), nil
	}
}

// maxTransient is how many bytes a function may make before its answer is found to be too long.
const maxTransient = 16 * maxExpanded

// wideVerb is a width or precision that would make one verb of printf give thousands of bytes.
var wideVerb = regexp.MustCompile(`%[^a-zA-Z%]*(?:\d{3,}|\*)`)

func printf(format string, args ...any) (string, error) {
	const number = 320 // bytes: the longest, by %f, with a width of 99 after the point
	if wideVerb.MatchString(format) {
		return "", fmt.Errorf("printf %q is wider than 99 characters", capText(format, 60))
	}
	widest := number
	for _, a := range args {
		widest = max(widest, weigh(reflect.ValueOf(a), 0))
	}
	if strings.Count(format, "%")*widest > maxTransient {
		return "", errTooLong
	}
	return fmt.Sprintf(format, args...), nil
}

// patterns are the regular expressions of a reading's templates.
type patterns struct {
	meter    *meter
	compiled map[string]pattern
}

type pattern struct {
	re   *regexp.Regexp
	size int // instructions of its program, about
}

// maxCaptured is the product of a pattern's instructions and groups: each instruction may remember where
// every group was.
const maxCaptured = 20_000

func (p patterns) match(expr, text string) (bool, error) {
	re, err := p.get(expr, text)
	if err != nil {
		return false, err
	}
	return re.MatchString(text), nil
}

// replace is reReplaceAll. Prometheus's panics on a bad pattern, hence the wording.
func (p patterns) replace(expr, with, text string) (string, error) {
	re, err := p.get(expr, text)
	if err != nil {
		if bad := new(syntax.Error); errors.As(err, &bad) {
			err = fmt.Errorf("regexp: Compile(%s): %w", likeRegexp(expr), err)
		}
		return "", err
	}
	if (len(text)+1)*(len(with)+1) > maxTransient {
		return "", p.meter.fail(errTooLong)
	}
	return re.ReplaceAllString(text, with), nil
}

// get gives a regular expression to look through a text with: that takes as many steps as the text
// has bytes for each instruction, a few bytes for one step.
func (p patterns) get(expr, text string) (*regexp.Regexp, error) {
	known, ok := p.compiled[expr]
	if !ok {
		if err := p.meter.spend(16 * len(expr)); err != nil {
			return nil, err
		}
		parsed, err := syntax.Parse(expr, syntax.Perl)
		if err != nil {
			return nil, err
		}
		known.size = instructions(parsed)
		if err := p.meter.spend(known.size); err != nil {
			return nil, err
		}
		if known.size*(parsed.MaxCap()+1) > maxCaptured {
			return nil, p.meter.fail(fmt.Errorf("the pattern %s is too big for its groups", capText(likeRegexp(expr), 60)))
		}
		if known.re, err = regexp.Compile(expr); err != nil {
			return nil, err
		}
		p.compiled[expr] = known
	}
	return known.re, p.meter.spend(known.size * (len(text) + 1) / 4)
}

func instructions(re *syntax.Regexp) int {
	n := 1 + len(re.Rune)
	for _, sub := range re.Sub {
		n += instructions(sub)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Min+1, re.Max)
	}
	return n
}

// likeRegexp writes a pattern as Go's regexp does in its errors.
func likeRegexp(pattern string) string {
	if strconv.CanBackquote(pattern) {
		return "`" + pattern + "`"
	}
	return strconv.Quote(pattern)
}
