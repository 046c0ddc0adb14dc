package tracing

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

const maxText = 1024 // bytes of a text

// attributes are what a span says, by names to which "gatekeeper." is added. Empty texts and what
// is not so are left out.
type attributes map[string]any

// add puts them at the end of a span's.
func (a attributes) add(s *tracepb.Span) { s.Attributes = append(s.Attributes, a.list()...) }

// list gives them sorted by name.
func (a attributes) list() []*commonpb.KeyValue {
	var all []*commonpb.KeyValue
	for _, name := range slices.Sorted(maps.Keys(a)) {
		if a[name] == "" || a[name] == false {
			continue
		}
		all = append(all, &commonpb.KeyValue{Key: "gatekeeper." + name, Value: value(a[name])})
	}
	return all
}

func value(v any) *commonpb.AnyValue {
	switch v := v.(type) {
	case bool:
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_BoolValue{BoolValue: v}}
	case int:
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: int64(v)}}
	case float64:
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_DoubleValue{DoubleValue: v}}
	default:
		return text(fmt.Sprint(v))
	}
}

func text(s string) *commonpb.AnyValue {
	return &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: clip(s)}}
}

// clip gives valid UTF-8, which protobuf needs, of at most maxText bytes.
func clip(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= maxText {
		return s
	}
	cut := maxText
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut]
}
