package prometheus

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// histogram is [seconds, {…}], a native one.
type histogram struct {
	ms   int64
	text string // in Prometheus's notation (FloatHistogram.String of model/histogram)
}

// UnmarshalJSON takes exactly a pair of a time and an object.
func (h *histogram) UnmarshalJSON(data []byte) error {
	var body struct {
		Count   *number  `json:"count"`
		Sum     number   `json:"sum"`
		Buckets []bucket `json:"buckets"`
	}
	ms, err := pair(data, &body)
	if err != nil {
		return err
	}
	if body.Count == nil {
		return errors.New("a histogram without a count")
	}
	var text strings.Builder
	fmt.Fprintf(&text, "{count:%g, sum:%g", float64(*body.Count), float64(body.Sum))
	for _, b := range body.Buckets {
		text.WriteString(", " + string(b))
	}
	text.WriteString("}")
	h.ms, h.text = ms, text.String()
	return nil
}

// bucket is the text of [boundaries, "lower", "upper", "count"].
type bucket string

// borders are the brackets of a bucket by the number that says which of its boundaries belong to it.
var borders = [...]string{"(]", "[)", "()", "[]"}

// UnmarshalJSON takes exactly those four.
func (b *bucket) UnmarshalJSON(data []byte) error {
	var parts []json.RawMessage
	if err := json.Unmarshal(data, &parts); err != nil {
		return err
	}
	if len(parts) != 4 {
		return fmt.Errorf("a bucket of %d parts, want its boundaries, lower, upper and count", len(parts))
	}
	var border int
	var lower, upper, count number
	for i, to := range []any{&border, &lower, &upper, &count} {
		if err := json.Unmarshal(parts[i], to); err != nil {
			return err
		}
	}
	if border < 0 || border >= len(borders) {
		return fmt.Errorf("a bucket's boundaries are %d, want 0 to %d", border, len(borders)-1)
	}
	*b = bucket(fmt.Sprintf("%c%g,%g%c:%v", borders[border][0], float64(lower), float64(upper), borders[border][1], float64(count)))
	return nil
}

// number is a number as a text, such as "+Inf".
type number float64

// UnmarshalJSON takes exactly that.
func (n *number) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return err
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return fmt.Errorf("%q is not a number", shorten(text))
	}
	*n = number(v)
	return nil
}
