package chart

import (
	"math"
	"strings"
	"sync"

	"codeberg.org/go-fonts/liberation/liberationsansbold"
	"codeberg.org/go-fonts/liberation/liberationsansregular"
	xfont "golang.org/x/image/font"
	"golang.org/x/image/font/opentype"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/vg"

	"github.com/gatekeeper-engine/gatekeeper/internal/timeline"
)

// pen draws in pixels from the top left, as people think of pictures; a canvas counts from below.
type pen struct {
	vg.Canvas
	width, height float64
	widths        []float64 // of the texts so far
}

func (p *pen) at(x, y float64) vg.Point { return vg.Point{X: vg.Length(x), Y: vg.Length(p.height - y)} }

// line draws a line through points given as x and y in turn; dash is empty for an unbroken one.
func (p *pen) line(s shade, width float64, dash []vg.Length, xy ...float64) {
	if len(xy) < 4 {
		return
	}
	var path vg.Path
	path.Move(p.at(xy[0], xy[1]))
	for i := 2; i+1 < len(xy); i += 2 {
		path.Line(p.at(xy[i], xy[i+1]))
	}
	p.SetColor(s.light)
	p.SetLineWidth(vg.Length(width))
	p.SetLineDash(dash, 0)
	p.Stroke(path)
}

// area fills a polygon.
func (p *pen) area(s shade, xy ...float64) {
	var path vg.Path
	path.Move(p.at(xy[0], xy[1]))
	for i := 2; i+1 < len(xy); i += 2 {
		path.Line(p.at(xy[i], xy[i+1]))
	}
	path.Close()
	p.SetColor(s.light)
	p.Fill(path)
}

func (p *pen) rect(s shade, x0, y0, x1, y1 float64) { p.area(s, x0, y0, x1, y0, x1, y1, x0, y1) }

// dot fills a circle.
func (p *pen) dot(s shade, x, y, radius float64) {
	var path vg.Path
	path.Move(p.at(x+radius, y))
	path.Arc(p.at(x, y), vg.Length(radius), 0, 2*math.Pi)
	path.Close()
	p.SetColor(s.light)
	p.Fill(path)
}

// hatch fills a rectangle with slanted lines.
func (p *pen) hatch(s shade, x0, y0, x1, y1 float64) {
	const apart = 7
	for x := x0 - (y1 - y0); x < x1; x += apart {
		// From (x, y1) up to the right, as far as it is inside.
		ax, ay, bx, by := x, y1, x+(y1-y0), y0
		if ax < x0 {
			ax, ay = x0, y1-(x0-x)
		}
		if bx > x1 {
			bx, by = x1, y1-(x1-x)
		}
		p.line(s, 1, nil, ax, ay, bx, by)
	}
}

// The places of a text's x.
const (
	left   = 0.0
	middle = 0.5
	right  = 1.0
)

// text writes s with its baseline at y.
func (p *pen) text(s shade, f face, x, y, anchor float64, text string) {
	text = timeline.Plain(strings.ToValidUTF8(text, "�"))
	if text == "" {
		return
	}
	wide := f.width(text)
	p.widths = append(p.widths, wide)
	p.SetColor(s.light)
	p.FillString(f(), p.at(x-anchor*wide, y), text)
}

// face gives a font in a size.
type face func() font.Face

func (f face) width(s string) float64 {
	of := f()
	return float64(of.Width(s))
}

// fit shortens a text to a width.
func (f face) fit(s string, width float64) string {
	s = timeline.Plain(strings.ToValidUTF8(s, "�"))
	runes := []rune(s)
	if len(runes) > 400 {
		runes = runes[:400]
		s = string(runes) + "…"
	}
	for len(runes) > 0 && f.width(s) > width {
		runes = runes[:len(runes)-1]
		s = strings.TrimRight(string(runes), " ") + "…"
	}
	return s
}

func sans(size vg.Length, weight xfont.Weight, ttf []byte) face {
	return sync.OnceValue(func() font.Face {
		parsed, err := opentype.Parse(ttf)
		if err != nil {
			panic(err) // it is part of the program
		}
		return font.Face{Font: font.Font{Typeface: "Liberation", Variant: "Sans", Weight: weight, Size: size}, Face: parsed}
	})
}

var (
	title = sans(15, xfont.WeightBold, liberationsansbold.TTF)
	small = sans(11.5, xfont.WeightNormal, liberationsansregular.TTF)
	loud  = sans(11.5, xfont.WeightBold, liberationsansbold.TTF)
)
