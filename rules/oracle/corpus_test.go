package oracle

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
)

// expressions are the corpus: $r is a range, $q a threshold, $c a comparison, $o an offset.
var expressions = []string{
	`sum(rate(req_total{version="v2",code=~"5.."}[$r])) / sum(rate(req_total{version="v2"}[$r])) $c 0.$q`,
	`sum by (pod) (rate(req_total{code=~"5.."}[$r])) / sum by (pod) (rate(req_total[$r])) $c 0.$q`,
	`sum by (pod, version) (increase(req_total{code="500"}[$r])) $c $q0`,
	`rate(req_total[$r]) $c $q`,
	`irate(req_total{code="200"}[$r]) $c $q`,
	`resets(req_total[$r]) $c 0`,
	`changes(temp[$r]) $c $q`,
	`temp $c $q`,
	`temp offset $o $c $q`,
	`temp @ 300 $c $q`,
	`$q $c temp`,
	`temp != $q`,
	`temp == bool $q`,
	`(temp > bool $q) == 1`,
	`temp $c $q < 6`,
	`temp $c scalar(max(warmth))`,
	`temp $c on (pod) warmth`,
	`temp - on (pod) warmth $c $q`,
	`temp / temp $c 0`,
	`(temp $c $q) * on (pod) group_left () warmth $c 2`,
	`temp $c $q and on (pod) warmth > 1`,
	`temp $c $q unless on (pod) warmth > 5`,
	`temp $c $q or warmth $c $q`,
	`(temp $c $q or leader $c $q) and on () vector(1)`,
	`{__name__=~"temp|warmth"} $c $q`,
	`{__name__=~"temp|warmth",pod="a"} $c $q`,
	`avg_over_time(temp[$r]) $c $q`,
	`max_over_time(temp[$r]) - min_over_time(temp[$r]) $c $q`,
	`quantile_over_time(0.5, temp[$r]) $c $q`,
	`last_over_time(leader[$r]) $c $q`,
	`count_over_time(temp[$r]) $c $q`,
	`stddev(temp) $c $q`,
	`max_over_time(sum(rate(req_total[$r]))[2m:15s]) $c $q0`,
	`avg_over_time((temp $c bool $q)[$r:15s]) > 0.5`,
	`delta(temp[$r]) $c $q`,
	`deriv(temp[$r]) $c 0`,
	`predict_linear(temp[$r], 60) $c $q`,
	`absent(temp{pod="a"})`,
	`absent(leader{pod="1"}) == 1`,
	`absent_over_time(leader{pod="2"}[$r])`,
	`count(temp $c $q) > 1`,
	`count by (pod) (leader) $c 0`,
	`count_values("value", temp) $c 0`,
	`topk(1, temp) $c $q`,
	`bottomk(2, temp)`,
	`sort_desc(temp) $c $q`,
	`leader $c $q`,
	`leader`,
	`-temp $c -$q`,
	`temp ^ 2 $c $q0`,
	`temp % 3 == 1`,
	`abs(temp) $c $q`,
	`clamp_max(temp, 3) $c $q`,
	`round(temp) $c $q`,
	`sgn(temp - $q) > 0`,
	`label_replace(temp, "pod", "x$1", "pod", "(.*)") $c $q`,
	`label_replace(temp, "pod", "same", "pod", ".*") $c $q`,
	`label_join(temp, "both", "-", "pod", "pod") $c $q`,
	`vector(1)`,
	`vector($q) $c 3`,
	`1 < bool $q`,
	`scalar(temp{pod="a"})`,
	`vector(time() % 120) $c 60`,
	`time() - timestamp(temp) $c $q`,
	`timestamp(leader) $c $q`,
	`minute() $c $q`,
	`histogram_quantile(0.9, sum by (le) (rate(lat_bucket[$r]))) $c 0.$q`,
	`histogram_quantile(0.9, rate(native[$r])) $c $q`,
	`histogram_quantile(0.5, sum(rate(native[$r]))) $c $q`,
	`histogram_count(rate(native[$r])) $c 0.$q`,
	`histogram_sum(rate(native[$r])) / histogram_count(rate(native[$r])) $c $q`,
	`histogram_fraction(0, 2, rate(native[$r])) $c 0.$q`,
	`histogram_avg(native) $c $q`,
	`native`,
	`native != native`,
	`rate(native[$r])`,
	`sum(native) and on () vector(1)`,
	`native $c $q`,
	`temp or native`,
	`sum(rate(req_total{version="nobody"}[$r])) $c $q`,
	`sum(rate(req_total{code="200"}[$r])) / sum(rate(req_total[$r])) < 0.9$q`,
	`req_total $c 100 + on () group_left () vector(1)`,
	`group by (version) (req_total) == 1`,
	`min without (code, pod) (req_total) $c $q00`,
	`temp * NaN != 1`,
	`temp / 0 $c $q`,
	`(((temp))) $c ($q)`,
	`temp $c $q > 1 and (leader > 0 or vector(1))`,
	`ceil(sum_over_time(temp[$r])) $c $q`,
	`sum(temp) by (pod) $c ignoring (nothing) group_right () warmth`,
	`mad_over_time_missing or temp $c $q`,
	`present_over_time(leader[$r])`,
}

