package timeline

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/gatekeeper-engine/gatekeeper"
)

// tone is how loud a line's label is.
type tone int

const (
	quiet tone = iota
	good
	warn
	bad
)

type palette struct{ on bool }

func (p palette) wrap(code, s string) string {
	if !p.on {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p palette) bold(s string) string { return p.wrap("1", s) }
func (p palette) dim(s string) string  { return p.wrap("2", s) }

func (p palette) tone(t tone, s string) string {
	switch t {
	case good:
		return p.wrap("32", s)
	case warn:
		return p.wrap("33", s)
	case bad:
		return p.wrap("1;31", s)
	case quiet:
	}
	return s
}

// Clock gives a time since the zero of a timeline as minutes and seconds: "3:05", "-0:12", "1:02:03".
func Clock(d time.Duration) string {
	sign := ""
	if d < 0 {
		sign, d = "-", -d
	}
	s := int(d.Round(time.Second) / time.Second)
	if s == 0 {
		sign = ""
	}
	if s >= 3600 {
		return fmt.Sprintf("%s%d:%02d:%02d", sign, s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%s%d:%02d", sign, s/60, s%60)
}

// Span gives a duration with as many digits as a person needs: "12ms", "1.2s", "45s", "2m5s", "1h30m".
func Span(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + Span(-d)
	case d == 0:
		return "0s"
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	}
	s := d.Round(time.Second).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Plain makes half trusted text safe for a terminal and for one line: what could move the cursor
// or recolour the screen is dropped, line breaks become spaces.
func Plain(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r):
			return -1
		}
		return r
	}, s)
	return strings.TrimSpace(s)
}

// Words writes a name of several words as people do: "rolled back".
func Words(name string) string { return strings.ReplaceAll(name, "_", " ") }

// number shortens a value to what a person compares at a glance.
func number(f gatekeeper.Float) string {
	return strconv.FormatFloat(float64(f), 'g', 4, 64)
}

// seen says what a reading found against what limit: "0.05, limit > 0.01".
func seen(r gatekeeper.Reading) string {
	samples := r.Operand
	if len(samples) == 0 {
		samples = r.Samples
	}
	var b strings.Builder
	switch {
	case len(samples) == 0:
		b.WriteString("nothing was returned")
	case len(samples) == 1:
		b.WriteString(number(samples[0].Value))
	default:
		worst := samples[0]
		fmt.Fprintf(&b, "%s%s and %d more", number(worst.Value), labels(worst.Labels), max(r.Count, len(samples))-1)
	}
	if r.Limit != "" {
		fmt.Fprintf(&b, ", limit %s", r.Limit)
	}
	return b.String()
}

// labels gives a short form of a sample's labels, in braces; empty without labels.
func labels(m map[string]string) string {
	if len(m) == 0 {
		return ""
	}
	const few = 3
	var parts []string
	for _, k := range sortedKeys(m) {
		if len(parts) == few {
			parts = append(parts, "…")
			break
		}
		parts = append(parts, fmt.Sprintf("%s=%q", k, m[k]))
	}
	return "{" + strings.Join(parts, ", ") + "}"
}
