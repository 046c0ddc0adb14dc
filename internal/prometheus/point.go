package prometheus

import (
	"bytes"
	"encoding/json"
	"errors"
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
		seconds, wrong := strconv.ParseFloat(string(at[1:]), 64)
		ms, odd := milliseconds(seconds)
		v, bad := strconv.ParseFloat(string(value), 64)
		if errors.Join(wrong, odd, bad) != nil {
			return nil, false // the JSON package tells what
		}
		all = append(all, point{ms: ms, value: gatekeeper.Float(v)})
		rest = after[1:]
		if after[0] == ']' {
			return all, len(rest) == 0
		}
	}
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
