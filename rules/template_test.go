package rules

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	prom "github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/template"
	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
)

func TestExpand(t *testing.T) {
	s := gatekeeper.Sample{Labels: map[string]string{"pod": "a<b", "long": strings.Repeat("x", 300)}, Value: 0.05}
	for text, want := range map[string]string{
		"no template":                                     "no template",
		"{{ $value | humanizePercentage }}":               "5%",
		"{{ .Value }} {{ $labels.pod }}":                  "0.05 a<b",
		"{{ $labels.none }}|{{ $externalURL }}":           "|",
		"{{ $labels.pod | html }}":                        "a&lt;b",
		`{{ printf "%.1f%%" 5.0 }}`:                       "5.0%",
		`{{ reReplaceAll "(.)<" "$1$1" "a<b" }}`:          "aab",
		"{{ range $k, $v := $labels }}{{ $k }} {{ end }}": "long pod ",
		"{{ 5 | humanizeDuration }}":                      "5s",

		`{{ define "u" }}<{{ . }}>{{ end }}{{ template "u" $labels.pod }}{{ template "u" .Value }}`:                       "<a<b><0.05>",
		`{{ define "a" }}{{ template "b" . }}!{{ end }}{{ define "b" }}{{ .arg1 }}{{ end }}{{ template "a" (args 1 2) }}`: "2!",
		`{{ block "who" $labels }}{{ .pod }}{{ end }}`:                                                                    "a<b",
		`{{ range $k, $v := $labels }}{{ range 2 }}{{ $k }}{{ . }} {{ end }}{{ end }}`:                                    "long0 long1 pod0 pod1 ",
		`{{ range 5 }}{{ if eq . 1 }}{{ continue }}{{ end }}{{ if eq . 3 }}{{ break }}{{ end }}{{ . }}{{ end }}`:          "02",
		`{{ range 0 }}x{{ else }}{{ range $i := 3 }}{{ $i }}{{ end }}{{ end }}`:                                           "012",
		`{{ $n := 0 }}{{ range 3 }}{{ $n = . }}{{ end }}{{ $n }}`:                                                         "2",
		`{{ define "x" }}{{ end }}a{{ template "x" }}b`:                                                                   "ab",
		`{{ $labels := args "a" }}{{ range $labels }}{{ . }}{{ end }}`:                                                    "a",
		`{{ (toTime 60).Format "15:04" }} {{ with toTime 60 }}{{ .Format "2006" }}{{ end }}`:                              "00:01 1970",
		"{{ range 2 -}}\n  a\n{{- end }}":                                                                                 "aa",
	} {
		require.Nil(t, checkedTemplate(text), text)
		require.Equal(t, want, new(expander).expand(t.Context(), text, s), text)
	}
}

// Every function of Prometheus is there, and an error of a template has its place and wording.
func TestExpandsAsPrometheus(t *testing.T) {
	theirs := template.NewTemplateExpander(t.Context(), "", "", nil, 0, nil, &url.URL{}, nil)
	names := slices.Collect(maps.Keys(prometheusFunctions(theirs)))
	require.Contains(t, names, "humanizeTimestamp")
	require.NotContains(t, names, "tmpl", "its console pages have that one, its rules do not")
	for _, name := range names {
		require.Contains(t, templateFunctions, name)
	}
	none := func(context.Context, string, time.Time) (prom.Vector, error) { return nil, nil }
	for _, text := range []string{
		`{{ query "x" | first | value }}`, `{{ if true }}{{ range 1 }} {{ humanize "x" }}{{ end }}{{ end }}`,
		`{{ range $value }}{{ end }}`, "{{ range $i, $j := 5 }}{{ end }}", "\n\n  {{ $value.x }}", `{{ range $labels }}{{ .x }}{{ end }}`,
		`{{ define "a" }}{{ index . 5 }}{{ end }}{{ template "a" "abc" }}`, `{{ reReplaceAll "(" "" "x" }}`, `{{ match "[" "x" }}`,
		`{{ toUpper 5 }}`, `{{ label "x" }}`, `{{ sortByLabel "a" "b" }}`, `{{ $value | toTime | printf "%s" }}`, `{{ args 1 (args 2) }}`,
		`{{ first nil }}`, `{{ tmpl "a" . }}`, `{{ if }}`, `{{ range .Labels }}{{ template "no such" }}{{ end }}`, `{{ .Labels }}{{ . }}{{ slice "abc" 1 9 }}`,
	} {
		s := gatekeeper.Sample{Labels: map[string]string{"pod": "a"}, Value: 7}
		e := &expander{alert: "A", q: constant{}}
		want, err := template.NewTemplateExpander(t.Context(), templateVars+text, "__alert_A", e.data(s), 0, none, &url.URL{}, nil).Expand()
		if err != nil {
			want = fmt.Sprintf("<error expanding template: %v>", err)
		}
		require.Equal(t, want, e.expand(t.Context(), text, s), text)
	}
}

