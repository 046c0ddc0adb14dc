package prometheus

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"

	"github.com/gatekeeper-engine/gatekeeper"
)

// point is [seconds, "value"].
type point struct {
	ms        int64
	value     gatekeeper.Float
	histogram string
}

// points are those of a series. A range answer is nearly all points, and the JSON package takes most of
// a backtest's own time to read them one by one; so they are read here, if they are written as backends write
// them: without spaces, and without escapes in the values.
type points []point

// UnmarshalJSON takes exactly an array of points.
func (ps *points) UnmarshalJSON(data []byte) error {
	if all, ok := plainPoints(data); ok {
		*ps = all
		return nil
	}
	return json.Unmarshal(data, (*[]point)(ps))
}

// plainPoints reads [[seconds,"value"],…], which is valid JSON; not ok: it is written in another way, or
// something is wrong with it.
func plainPoints(data []byte) (all points, ok bool) {
	rest, ok := bytes.CutPrefix(data, []byte{'['})
	if !ok {
		return nil, false
	}
	all = make(points, 0, bytes.Count(rest, []byte{'['}))
	for {
		at, after, ok := bytes.Cut(rest, []byte(`,"`))
		if !ok || len(at) < 2 || at[0] != '[' {
			return nil, false
		}
		value, after, ok := bytes.Cut(after, []byte(`"]`))
		if !ok || len(after) == 0 || bytes.IndexByte(value, '\\') >= 0 {
			return nil, false
		}
		p, err := pointOf(string(at[1:]), string(value))
		if err != nil {
			return nil, false
		}
		all = append(all, p)
		rest = after[1:]
		if after[0] == ']' {
			return all, len(rest) == 0
		}
	}
}

// pointOf gives the point of a number's text and the text of a value.
func pointOf(seconds, value string) (point, error) {
	at, err := strconv.ParseFloat(seconds, 64)
	if err != nil {
		return point{}, fmt.Errorf("the time %q is not one", shorten(seconds))
	}
	ms, err := milliseconds(at)
	if err != nil {
		return point{}, err
	}
	v, err := strconv.ParseFloat(value, 64)
	if err != nil {
		return point{}, fmt.Errorf("%q is not a number", shorten(value))
	}
	return point{ms: ms, value: gatekeeper.Float(v)}, nil
}

// UnmarshalJSON takes exactly a pair of a time and a text.
func (p *point) UnmarshalJSON(data []byte) error {
	var text string
	ms, err := pair(data, &text)
	if err != nil {
		return err
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return fmt.Errorf("%q is not a number", shorten(text))
	}
	p.ms, p.value = ms, gatekeeper.Float(v)
	return nil
}

func pair(data []byte, second any) (ms int64, err error) {
	var parts []json.RawMessage
	if err := json.Unmarshal(data, &parts); err != nil {
		return 0, err
	}
	if len(parts) != 2 {
		return 0, fmt.Errorf("a value of %d parts, want a time and a value", len(parts))
	}
	var at float64
	if err := json.Unmarshal(parts[0], &at); err != nil {
		return 0, err
	}
	if ms, err = milliseconds(at); err != nil {
		return 0, err
	}
	return ms, json.Unmarshal(parts[1], second)
}

func milliseconds(seconds float64) (int64, error) {
	if math.Abs(seconds) > 1e12 {
		return 0, fmt.Errorf("the time %v is not one", seconds)
	}
	return int64(math.Round(seconds * 1000)), nil
}
