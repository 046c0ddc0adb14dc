package chart

import (
	"math"
	"time"

	"gonum.org/v1/plot/vg"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/timeline"
)

const (
	margin = 14.0
	rowHi  = 16.0 // of a row of small text
)

var dashes = []vg.Length{6, 4}

// frame is where the plot itself is in the picture, and what it spans.
type frame struct {
	x0, y0, x1, y1 float64
	from           time.Time
	whole          time.Duration
	values         span
}

func (f frame) x(t time.Time) float64 {
	share := float64(t.Sub(f.from)) / float64(f.whole)
	return f.x0 + (f.x1-f.x0)*min(max(share, 0), 1)
}

func (f frame) y(v float64) float64 {
	return f.y1 - (f.y1-f.y0)*(v-f.values.low)/(f.values.high-f.values.low)
}

// draw puts the chart onto a canvas of that many pixels. It gives the widths of the texts on it, in
// their order.
func (c Chart) draw(canvas vg.Canvas, width, height float64) []float64 {
	p := &pen{Canvas: canvas, width: width, height: height}
	p.rect(paper, 0, 0, width, height)
	top := c.drawHead(p)
	keys := c.legend(width - 2*margin)
	f, values := c.frame(width, height-rowHi*float64(len(keys)))
	labels, rows := c.labels(layout{f.x, func(l label) float64 { return l.face().width(l.text) }, margin, width - margin, 4, 10})
	f.y0 = top + 12 + rowHi*float64(rows)
	if f.y1-f.y0 < 60 { // the picture is worth more than its legend
		f.y1, keys = f.y1+rowHi*float64(len(keys)), nil
	}

	c.drawSpans(p, f)
	c.drawAxes(p, f, values)
	c.drawLimit(p, f, width-margin)
	for i, l := range c.Lines {
		l.draw(p, f, i > 0)
	}
	c.drawHolds(p, f)
	c.drawMarks(p, f, labels)
	if len(c.Lines) == 0 || len(c.Lines[0].Points) == 0 {
		p.text(quiet, small, (f.x0+f.x1)/2, (f.y0+f.y1)/2, middle, "no slot was judged")
	}
	drawLegend(p, keys, height-margin-rowHi*float64(len(keys)-1))
	return p.widths
}

// drawHead writes what the picture is of, and gives where that ends.
func (c Chart) drawHead(p *pen) (y float64) {
	room := p.width - 2*margin
	y = margin + 13
	p.text(ink, title, margin, y, left, title.fit(c.Title, room))
	lines := []string{c.Subtitle + "; " + c.zero()}
	if small.width(lines[0]) > room {
		lines = []string{c.Subtitle, c.zero()}
	}
	for _, l := range lines {
		y += rowHi + 1
		p.text(quiet, small, margin, y, left, small.fit(l, room))
	}
	return y
}

func (c Chart) zero() string { return "0:00 is " + c.Zero.UTC().Format("2006-01-02 15:04:05 UTC") }

// frame lays the plot out, but for where it begins below what is written above it.
func (c Chart) frame(width, height float64) (f frame, values []tick) {
	f = frame{from: c.From, whole: c.To.Sub(c.From), values: c.values()}
	f.y1 = height - margin - 2*rowHi - 8
	values = c.Unit.ticks(f.values, int(max(2, (f.y1-70)/44)))
	for _, t := range values {
		f.x0 = max(f.x0, small.width(t.label))
	}
	f.x0 += margin + 8
	f.x1 = width - margin
	if c.Limit != nil {
		f.x1 -= min(loud.width(c.limit())+6, width/4)
	}
	return f, values
}

func (c Chart) limit() string { return c.Limit.Operator + " " + c.Unit.Format(c.Limit.Value) }