// A health file is half trusted: no template of it may run long or fill the memory.
func TestTemplatesAreBounded(t *testing.T) {
	chain := func(times int, body string) string {
		text := `{{define "d0"}}` + body + `{{end}}`
		for i := 1; i <= 10; i++ {
			text += fmt.Sprintf(`{{define "d%d"}}`, i) + strings.Repeat(fmt.Sprintf(`{{template "d%d"}}`, i-1), times) + "{{end}}"
		}
		return text + `{{template "d10"}}`
	}
	nested := func(over, body string, depth int) string {
		return strings.Repeat("{{range "+over+"}}", depth) + body + strings.Repeat("{{end}}", depth)
	}
	const steps, long, wide = "takes more than 100000 steps", "more than 65536 bytes", "wider than 99"
	for name, c := range map[string]struct{ text, says string }{
		"doubled":            {`{{ $a := "xxxxxxxxxxxxxxxx" }}` + strings.Repeat(`{{ $a = printf "%s%s" $a $a }}`, 60), long},
		"doubled in a loop":  {`{{ $x := "x" }}{{ range 1000000 }}{{ $x = printf "%s%s" $x $x }}{{ end }}`, long},
		"printed":            {`{{ $a := "xxxxxxxxxxxxxxxx" }}` + strings.Repeat(`{{ $a = print $a $a $a }}`, 60), long},
		"escaped":            {`{{ "\\\\" ` + strings.Repeat("| js ", 60) + "}}", long},
		"replaced":           {`{{ $labels.long ` + strings.Repeat(`| reReplaceAll "x" "xxxxxxxx" `, 30) + "}}", long},
		"wide":               {`{{ printf "%9999999d" 1 }}`, wide},
		"wide by arg":        {`{{ printf "%*d" 9999999 1 }}`, wide},
		"wide precision":     {`{{ printf "%.1000000f" 1.0 }}`, wide},
		"argument repeated":  {`{{ $a := "x" }}{{ $f := "%[1]s" }}{{ range 13 }}{{ $a = print $a $a }}{{ $f = print $f $f }}{{ end }}{{ printf $f $a }}`, long},
		"bad regexp":         {`{{ reReplaceAll "(" "" "" }}`, "missing closing )"},
		"big regexp":         {`{{ match "` + strings.Repeat("(x{999})", 300) + `" "x" }}`, steps},
		"slow regexp":        {`{{ $x := "x" }}{{ range 15 }}{{ $x = print $x $x }}{{ end }}{{ range 1000 }}{{ $y := match "(x*)*(x*)*(x*)*(x*)*(x*)*(x*)*(x*)*(x*)*(x*)*(x*)*(x*)*(x*)*y" $x }}{{ end }}`, steps},
		"many groups":        {`{{ $p := "(a?)" }}{{ range 8 }}{{ $p = print $p $p }}{{ end }}{{ reReplaceAll $p "" "aaaa" }}`, "too big for its groups"},
		"args of args":       {`{{ $a := args 1 }}` + strings.Repeat(`{{ $a = args $a $a }}`, 100) + `{{ $a }}`, long},
		"counts":             {"{{ range 1000000000 }}{{ end }}", steps},
		"counts a variable":  {"{{ $n := len $labels.long }}{{ range $n }}{{ range $n }}{{ range $n }}{{ end }}{{ end }}{{ end }}", steps},
		"counts nanoseconds": {"{{ range toDuration 1e9 }}{{ end }}", steps},
		"counts the time":    {"{{ range (toTime 1e9).UnixNano }}{{ end }}", steps},
		"counts by and":      {"{{ range $i := and $labels 1000000000 }}{{ end }}", steps},
		"counts labels":      {"{{ $labels := 1000000000 }}{{ range $labels }}{{ end }}", steps},
		"skips":              {"{{ range 1000000000 }}{{ continue }}{{ end }}", steps},
		"assigns":            {"{{ $x := 1 }}{{ range 1000000000 }}" + strings.Repeat("{{ $x = 2 }}", 300) + "{{ end }}", steps},
		"begins loops":       {"{{ $a := args " + strings.Repeat("1 ", 100) + "}}{{ range 1000000000 }}{{ range $a }}{{ break }}{{ end }}{{ end }}", steps},
		"many args":          {"{{ $a := args " + strings.Repeat("1 ", 101) + "}}", "more than 100 arguments"},
		"in else":            {"{{ with .Labels.none }}{{ else }}{{ range 1000000000 }}{{ end }}{{ end }}", steps},
		"writes":             {"{{ range 1000000000 }}" + strings.Repeat("x", 4000) + "{{ end }}", long},
		"nested counts":      {nested("1000", "", 10), steps},
		"nested labels":      {nested("$labels", "", 100), ""},
		"nested queries":     {nested(`query "up"`, "", 5), steps},
		"asks":               {`{{ range 1000000000 }}{{ $x := query "up" }}{{ end }}`, steps},
		"sorts":              {`{{ $q := query "up" }}{{ range 1000000000 }}{{ $q = sortByLabel "a" $q }}{{ end }}`, steps},
		"upper":              {`{{ $x := "x" }}{{ range 15 }}{{ $x = print $x $x }}{{ end }}{{ range 1000000000 }}{{ $y := title $x }}{{ end }}`, steps},
		"chained":            {chain(10, ""), steps},
		"chained text":       {chain(10, "0123456789"), long},
		"chained loops":      {chain(2, nested("100", "", 3)), steps},
		"chained values":     {chain(10, `{{ $x := printf "%99d" 1 }}`), steps},
	} {
		t.Run(name, func(t *testing.T) {
			s := gatekeeper.Sample{Labels: map[string]string{"long": strings.Repeat("x", 300)}}
			require.Nil(t, checkedTemplate(c.text))
			e := &expander{q: constant{n: maxTemplateSamples}}
			got := e.expand(t.Context(), c.text, s)
			if c.says == "" {
				require.Empty(t, got)
				return
			}
			require.True(t, strings.HasPrefix(got, "<error expanding template: "), got)
			require.Contains(t, got, c.says)
			require.Less(t, len(got), 16<<10)
		})
	}
}

