package gatekeeper

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// Duration is a [time.Duration] that JSON shows as Go writes it, such as "2m0s".
type Duration time.Duration

// String gives Go's form.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText gives Go's form.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText takes Go's form.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("duration %q: want a number and a unit, such as 90s or 2m", text)
	}
	*d = Duration(v)
	return nil
}

// Clip gives s if it takes at most limit bytes as JSON, and else as much of its beginning as does,
// with "…" behind it. Quotes around it don't count.
func Clip(s string, limit int) string {
	const more = "…"
	if jsonSize(s) <= limit {
		return s
	}
	size := len(more)
	for i, c := range s {
		if size += jsonSizeOf(c); size > limit {
			return s[:i] + more
		}
	}
	return s
}

// jsonSize is how many bytes a text takes as JSON, between its quotes.
func jsonSize(s string) int {
	size := 0
	for _, c := range s {
		size += jsonSizeOf(c)
	}
	return size
}

// jsonSizeOf is how many bytes encoding/json writes for a rune at most.
func jsonSizeOf(c rune) int {
	switch {
	case c == '"' || c == '\\':
		return 2
	case c < ' ' || c == '<' || c == '>' || c == '&' || c == '\u2028' || c == '\u2029' || c == utf8.RuneError:
		return len(`\u0000`)
	}
	return utf8.RuneLen(c)
}

// Float is a float64 that survives JSON: NaN and the infinities become strings.
type Float float64

// String gives the shortest text that reads back as the same number.
func (f Float) String() string { return strconv.FormatFloat(float64(f), 'g', -1, 64) }

// MarshalJSON gives a number, or one of "NaN", "+Inf" and "-Inf".
func (f Float) MarshalJSON() ([]byte, error) {
	if math.IsNaN(float64(f)) || math.IsInf(float64(f), 0) {
		return json.Marshal(f.String())
	}
	return json.Marshal(float64(f))
}

// UnmarshalJSON takes what MarshalJSON gives.
func (f *Float) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err == nil {
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("number %q: %w", text, err)
		}
		*f = Float(v)
		return nil
	}
	var v float64
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	*f = Float(v)
	return nil
}