func (c Chart) drawAxes(p *pen, f frame, values []tick) {
	for _, t := range values {
		y := f.y(t.at)
		p.line(grid, 1, nil, f.x0, y, f.x1, y)
		p.text(quiet, small, f.x0-7, y+4, right, t.label)
	}
	p.line(axis, 1, nil, f.x0, f.y1, f.x1, f.y1)
	times, step := c.timeTicks(int(max(2, (f.x1-f.x0)/72)))
	layout := "15:04"
	if step < time.Minute || c.Zero.Second() != 0 {
		layout = time.TimeOnly
	}
	for _, t := range times {
		x := f.x(t)
		p.line(axis, 1, nil, x, f.y1, x, f.y1+5)
		at := min(x, p.width-4-small.width(t.UTC().Format(layout))/2)
		p.text(ink, small, at, f.y1+17, middle, c.clock(t))
		p.text(quiet, small, at, f.y1+17+rowHi-2, middle, t.UTC().Format(layout))
	}
}

func (c Chart) drawSpans(p *pen, f frame) {
	for _, s := range c.Spans {
		x0, x1 := f.x(s.From), f.x(s.To)
		switch s.Kind {
		case Pending, StillBad:
			p.rect(pendingBg, x0, f.y0, x1, f.y1)
		case Blind:
			p.rect(blindBg, x0, f.y0, x1, f.y1)
			p.hatch(blindInk, x0, f.y0, x1, f.y1)
		case NoTraffic:
			p.rect(idleBg, x0, f.y0, x1, f.y1)
		case Early:
			p.hatch(grid, x0, f.y0, x1, f.y1)
		case Held:
		}
	}
}

// drawHolds draws holds as a bar at the top: what was seen meanwhile stays visible.
func (c Chart) drawHolds(p *pen, f frame) {
	for _, s := range c.Spans {
		if s.Kind == Held {
			p.rect(heldInk, f.x(s.From), f.y0, max(f.x(s.To), f.x(s.From)+2), f.y0+5)
		}
	}
}

func (c Chart) drawLimit(p *pen, f frame, end float64) {
	if c.Limit == nil {
		return
	}
	y := f.y(c.Limit.Value)
	p.line(bad, 1.5, dashes, f.x0, y, f.x1, y)
	p.text(bad, loud, f.x1+6, y+4, left, loud.fit(c.limit(), end-f.x1-6))
}

// draw draws the line of one version; bad slots have a dot.
func (l Line) draw(p *pen, f frame, back bool) {
	color := released
	if back {
		color = returned
	}
	for _, run := range l.runs() {
		var xy []float64
		for _, one := range run {
			xy = append(xy, f.x(one.At), f.y(float64(*one.Value)))
		}
		if back {
			p.line(color, 2, []vg.Length{3, 2}, xy...)
		} else {
			p.line(color, 2, nil, xy...)
		}
		far := len(run) == 1 || (f.x(run[len(run)-1].At)-f.x(run[0].At))/float64(len(run)-1) > 9
		last := math.Inf(-1)
		for i, one := range run {
			switch {
			case one.Verdict == gatekeeper.Unhealthy && xy[2*i]-last >= 1.5: // closer ones are one to the eye
				last = xy[2*i]
				p.dot(bad, xy[2*i], xy[2*i+1], 3)
			case one.Verdict == gatekeeper.Unhealthy:
			case far:
				p.dot(color, xy[2*i], xy[2*i+1], 2.5)
			}
		}
	}
	for _, one := range l.odd() {
		drawOdd(p, f.x(one.At), f, float64(*one.Value))
	}
}

// drawOdd draws a value without a height: a triangle at the edge that an infinity is beyond, a
// cross for what is not a number.
func drawOdd(p *pen, x float64, f frame, v float64) {
	const r = 4.5
	y := f.y0 + 12
	switch {
	case v > 0:
		p.area(bad, x-r, y+r, x+r, y+r, x, y-r)
	case v < 0:
		p.area(bad, x-r, f.y1-8-r, x+r, f.y1-8-r, x, f.y1-8+r)
	default:
		p.line(bad, 2, nil, x-r, y-r, x+r, y+r)
		p.line(bad, 2, nil, x-r, y+r, x+r, y-r)
	}
}

func (l label) face() face {
	if l.Loud {
		return loud
	}
	return small
}