// The templates of one reading have a limit together.
func TestReadingOfTemplatesIsBounded(t *testing.T) {
	e, s := new(expander), gatekeeper.Sample{}
	for range maxReadingSteps/maxSteps - 1 {
		require.Contains(t, e.expand(t.Context(), "{{ range 1000000000 }}{{ end }}", s), errTooMuch.Error())
	}
	e.expand(t.Context(), "{{ range 1000000000 }}{{ end }}", s)
	require.Contains(t, e.expand(t.Context(), "{{ $value }}", s), errReadingDone.Error())

	e = new(expander)
	for range 10_000 { // as many samples as nobody looks at
		require.Equal(t, "0 of all", e.expand(t.Context(), "{{ $value }} of {{ $labels.none | printf `all%s` }}", s))
	}

	long := gatekeeper.Sample{Labels: map[string]string{"a": strings.Repeat("x", maxExpanded)}}
	require.Contains(t, new(expander).expand(t.Context(), "{{ $value }}", long), errLongSample.Error())

	many := gatekeeper.Sample{Labels: map[string]string{}}
	for i := range 101 {
		many.Labels[fmt.Sprint("l", i)] = "x"
	}
	require.Contains(t, new(expander).expand(t.Context(), "{{ $value }}", many), errManyLabels.Error())

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Contains(t, new(expander).expand(ctx, "{{ range 10 }}{{ end }}", s), context.Canceled.Error())
}

// What takes long for its place in the text takes many steps: otherwise a reading could take seconds.
func TestStepsOfWhatTakesLong(t *testing.T) {
	for text, least := range map[string]int{
		`{{ $b := eq "a"` + strings.Repeat(" $x", 500) + `}}`:                              500 * stepsPerCompare,
		`{{ $b := not (index $labels $x) }}`:                                               2 * stepsPerCompare,
		`{{ $b := (toTime 1)` + strings.Repeat(".UTC", 500) + `}}`:                         500 * stepsPerField,
		`{{ $b := $value` + strings.Repeat(" | print", 100) + `}}`:                         100 * stepsPerCall,
		`{{ $t := toTime 1 }}{{ $b := $t` + strings.Repeat(".UTC", 300) + `}}`:             300 * stepsPerField,
		`{{ $b := ` + strings.Repeat("(not ", 100) + `1` + strings.Repeat(")", 100) + `}}`: 100 * stepsPerCall,
		`{{ $b := print` + strings.Repeat(" now", 100) + `}}`:                              100 * stepsPerCall,
		`{{ $b := (toTime 1).Format "` + strings.Repeat("M", 800) + `" }}`:                 200,
		`{{ range $labels }}{{ end }}`:                                                     stepsPerLoop,
	} {
		e := new(expander)
		text = `{{ $x := "x" }}` + text
		require.NotContains(t, e.expand(t.Context(), text, gatekeeper.Sample{}), "error", text)
		require.GreaterOrEqual(t, e.meter.steps, least, text)
	}
}

