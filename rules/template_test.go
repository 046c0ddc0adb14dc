package rules

import (
	"strings"
	"testing"

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
	} {
		require.NoError(t, checkedTemplate(text), text)
		require.Equal(t, want, new(expander).expand(t.Context(), text, s), text)
	}
}

// A health file is half trusted: no template of it may run long or fill the memory.
func TestTemplatesAreBounded(t *testing.T) {
	s := gatekeeper.Sample{Labels: map[string]string{"long": strings.Repeat("x", 300)}}
	for name, text := range map[string]string{
		"doubled":     `{{ $a := "xxxxxxxxxxxxxxxx" }}` + strings.Repeat(`{{ $a = printf "%s%s" $a $a }}`, 60),
		"printed":     `{{ $a := "xxxxxxxxxxxxxxxx" }}` + strings.Repeat(`{{ $a = print $a $a $a }}`, 60),
		"escaped":     `{{ "\\\\" ` + strings.Repeat("| js ", 60) + "}}",
		"replaced":    `{{ $labels.long ` + strings.Repeat(`| reReplaceAll "x" "xxxxxxxx" `, 30) + "}}",
		"wide":        `{{ printf "%9999999d" 1 }}`,
		"wide by arg": `{{ printf "%*d" 9999999 1 }}`,
		"bad regexp":  `{{ reReplaceAll "(" "" "" }}`,
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, checkedTemplate(text))
			got := new(expander).expand(t.Context(), text, s)
			require.True(t, strings.HasPrefix(got, "<error expanding template: "), got)
			require.LessOrEqual(t, len(got), maxExpanded)
		})
	}
	for name, text := range map[string]string{
		"counts":         "{{ range 1000000000 }}{{ end }}",
		"counts a label": "{{ range $i := and $labels 1000000000 }}{{ end }}",
		"query and":      `{{ range and (query "up") 1000000000 }}{{ end }}`,
		"set":            "{{ $labels := 1000000000 }}{{ range $labels }}{{ end }}",
		"set by with":    "{{ with $labels := 1000000000 }}{{ range $labels }}{{ end }}{{ end }}",
		"set by range":   "{{ range $labels, $v := .Labels }}{{ end }}",
		"nested":         "{{ range .Labels }}{{ if true }}{{ range $.Labels }}{{ end }}{{ end }}{{ end }}",
		"in else":        "{{ with .Labels }}{{ else }}{{ range 5 }}{{ end }}{{ end }}",
		"itself":         `{{ template "__alert_" }}`,
		"block":          `{{ block "x" . }}{{ end }}`,
		"long":           "{{ $value }}" + strings.Repeat("x", maxTemplate),
		"unknown":        "{{ exec }}",
	} {
		t.Run(name, func(t *testing.T) { require.Error(t, checkedTemplate(text)) })
	}
}