// templates go into labels and annotations.
var (
	labelTemplates = []map[string]string{
		nil,
		{"severity": "page"},
		{"pod": ""},
		{"code": "all", "pod": "all"},
		{"was": "{{ $labels.pod }}/{{ .Labels.code }}"},
		{"value": "{{ $value }}"},
		{"name": `{{ $labels.__name__ }}`, "alertname": "other"},
		{"broken": "{{ $labels.pod | humanize }}"},
		{"owner": `{{ define "who" }}{{ if . }}{{ . }}{{ else }}nobody{{ end }}{{ end }}{{ template "who" $labels.pod }}`},
		{"coarse": `{{ if gt $value 3.0 }}high{{ else }}low{{ end }}`},
	}
	annotationTemplates = []string{
		"plain", "{{ $value }}", "{{ $labels.pod }} {{ $labels.missing }}", "{{ $labels }}",
		"{{ range $k, $v := $labels }}{{ $k }}={{ $v }};{{ end }}",
		`{{ define "pair" }}{{ .arg0 }}={{ .arg1 }}{{ end }}{{ range $k, $v := $labels }}{{ template "pair" (args $k $v) }} {{ end }}`,
		`{{ range $k, $_ := $labels }}{{ range $l, $_ := $labels }}{{ if eq $k $l }}{{ continue }}{{ end }}{{ $k }}-{{ $l }} {{ end }}{{ else }}none{{ end }}`,
		`{{ block "who" .Labels }}{{ with .pod }}{{ . }}{{ else }}all pods{{ end }}{{ end }}{{ $labels.pod }}`,
		"{{ $externalLabels.dc }} {{ externalURL }}",
	}
	floatTemplates = []string{
		"{{ $value | humanize }}", "{{ $value | humanizePercentage }}", "{{ $value | humanize1024 }}", "{{ $value | humanizeDuration }}",
		"{{ $value | humanizeTimestamp }}", `{{ printf "%.2f" $value }}`, `{{ query "temp" | len }}`,
		`{{ with query "sum(temp)" }}{{ . | first | value }}{{ end }}`, `{{ range query "temp" | sortByLabel "pod" }}{{ .Labels.pod }}={{ .Value }} {{ end }}`,
		`{{ query "none" | first | value }}`, `{{ query "sum(" }}`, `{{ reReplaceAll "(" "" "x" }}`, `{{ $value.x }}`,
		`{{ "a-b" | title }} {{ "A" | toLower }} {{ "a" | toUpper }} {{ match "a.*" "abc" }} {{ reReplaceAll "a(.)" "$1$1" "ab" }}`,
		`{{ graphLink "up" }} {{ tableLink "up" }} {{ "a:1" | stripPort }} {{ "a.b:1" | stripDomain }} {{ "<a>" | html }} {{ "a b" | urlquery }} {{ urlQueryEscape "a b" }}`,
		`{{ toTime 60 }} {{ toDuration 61.5 }} {{ parseDuration "1h2m" }} {{ now }} {{ pathPrefix }} {{ safeHtml "<b>" }} {{ args 1 2 }}`,
		`{{ define "line" }}{{ .Labels.pod }}: {{ template "n" .Value }}{{ end }}{{ define "n" -}} {{ . | humanize }} {{- end }}{{ range query "temp" | sortByLabel "pod" }}{{ template "line" . }}, {{ end }}`,
		`{{ range $i, $a := query "temp" | sortByLabel "pod" }}{{ range $j, $b := query "warmth" | sortByLabel "pod" }}{{ if lt $i $j }}{{ $a.Value }}<{{ $b.Value }} {{ end }}{{ end }}{{ end }}`,
		`{{ $sum := 0.0 }}{{ $n := 0 }}{{ range query "temp" }}{{ $sum = .Value }}{{ $n = len .Labels }}{{ break }}{{ end }}{{ $n }}`,
		`{{ range 3 }}{{ range $i := 2 }}{{ $i }}{{ end }}{{ . }} {{ end }}{{ range $i, $v := 5 }}{{ end }}`,
		"{{ define `bad` }}\n{{ . | humanize }}{{ end }}\n\n {{ if true }}{{ range 1 }} {{ template `bad` $labels }}{{ end }}{{ end }}",
		`{{ range $value }}x{{ end }}`, `{{ range $labels }}{{ .x }}{{ end }}`, `{{ block "x" (query "temp") }}{{ len . }}{{ range . }}{{ humanize .Labels }}{{ end }}{{ end }}`,
		`{{ $labels := args "a" "b" }}{{ range $labels }}{{ range $labels }}{{ . }}{{ end }}{{ end }}{{ (toTime 90).Format "15:04:05" }}`,
		`{{ if eq $labels.pod "a" }}first{{ else if $labels.pod }}other{{ end }}{{ $x := 1 }}{{ $x = 2 }}{{ print $x "y" | js }}`,
	}
)