// It is known whether a template itself is to blame for its error, which then is the same every time.
func TestWhoIsToBlame(t *testing.T) {
	e := new(expander)
	for _, c := range []struct {
		text   string
		failed bool
	}{
		{"{{ range 1000000000 }}{{ end }}", true},
		{`{{ humanize "x" }}`, false},
		{"{{ range 100 }}" + strings.Repeat("x", 3000) + "{{ end }}", true},
		{"{{ $value }}", false},
		{`{{ $x := "x" }}{{ range 17 }}{{ $x = print $x $x }}{{ end }}`, true},
		{`{{ reReplaceAll "(" "" "x" }}`, false},
	} {
		e.expand(t.Context(), c.text, gatekeeper.Sample{})
		require.Equal(t, c.failed, e.meter.failed, c.text)
	}
}

func TestBadTemplates(t *testing.T) {
	for text, c := range map[string]struct{ at, says string }{
		`x{{ template "__alert_" }}`:            {"{{ template", "__alert_ → __alert_"},
		`{{define "a"}}{{template "a"}}{{end}}`: {`{{template "a"`, "without end: a → a"},
		`{{define "a"}}{{if .}}{{ template "b" }}{{end}}{{end}}{{define "b"}}{{range 1}}{{else}}{{template "a"}}{{end}}{{end}}{{template "b"}}`: {`{{ template "b"`, "b → a → b"},
		`{{define "c"}}{{template "a"}}{{end}}{{define "a"}}{{block "b" .}}{{with .}}{{template "a"}}{{end}}{{end}}{{end}}`:                     {`{{template "a"}}{{end}}{{end}}{{end}}`, "without end: a → b → a"},
		`{{ if false }}{{ template "no" }}{{ end }}`:                                     {`{{ template`, `template "no" is not defined`},
		`{{define "__alert_A"}}{{end}}{{template "__alert_A"}}`:                          {`{{define`, `"__alert_A" is a name of Prometheus's own`},
		`{{define "a"}}x{{end}}{{define "a"}}y{{end}}`:                                   {`{{define`, "multiple definition"},
		`{{ $t := toTime 1 }}{{ $x := $t.Format "1" }}{{ $x = $t.Format $x }}`:           {`{{ $x = `, "Format takes its layout"},
		`{{ "1" | (toTime 1).Format }}`:                                                  {"{{", "Format takes its layout"},
		`{{ with toTime 1 }}a{{ print (.Format (print "1")) }}{{ end }}`:                 {"{{ print", "Format takes its layout"},
		`{{ $b := (toTime 1).MarshalJSON }}{{ $b = (toTime 1).AppendFormat $b "2006" }}`: {"{{ $b = ", "Format takes its layout"},
		"{{ $value }}" + strings.Repeat("x", maxTemplate):                                {"{{", "more than 4096 bytes"},
		"a\n{{ exec }}":  {"{{", `function "exec" not defined`},
		`{{ tmpl "a" }}`: {"{{", `function "tmpl" not defined`},
	} {
		bad := checkedTemplate(text)
		require.NotNil(t, bad, text)
		require.Contains(t, bad.message, c.says)
		from := bad.at + strings.Index(text[bad.at:], "{{")
		require.True(t, strings.HasPrefix(text[from:], c.at), "%s: %s", text[from:], bad.message)
	}
}

// What can't end whatever the data is told when the file is read; the whole file has the steps of
// one reading for that.
func TestRehearse(t *testing.T) {
	e := new(expander)
	require.ErrorIs(t, e.rehearse("{{ range 1000000000 }}{{ end }}"), errTooMuch)
	require.ErrorIs(t, e.rehearse(`{{ $x := "x" }}{{ range 99 }}{{ $x = print $x $x }}{{ end }}`), errTooLong)
	require.NoError(t, e.rehearse(`{{ query "up" | first | value }}`), "there may be one")
	for range maxReadingSteps / maxSteps {
		_ = e.rehearse("{{ range 1000000000 }}{{ end }}")
	}
	require.NoError(t, e.rehearse("{{ range 1000000000 }}{{ end }}"))
}

func BenchmarkExpand(b *testing.B) {
	s := gatekeeper.Sample{Labels: map[string]string{"pod": "a"}, Value: 0.05}
	const text = "{{ $value | humanizePercentage }} of {{ $labels.pod }}"
	b.Run("one", func(b *testing.B) {
		for b.Loop() {
			new(expander).expand(b.Context(), text, s)
		}
	})
	b.Run("of_many", func(b *testing.B) {
		e := new(expander)
		for b.Loop() {
			e.meter.all = 0
			e.expand(b.Context(), text, s)
		}
	})
	b.Run("prometheus", func(b *testing.B) {
		for b.Loop() {
			_, _ = template.NewTemplateExpander(b.Context(), templateVars+text, "__alert_A", new(expander).data(s), model.Time(0), nil, &url.URL{}, nil).Expand()
		}
	})
}
