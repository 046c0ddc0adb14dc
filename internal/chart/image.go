package chart

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/gatekeeper-engine/gatekeeper"
)

// The sizes of pictures that can be asked for, in pixels. Text is legible at every one of them.
const (
	MinWidth  = 300
	MaxWidth  = 4000
	MinHeight = 220
	MaxHeight = 3000
)

// sized says what is wrong with a size.
func sized(width, height int) error {
	if width < MinWidth || width > MaxWidth || height < MinHeight || height > MaxHeight {
		return gatekeeper.Errorf(gatekeeper.CodeInvalid, fmt.Sprintf("ask for a width from %d to %d and a height from %d to %d", MinWidth, MaxWidth, MinHeight, MaxHeight),
			"a picture of %d by %d pixels can't be drawn", width, height)
	}
	return nil
}

// picture is what can be drawn: draw gives the widths of its texts in their order, describe tells it
// in words.
type picture interface {
	draw(canvas vg.Canvas, width, height float64) []float64
	describe() string
}

// SVG draws the chart into so many CSS pixels. It is light or dark as the reader's device asks for,
// needs nothing from elsewhere, runs no script, and text in it is escaped.
func (c Chart) SVG(w io.Writer, width, height int) error { return writeSVG(w, width, height, c) }

func writeSVG(w io.Writer, width, height int, c picture) error {
	if err := sized(width, height); err != nil {
		return err
	}
	canvas := vgsvg.New(vg.Length(width), vg.Length(height))
	widths := c.draw(canvas, float64(width), float64(height))
	var drawn, name bytes.Buffer
	if _, err := canvas.WriteTo(&drawn); err != nil {
		return err
	}
	if err := xml.EscapeText(&name, []byte(c.describe())); err != nil {
		return err
	}
	_, body, found := strings.Cut(drawn.String(), "<g ") // its head has a size in points, and no style
	if !found {
		return fmt.Errorf("a picture without content")
	}
	_, err := fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img">
<title>%s</title>
<style>
%s</style>
<g %s`, width, height, width, height, name.String(), style(), sizedText(body, widths))
	return err
}

// sizedText gives every text of the drawing its width, so that a reader's font, where it is another,
// runs into nothing.
func sizedText(body string, widths []float64) string {
	var b strings.Builder
	for i, part := range strings.Split(body, "<text ") {
		if i > 0 {
			fmt.Fprintf(&b, `<text textLength="%.1f" lengthAdjust="spacingAndGlyphs" `, widths[i-1])
		}
		b.WriteString(part)
	}
	return b.String()
}

// PNG draws the chart, always light, as SVG does into so many pixels; the picture has twice as many
// each way, for screens and chats that shrink it.
func (c Chart) PNG(w io.Writer, width, height int) error { return writePNG(w, width, height, c) }

func writePNG(w io.Writer, width, height int, c picture) error {
	if err := sized(width, height); err != nil {
		return err
	}
	canvas := vgimg.NewWith(vgimg.UseWH(vg.Length(width), vg.Length(height)), vgimg.UseDPI(2*72))
	c.draw(canvas, float64(width), float64(height))
	_, err := vgimg.PngCanvas{Canvas: canvas}.WriteTo(w)
	return err
}

// describe tells the picture in a sentence, for those who do not see it.
func (c Chart) describe() string {
	s := c.Title + ", " + c.Subtitle + "; " + c.zero()
	if c.Limit != nil {
		s += "; bad " + c.limit()
	}
	for _, m := range c.Marks {
		s += "; " + m.Label + " " + c.clock(m.At)
	}
	return s
}
