package chart

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/timeline"
)

// Terminal is what a chart is written to. Less room than 40 columns and 4 rows is taken as that.
type Terminal struct {
	Columns int // of the whole
	Rows    int // of the plot, without what is written above and below it
	Color   bool
	ASCII   bool // it can't show more
}

// area is where the plot is in a sheet.
type area struct {
	*sheet
	left, columns, rows int
	values              span
	from                time.Time
	whole               time.Duration
}

func (a area) share(t time.Time) float64 {
	return min(max(float64(t.Sub(a.from))/float64(a.whole), 0), 1)
}

func (a area) column(t time.Time) int {
	return a.left + int(math.Round(a.share(t)*float64(a.columns-1)))
}

func (a area) dotX(t time.Time) int {
	return a.left*a.across + int(math.Round(a.share(t)*float64(a.columns*a.across-1)))
}

func (a area) dotY(v float64) int {
	share := (v - a.values.low) / (a.values.high - a.values.low)
	return int(math.Round((1 - share) * float64(a.rows*a.down-1)))
}

// Text draws the chart for a terminal: braille characters, or ASCII.
func (c Chart) Text(w io.Writer, t Terminal) error {
	t.Columns, t.Rows = max(t.Columns, 40), max(t.Rows, 4)
	values := c.values()
	ticks := c.Unit.ticks(values, max(2, t.Rows/3))
	a := area{rows: t.Rows, values: values, from: c.From, whole: c.To.Sub(c.From)}
	for _, tick := range ticks {
		a.left = max(a.left, len([]rune(tick.label)))
	}
	a.left += 2
	a.columns = t.Columns - a.left
	if c.Limit != nil {
		a.columns -= len([]rune(c.limit())) + 1
	}
	lanes := c.lanes()
	labels, rows := c.labels(layout{
		func(at time.Time) float64 { return float64(a.column(at)) },
		func(l label) float64 { return float64(len([]rune(l.text))) }, 0, float64(t.Columns), 2, 2,
	})
	a.sheet = newSheet(t, t.Columns, t.Rows+2+len(lanes)+rows)
	a.frame(c, ticks)
	for i, l := range c.Lines {
		a.line(l, i)
	}
	for i, lane := range lanes {
		for _, s := range lane {
			for x := a.column(s.From); x < max(a.column(s.To), a.column(s.From)+1); x++ {
				a.put(x, t.Rows+2+i, a.spans[s.Kind], sgrSpans[s.Kind])
			}
		}
	}
	a.marks(labels, t.Rows+2+len(lanes))
	_, err := fmt.Fprintf(w, "%s\n%s\n", a.String(), c.keys(a.sheet))
	return err
}

// frame draws the axes and the limit.
func (a area) frame(c Chart, ticks []tick) {
	for row := range a.rows {
		sign := '│'
		if a.ASCII {
			sign = '|'
		}
		a.put(a.left-1, row, sign, sgrQuiet)
	}
	for _, t := range ticks {
		row := a.dotY(t.at) / a.down
		a.put(a.left-1, row, a.axis, sgrQuiet)
		a.write(a.left-2-len([]rune(t.label))+1, row, t.label, sgrQuiet)
	}
	if c.Limit != nil {
		row := a.dotY(c.Limit.Value) / a.down
		for x := range a.columns {
			a.put(a.left+x, row, a.limit, sgrLimit)
		}
		a.write(a.left+a.columns+1, row, c.limit(), sgrBad)
	}
	a.put(a.left-1, a.rows, a.corner, sgrQuiet)
	for x := range a.columns {
		a.put(a.left+x, a.rows, a.bottom, sgrQuiet)
	}
	times, _ := c.timeTicks(max(2, a.columns/12))
	for _, t := range times {
		text := c.clock(t)
		x := a.column(t)
		a.put(x, a.rows, a.tick, sgrQuiet)
		a.write(min(max(x-len(text)/2, 0), a.Columns-len(text)), a.rows+1, text, sgrQuiet)
	}
}

// line draws what was said of one version.
func (a area) line(l Line, index int) {
	sgr := sgrReleased
	if index > 0 {
		sgr = sgrReturned
	}
	for _, run := range l.runs() {
		x, y := a.dotX(run[0].At), a.dotY(float64(*run[0].Value))
		for i, p := range run {
			toX, toY := a.dotX(p.At), a.dotY(float64(*p.Value))
			as := sgr
			if p.Verdict == gatekeeper.Unhealthy && (i == 0 || run[i-1].Verdict == gatekeeper.Unhealthy) {
				as = sgrBad
			}
			a.stroke(x, y, toX, toY, min(index, 1), as)
			if p.Verdict == gatekeeper.Unhealthy {
				a.dot(toX, toY, min(index, 1), sgrBad)
			}
			x, y = toX, toY
		}
	}
	for _, p := range l.odd() {
		row, sign := 0, a.none
		switch v := float64(*p.Value); {
		case v > 0:
			sign = a.up
		case v < 0:
			row, sign = a.rows-1, a.low
		}
		a.put(a.column(p.At), row, sign, sgrBad)
	}
}

// stroke draws a straight line of points.
func (a area) stroke(x0, y0, x1, y1, line int, sgr string) {
	n := max(abs(x1-x0), abs(y1-y0))
	for i := range n + 1 {
		share := float64(i) / float64(max(n, 1))
		a.dot(x0+int(math.Round(share*float64(x1-x0))), y0+int(math.Round(share*float64(y1-y0))), line, sgr)
	}
}

func abs(v int) int { return max(v, -v) }

// marks writes the marks, each with its text beside it.
func (a area) marks(labels []label, row int) {
	for _, l := range labels {
		sgr := ""
		if l.Loud {
			sgr = sgrLoud
		}
		if !l.hidden {
			a.put(int(l.x), row+l.row, a.mark, sgr)
			a.write(int(l.from), row+l.row, l.text, sgr)
		}
	}
}

// lanes gives the spans for the rows below the axis: what the rule was, and that it was held.
func (c Chart) lanes() [][]Span {
	var was, held []Span
	for _, s := range c.Spans {
		if s.Kind == Held {
			held = append(held, s)
		} else {
			was = append(was, s)
		}
	}
	var all [][]Span
	for _, lane := range [][]Span{was, held} {
		if len(lane) > 0 {
			all = append(all, lane)
		}
	}
	return all
}

// keys explains the signs that are in the drawing.
func (c Chart) keys(s *sheet) string {
	var all []string
	for i, l := range c.Lines {
		sign, sgr := '⠒', sgrReleased
		if s.ASCII {
			sign = s.lines[min(i, 1)]
		}
		if i > 0 {
			sgr = sgrReturned
		}
		all = append(all, s.paint(string([]rune{sign, sign}), sgr)+" "+timeline.Plain(l.Name))
	}
	if s.ASCII && c.total(Pending)+c.total(StillBad) > 0 {
		all = append(all, string(s.bad)+" bad")
	}
	for _, kind := range []SpanKind{Pending, StillBad, Blind, NoTraffic, Early, Held} {
		if d := c.total(kind); d > 0 {
			all = append(all, s.paint(string(s.spans[kind]), sgrSpans[kind])+" "+string(kind)+" "+timeline.Span(d))
		}
	}
	return strings.Join(all, "   ")
}