// someCase is one rule with the group it stands in.
type someCase struct {
	text     string // a rule file, the same for both
	interval time.Duration
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// newCase makes the n-th rule: every expression has its turn.
func newCase(r *rand.Rand, n int) someCase {
	template := expressions[n%len(expressions)]
	expr := strings.NewReplacer(
		"$r", pick(r, []string{"15s", "30s", "45s", "1m", "2m"}), "$q", fmt.Sprint(r.IntN(8)), "$o", pick(r, []string{"15s", "1m", "-30s"}),
		"$c", pick(r, []string{">", ">", ">=", "<", "<=", "!=", "=="}),
	).Replace(template)
	annotations := map[string]string{"summary": pick(r, annotationTemplates)}
	if !strings.Contains(expr, "native") {
		annotations["description"] = pick(r, floatTemplates)
	}
	own := pick(r, labelTemplates)
	if _, numeric := own["coarse"]; numeric && strings.Contains(expr, "native") {
		own = nil
	}
	interval := pick(r, []time.Duration{15 * time.Second, 15 * time.Second, 20 * time.Second, 30 * time.Second})
	offset := model.Duration(pick(r, []time.Duration{0, 0, 5 * time.Second, 15 * time.Second, time.Minute}))
	rule := rulefmt.Rule{
		Alert: "Bad", Expr: expr, Labels: own, Annotations: annotations,
		For:           model.Duration(pick(r, []time.Duration{0, 15 * time.Second, 40 * time.Second, time.Minute, 2 * time.Minute})),
		KeepFiringFor: model.Duration(pick(r, []time.Duration{0, 0, 30 * time.Second, 50 * time.Second, 2 * time.Minute})),
	}
	group := map[string]any{
		"name": "g", "interval": model.Duration(interval), "query_offset": offset, "limit": pick(r, []int{0, 0, 0, 1, 2, -1}),
		"labels": pick(r, []map[string]string{nil, {"team": "shop", "severity": "low"}}),
		"rules": []any{map[string]any{
			"alert": rule.Alert, "expr": rule.Expr, "for": rule.For, "keep_firing_for": rule.KeepFiringFor, "labels": rule.Labels, "annotations": rule.Annotations,
		}},
	}
	text, err := json.Marshal(map[string]any{"groups": []any{group}})
	if err != nil {
		panic(err) // plain values
	}
	return someCase{text: string(text), interval: interval}
}
