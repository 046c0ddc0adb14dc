package chart

import (
	"fmt"
	"io"
	"strings"

	"gonum.org/v1/plot/vg"
)

// Shade says how well a cell of a [Table] does; the cell's text says it too.
type Shade int

// The shades.
const (
	Blank Shade = iota // nothing is known
	Well
	Fair
	Poor
)

// Cell is one cell of a table.
type Cell struct {
	Text  string
	Shade Shade
	Own   bool // what there is now
	Best  bool // what is recommended
}

// Table is a picture of cells that are shaded by how well they do: rows of one quantity, columns of
// another. It is a plain value.
type Table struct {
	Title, Subtitle string
	Across, Down    string   // what the columns and the rows are
	Columns, Rows   []string // their names
	Cells           [][]Cell // by row
}

var cellShades = map[Shade]shade{Blank: idleBg, Well: wellBg, Fair: pendingBg, Poor: poorBg}

// draw puts the table onto a canvas of that many pixels.
func (t Table) draw(canvas vg.Canvas, width, height float64) []float64 {
	p := &pen{Canvas: canvas, width: width, height: height}
	p.rect(paper, 0, 0, width, height)
	room := width - 2*margin
	p.text(ink, title, margin, margin+13, left, title.fit(t.Title, room))
	p.text(quiet, small, margin, margin+13+rowHi+1, left, small.fit(t.Subtitle, room))
	x0, y0 := margin+small.width(t.Down), margin+13+3*rowHi+8
	for _, name := range t.Rows {
		x0 = max(x0, margin+small.width(name))
	}
	x0 = min(x0+8, width/3)
	y1 := height - margin - rowHi - 8
	wide, high := (width-margin-x0)/float64(max(len(t.Columns), 1)), (y1-y0)/float64(max(len(t.Rows), 1))
	p.text(quiet, small, margin, y0-6, left, small.fit(t.Down, x0-margin))
	p.text(quiet, small, x0, y0-6-rowHi, left, small.fit(t.Across, width-margin-x0))
	for i, name := range t.Columns {
		p.text(ink, small, x0+wide*(float64(i)+0.5), y0-6, middle, small.fit(name, wide-4))
	}
	for row, cells := range t.Cells {
		y := y0 + high*float64(row)
		p.text(ink, small, x0-8, y+high/2+4, right, small.fit(t.Rows[row], x0-8-margin))
		for i, c := range cells {
			t.cell(p, c, x0+wide*float64(i), y, wide, high)
		}
	}
	t.keys(p, x0, height-margin)
	return p.widths
}

func (t Table) cell(p *pen, c Cell, x, y, wide, high float64) {
	p.rect(cellShades[c.Shade], x+1, y+1, x+wide-1, y+high-1)
	if c.Own || c.Best {
		s, thick := axis, 2.0
		if c.Best {
			s, thick = returned, 3
		}
		p.line(s, thick, nil, x+2, y+2, x+wide-2, y+2, x+wide-2, y+high-2, x+2, y+high-2, x+2, y+2)
	}
	font := small
	if c.Best {
		font = loud
	}
	if high >= 13 {
		p.text(ink, font, x+wide/2, y+high/2+4, middle, font.fit(c.Text, wide-6))
	}
}

// keys explains the shades and the frames.
func (t Table) keys(p *pen, x, y float64) {
	for _, k := range []struct {
		text string
		cell Cell
	}{
		{"no false rollback, none missed", Cell{Shade: Well}},
		{"some missed", Cell{Shade: Fair}},
		{"false rollbacks", Cell{Shade: Poor}},
		{"not known", Cell{Shade: Blank}},
		{"the rule's own", Cell{Own: true}},
		{"recommended", Cell{Best: true}},
	} {
		wide := swatch + small.width(k.text) + 16
		if x+wide > p.width {
			return
		}
		t.cell(p, k.cell, x, y-10, 14, 12)
		p.text(quiet, small, x+swatch, y, left, k.text)
		x += wide
	}
}

// describe tells the table in words, for those who do not see it.
func (t Table) describe() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s, %s", t.Title, t.Subtitle)
	for row, cells := range t.Cells {
		for i, c := range cells {
			fmt.Fprintf(&s, "; %s, %s: %s", t.Rows[row], t.Columns[i], c.Text)
		}
	}
	return s.String()
}

// SVG draws the table as [Chart.SVG] does a chart.
func (t Table) SVG(w io.Writer, width, height int) error { return writeSVG(w, width, height, t) }

// PNG draws the table as [Chart.PNG] does a chart.
func (t Table) PNG(w io.Writer, width, height int) error { return writePNG(w, width, height, t) }
