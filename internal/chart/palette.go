package chart

import (
	"fmt"
	"image/color"
	"strings"
)

// shade is a colour on light paper, and what stands for it on dark. The hues are those that people
// with any colour vision tell apart (after Okabe and Ito); nothing is told by colour alone.
type shade struct{ light, dark color.RGBA }

func hex(light, dark uint32) shade {
	rgb := func(v uint32) color.RGBA { return color.RGBA{uint8(v >> 16), uint8(v >> 8), uint8(v), 0xff} }
	return shade{rgb(light), rgb(dark)}
}

// The roles of colours. Each has a light colour of its own, for the dark one is found by it.
var (
	paper     = hex(0xfefefe, 0x12181f)
	ink       = hex(0x1b2733, 0xe6ebf0)
	quiet     = hex(0x5c6873, 0x9dabb8)
	grid      = hex(0xe3e7eb, 0x2a333d)
	axis      = hex(0xa9b3bd, 0x55616d)
	released  = hex(0x0068a8, 0x5cb4f2)
	returned  = hex(0x007a5e, 0x3fcb9e)
	bad       = hex(0xc63d00, 0xff8c52)
	pendingBg = hex(0xffedcc, 0x41331a)
	blindBg   = hex(0xe7e9ec, 0x2c333b)
	blindInk  = hex(0xb9c1c9, 0x525d68)
	idleBg    = hex(0xf2f4f6, 0x1c242c)
	heldInk   = hex(0x7b54c7, 0xb99df2)
	wellBg    = hex(0xd3eee4, 0x143c31)
	poorBg    = hex(0xf7d2c4, 0x53260f)
)

var shades = []shade{paper, ink, quiet, grid, axis, released, returned, bad, pendingBg, blindBg, blindInk, idleBg, heldInk, wellBg, poorBg}

// style gives the rules of an SVG: fonts of the same widths where Liberation Sans is not
// installed, and the dark colours for whom dark is asked for.
func style() string {
	var b strings.Builder
	b.WriteString("text{font-family:'Liberation Sans',Arial,Helvetica,sans-serif!important}\n@media (prefers-color-scheme:dark){\n")
	for _, s := range shades {
		for _, what := range []string{"fill", "stroke"} {
			fmt.Fprintf(&b, "[style*=%q]{%s:%s!important}\n", what+":"+code(s.light), what, code(s.dark))
		}
	}
	b.WriteString("}\n")
	return b.String()
}

func code(c color.RGBA) string { return fmt.Sprintf("#%02X%02X%02X", c.R, c.G, c.B) }