func (c Chart) drawMarks(p *pen, f frame, labels []label) {
	for _, l := range labels {
		color, width := quiet, 1.0
		if l.Loud {
			color, width = ink, 1.5
		}
		top := f.y0
		if !l.hidden {
			top -= rowHi * float64(labels[len(labels)-1].row-l.row)
		}
		p.line(color, width, nil, l.x, top, l.x, f.y1)
	}
	for _, l := range labels {
		if l.hidden {
			continue
		}
		y := f.y0 - 6 - rowHi*float64(labels[len(labels)-1].row-l.row)
		of := l.face()
		p.rect(paper, l.from-2, y-11, l.from+of.width(l.text)+2, y+4)
		p.text(ink, of, l.from, y, left, l.text)
	}
}

// key is an entry of the legend.
type key struct {
	text string
	wide float64
	draw func(p *pen, x, y float64) // into 16 pixels from x, about y
}

const swatch = 18.0

// legend explains what is in the picture and nothing else, in rows of that width.
func (c Chart) legend(width float64) [][]key {
	var all []key
	add := func(text string, draw func(p *pen, x, y float64)) {
		text = small.fit(text, width-swatch-6)
		all = append(all, key{text, swatch + small.width(text) + 16, draw})
	}
	for i, l := range c.Lines {
		name, color, dash := l.Name, released, []vg.Length(nil)
		if i > 0 {
			color, dash = returned, []vg.Length{3, 2}
		}
		add(small.fit(name, width/2), func(p *pen, x, y float64) { p.line(color, 2, dash, x, y, x+14, y) })
	}
	if c.Limit != nil {
		add("limit: bad "+c.limit(), func(p *pen, x, y float64) { p.line(bad, 1.5, []vg.Length{4, 2}, x, y, x+14, y) })
	}
	isBad, odd := false, map[string]float64{}
	for _, l := range c.Lines {
		for _, p := range l.Points {
			isBad = isBad || p.Verdict == gatekeeper.Unhealthy
		}
		for _, p := range l.odd() {
			odd[c.Unit.Format(float64(*p.Value))] = float64(*p.Value)
		}
	}
	if isBad {
		add("bad", func(p *pen, x, y float64) { p.dot(bad, x+7, y, 3) })
	}
	for _, name := range []string{"Inf", "-Inf", "NaN"} {
		if v, ok := odd[name]; ok {
			add(name, func(p *pen, x, y float64) { drawOdd(p, x+7, frame{y0: y - 12, y1: y + 8}, v) })
		}
	}
	for _, kind := range []SpanKind{Pending, StillBad, Blind, NoTraffic, Early, Held} {
		if d := c.total(kind); d > 0 {
			add(string(kind)+" "+timeline.Span(d), kind.swatch)
		}
	}
	return rowsOf(all, width)
}

func (k SpanKind) swatch(p *pen, x, y float64) {
	f := frame{x0: x, x1: x + 14, y0: y - 6, y1: y + 5, whole: 1}
	Chart{Spans: []Span{{f.from, f.from.Add(1), k}}}.drawSpans(p, f)
	if k == Held {
		p.rect(heldInk, x, y-3, x+14, y+2)
	}
}

// total gives how long the chart's spans of a kind are together.
func (c Chart) total(kind SpanKind) (d time.Duration) {
	for _, s := range c.Spans {
		if s.Kind == kind {
			d += s.To.Sub(s.From)
		}
	}
	return d
}

func rowsOf(all []key, width float64) [][]key {
	var rows [][]key
	room := math.Inf(-1)
	for _, k := range all {
		if room < k.wide-16 {
			rows, room = append(rows, nil), width
		}
		rows[len(rows)-1] = append(rows[len(rows)-1], k)
		room -= k.wide
	}
	return rows
}

func drawLegend(p *pen, rows [][]key, y float64) {
	for i, row := range rows {
		x := margin
		for _, k := range row {
			at := y + rowHi*float64(i)
			k.draw(p, x, at-4)
			p.text(quiet, small, x+swatch, at, left, k.text)
			x += k.wide
		}
	}
}
